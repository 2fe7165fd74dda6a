import Shared

/// One poll of one address, as far as it has come. Its connection outlives it where the instance allows.
struct Probe: ~Copyable {
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
    var call = HTTPCall()
    /// Which of all connections ever made its one is: a late event of a former one is told by it.
    var connection: UInt32 = 0
    /// The number of the echo request that is out; nil: none is.
    var echo: UInt16?
    /// A result is awaited.
    var isRunning = false
    /// When the poll began: nanoseconds of the monotonic clock, and milliseconds of the wall clock.
    var startedAt: UInt64 = 0
    var startedAtWall: UInt64 = 0
    var timer = TimerWheel.ID.none

    init(_ owner: Owner, _ address: SocketAddress, _ plan: PollPlan, authority: Substring) {
        self.owner = owner
        self.address = address
        self.plan = plan
        self.authority = authority
    }
}
