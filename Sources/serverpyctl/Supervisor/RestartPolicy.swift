import Shared

/// When a child that ended is started again. A value without clock: times come in, a decision comes out.
///
/// One that had become ready is restarted at once, and 100 ms later from the second time within 10 s on. Only deaths before
/// readiness double the delay (100 ms to 10 s, a quarter more or less); five of them in a row are too many.
struct RestartPolicy: Equatable {
    enum Decision: Equatable {
        case restart(afterMilliseconds: UInt64)
        /// It never became ready, five times in a row.
        case giveUp
    }

    static let windowMilliseconds: UInt64 = 10_000

    private var failuresBeforeReady = 0
    private var lastRestart: UInt64?
    private(set) var restarts = 0

    /// `random`: any number, so that several which failed together do not start together.
    mutating func ended(wasReady: Bool, now: UInt64, random: UInt64) -> Decision {
        restarts += 1
        if wasReady {
            failuresBeforeReady = 0
            let isSoon = lastRestart.map { now - min(now, $0) < Self.windowMilliseconds } ?? false
            lastRestart = now
            return .restart(afterMilliseconds: isSoon ? Limits.restartDelayMilliseconds : 0)
        }
        failuresBeforeReady += 1
        if failuresBeforeReady >= Limits.startFailures { return .giveUp }
        let delay = Limits.restartDelayMilliseconds << UInt64(failuresBeforeReady - 1)
        let jittered = delay - delay / 4 + random % (delay / 2 + 1)
        return .restart(afterMilliseconds: min(jittered, Limits.restartDelayMaximumMilliseconds))
    }

    /// Another program runs in its place: what the former one did does not count.
    mutating func forgive() { failuresBeforeReady = 0 }

    /// What was counted by the supervisor before an upgrade.
    mutating func adopt(restarts: Int) { self.restarts = min(max(0, restarts), Int(Int32.max)) }
}
