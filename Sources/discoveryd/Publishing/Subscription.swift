import Shared

/// One connection to discovery.sock.
struct Subscription: ~Copyable {
    var channel: LineChannel
    let peer: PeerCredentials
    /// Nil until it has said hello, or has been silent for long enough to count as an observer.
    var role: PeerRole?
    /// What is spoken with it: the newest version that both know. One that has said nothing gets the first.
    var protocolVersion = 1
    var pid: Int32 = 0
    var timer = TimerWheel.ID.none
    /// The whole snapshot that is on its way; nil when it has been sent.
    var stream: SnapshotStream?
    /// The version it has been sent whole.
    var sent: SnapshotVersion?
    /// The version it says it has applied.
    var applied: SnapshotVersion?
    var news = News()
    /// Forwarders have come or gone since it was told its share.
    var needsShare = false

    init(_ channel: LineChannel, _ peer: PeerCredentials) {
        self.channel = channel
        self.peer = peer
    }

    /// It gets a whole snapshot, whatever it had before.
    mutating func beginSnapshot() {
        stream = SnapshotStream(protocolVersion: protocolVersion)
        news = News()
    }
}
