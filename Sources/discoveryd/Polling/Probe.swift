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

    /// Whose poll it is.
    enum Owner {
        case instance(Registry.InstanceID)
        /// A look at an address that is no instance's: one of the other family of a line's name.
        case line(Registry.LineID, generation: UInt32)
    }

    let owner: Owner
    let address: SocketAddress
    /// How it polls, and the value for a Host field.
    var plan: PollPlan
    var authority: Substring
    /// A ping means the host, whatever listens there.
    var pingsHost = false
    var phase = Phase.idle
    var descriptor = Descriptor.none
    /// The connection served an earlier poll.
    var isReused = false
    var pollsOnConnection: UInt16 = 0
    /// When the poll began: nanoseconds of the monotonic clock, and milliseconds of the wall clock.
    var startedAt: UInt64 = 0
    var startedAtWall: UInt64 = 0
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

    init(_ owner: Owner, _ address: SocketAddress, _ plan: PollPlan, authority: Substring) {
        self.owner = owner
        self.address = address
        self.plan = plan
        self.authority = authority
    }
}
