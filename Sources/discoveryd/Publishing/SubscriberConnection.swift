import Shared

/// One connection to discovery.sock.
struct SubscriberConnection: ~Copyable {
    var channel: LineChannel
    let peer: PeerCredentials
    var subscription = Subscription()
    /// The end of waiting for its hello.
    var timer = TimerWheel.ID.none

    init(_ channel: LineChannel, _ peer: PeerCredentials) {
        self.channel = channel
        self.peer = peer
    }
}
