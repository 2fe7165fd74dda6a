import Shared

/// When a child that ended is started again. A value without clock: times come in, a decision comes out.
///
/// One that had become ready is restarted at once, and 100 ms later from the second time within 10 s on. Only deaths before
/// readiness double the delay (100 ms to 10 s); five of them in a row are too many.
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

    mutating func ended(wasReady: Bool, now: UInt64) -> Decision {
        restarts += 1
        if wasReady {
            failuresBeforeReady = 0
            let isSoon = lastRestart.map { now - $0 < Self.windowMilliseconds } ?? false
            lastRestart = now
            return .restart(afterMilliseconds: isSoon ? Limits.restartDelayMilliseconds : 0)
        }
        failuresBeforeReady += 1
        if failuresBeforeReady >= Limits.startFailures { return .giveUp }
        let delay = Limits.restartDelayMilliseconds << UInt64(failuresBeforeReady - 1)
        return .restart(afterMilliseconds: min(delay, Limits.restartDelayMaximumMilliseconds))
    }
}
