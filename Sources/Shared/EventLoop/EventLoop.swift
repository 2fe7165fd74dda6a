/// One thread's events: descriptors, timers, signals (as descriptors) and wake-ups (as descriptors), each an entry with a
/// token. The owner asks for events and switches on them; no closures are kept, nothing is allocated per event.
///
///     while running {
///         try loop.turn()
///         while let event = loop.nextEvent() { ... }
///         while let token = loop.nextTimer() { ... }
///     }
public struct EventLoop: ~Copyable {
    public struct Event {
        public let token: Token
        public let readiness: Readiness
    }

    private let queue: EventQueue
    private var timers: TimerWheel
    private var ready = 0
    private var position = 0
    /// Milliseconds and nanoseconds of the monotonic clock, read once a turn.
    public private(set) var now: UInt64
    public private(set) var nowNanoseconds: UInt64
    /// How much longer the last turn and the sleep after it took than the sleep was to last: nearly the turn's own work, or our
    /// own sickness (stopped, starved), never the peers'.
    public private(set) var lateMilliseconds: UInt64 = 0

    public init() throws(Errno) {
        queue = try EventQueue()
        nowNanoseconds = Clock.monotonicNanoseconds()
        now = nowNanoseconds / 1_000_000
        timers = TimerWheel(now: now)
    }

    // MARK: Registrations

    public func add(_ descriptor: Descriptor, _ token: Token, _ interest: Readiness) throws(Errno) {
        try queue.add(descriptor, token: token.rawValue, interest: interest)
    }

    public func modify(_ descriptor: Descriptor, _ token: Token, _ interest: Readiness) throws(Errno) {
        try queue.modify(descriptor, token: token.rawValue, interest: interest)
    }

    public func remove(_ descriptor: Descriptor) { queue.remove(descriptor) }

    // MARK: Timers

    /// Fires once at `now + delay` or a little later.
    public mutating func schedule(_ token: Token, after delayMilliseconds: UInt64) -> TimerWheel.ID {
        timers.schedule(token, at: now &+ delayMilliseconds)
    }

    public mutating func schedule(_ token: Token, at deadline: UInt64) -> TimerWheel.ID {
        timers.schedule(token, at: deadline)
    }

    public mutating func reschedule(_ id: TimerWheel.ID, at deadline: UInt64) { timers.reschedule(id, at: deadline) }

    public mutating func cancel(_ id: inout TimerWheel.ID) { timers.cancel(&id) }

    // MARK: A turn

    /// Waits for events and due timers. With `poll`, does not wait: the owner has work left over.
    public mutating func turn(poll: Bool = false) throws(Errno) {
        let wait = poll ? 0 : timers.wait(now: now, limit: Limits.longestSleepMilliseconds)
        let before = now
        ready = try queue.wait(timeoutMilliseconds: Int32(truncatingIfNeeded: wait))
        position = 0
        nowNanoseconds = Clock.monotonicNanoseconds()
        now = nowNanoseconds / 1_000_000
        let expected = before &+ wait
        lateMilliseconds = now > expected ? now &- expected : 0
        timers.advance(to: now)
    }

    @inline(__always)
    public mutating func nextEvent() -> Event? {
        guard position < ready else { return nil }
        let (token, readiness) = queue[position]
        position &+= 1
        return Event(token: Token(rawValue: token), readiness: readiness)
    }

    /// More events than one turn takes may be waiting.
    public var isTurnFull: Bool { ready >= Limits.eventsPerTurn }

    /// All events of this turn, those that `nextEvent` has returned included.
    @inline(__always)
    public func forEachEvent(_ body: (Event) -> Void) {
        for index in 0..<ready {
            let (token, readiness) = queue[index]
            body(Event(token: Token(rawValue: token), readiness: readiness))
        }
    }

    public mutating func nextTimer() -> Token? { timers.nextExpired() }
}
