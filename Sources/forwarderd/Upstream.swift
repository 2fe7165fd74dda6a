import Shared

/// One connection to an instance.
struct Upstream: ~Copyable {
    enum State: UInt8 {
        case connecting
        /// Serves the request of `downstream`.
        case busy
        /// Kept for the next request.
        case idle
        /// After 101: bytes in both directions.
        case tunnel
    }

    let descriptor: Descriptor
    let instance: Int
    let address: SocketAddress
    var state = State.connecting
    var downstream = -1
    /// The connection has served a request before.
    var isReused = false
    /// The rest of a head that came in pieces.
    var input = Buffer.none
    /// The peer's end was seen: reading goes on until it.
    var sawEnd = false
    /// Nothing more has been promised by the last event: a read may find something.
    var mayRead = false
    /// Reading waits until the client has taken what it was sent.
    var isPaused = false
    /// The answer allows another request on this connection.
    var keepsAlive = false
    var idleSince: UInt64 = 0
    /// When the instance said it would close an idle connection; the far future where it said nothing.
    var announcedTimeoutMilliseconds = UInt64.max
    /// Its neighbours among the kept connections of its instance, and among those of all.
    var next: Int32 = -1
    var previous: Int32 = -1
    var olderIdle: Int32 = -1
    var newerIdle: Int32 = -1

    init(_ descriptor: Descriptor, instance: Int, address: SocketAddress) {
        self.descriptor = descriptor
        self.instance = instance
        self.address = address
    }
}
