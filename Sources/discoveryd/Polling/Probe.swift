import Shared

/// One poll of one address of an instance, as far as it has come. Its connection outlives it where the instance allows.
struct Probe: ~Copyable {
    enum Phase: Equatable {
        /// No poll; a connection may be kept.
        case idle
        case connecting
        case awaitingHead
        /// The verdict is out; the rest of the body is read so that the connection can be used again.
        case drainingBody
        /// An echo request is out.
        case awaitingEcho
    }

    let instance: Registry.InstanceID
    let address: SocketAddress
    var phase = Phase.idle
    var descriptor = Descriptor.none
    /// The connection served an earlier poll.
    var isReused = false
    var pollsOnConnection: UInt16 = 0
    /// Nanoseconds of the monotonic clock.
    var startedAt: UInt64 = 0
    var input = Buffer.none
    var sent: Int32 = 0
    /// The whole request has been handed over.
    var isSent = false
    var bodyBytes: Int32 = 0
    var body = BodyDecoder(.none, status: 502)
    var timer = TimerWheel.ID.none
    var echoSequence: UInt16 = 0
    /// Which of all connections ever made this one is: a late event of a former one is told by it.
    var connection: UInt32 = 0
    /// Bytes received for the present poll, interim answers and framing included.
    var receivedBytes: Int32 = 0

    init(instance: Registry.InstanceID, address: SocketAddress) {
        self.instance = instance
        self.address = address
    }
}
