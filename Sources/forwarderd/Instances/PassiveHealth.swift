import Shared

/// Evidence of this forwarder's own requests against an instance. Enough of it ejects the instance for a while, longer each time.
struct PassiveHealth {
    /// Ejections in a row; a success ends the row.
    private(set) var ejections = 0
    /// Milliseconds of the loop's clock; nil when not ejected.
    private(set) var ejectedUntil: UInt64?
    /// Its ejection is over and no request has succeeded since: it gets one request at a time.
    private(set) var isOnTrial = false
    /// 5xx responses and time-outs since the last good response.
    private var badInRow = 0

    var isEjected: Bool { ejectedUntil != nil }

    /// Evidence that does not prove that the instance is gone.
    enum Weakness {
        case serverError
        /// Weighs more: a client has waited for long.
        case timeout
        /// A new connection was closed without a response.
        case closed
        /// A time-out, with no other response since that request was sent: the instance hangs.
        case silence

        fileprivate var weight: Int {
            switch self {
            case .serverError: 1
            case .timeout, .closed: 2
            case .silence: Limits.badAnswersInRow
            }
        }
    }

    /// Notes a weakness. True: there were enough in a row, or the instance is on trial: eject it.
    mutating func weakened(_ weakness: Weakness) -> Bool {
        badInRow = min(badInRow + weakness.weight, Limits.badAnswersInRow)
        return badInRow >= Limits.badAnswersInRow || isOnTrial
    }

    /// A connection was refused, reset or timed out. Returns how long the instance is avoided: 1 s, doubling to 60 s, with
    /// a tenth of jitter so that forwarders do not come back together. Nil when it is ejected already.
    mutating func failed(now: UInt64, random: inout SplitMix) -> UInt64? {
        if ejectedUntil != nil { return nil }
        let base = min(Limits.ejectionMilliseconds << UInt64(min(ejections, 6)), Limits.ejectionMaximumMilliseconds)
        let span = UInt64(Double(base) * (0.95 + 0.1 * random.nextUnit()))
        ejections += 1
        ejectedUntil = now + span
        isOnTrial = false
        badInRow = 0
        return span
    }

    /// The time of an ejection is over: the instance may be tried.
    mutating func expire() {
        isOnTrial = ejectedUntil != nil
        ejectedUntil = nil
    }

    /// A good response came.
    @inline(__always)
    mutating func succeeded() {
        if badInRow != 0 { badInRow = 0 }
        if ejections != 0, ejectedUntil == nil {
            ejections = 0
            isOnTrial = false
        }
    }

    /// discoveryd polled it with success on a fresh connection after the evidence.
    mutating func cleared() {
        ejections = 0
        ejectedUntil = nil
        isOnTrial = false
        badInRow = 0
    }
}
