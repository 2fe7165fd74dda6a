import Shared

/// What this forwarder has seen of an instance itself: evidence that ejects it for a while, longer each time.
struct PassiveHealth {
    /// Ejections in a row; a success ends the row.
    private(set) var ejections = 0
    /// Milliseconds of the loop's clock; nil when not ejected.
    private(set) var ejectedUntil: UInt64?
    /// Its ejection is over and nothing has come of it yet: one request at a time tries it.
    private(set) var isOnTrial = false
    /// Bad answers and time-outs since the last good answer.
    private var badInRow = 0

    var isEjected: Bool { ejectedUntil != nil }

    /// What speaks against an instance without proving that it is gone.
    enum Weakness: Int {
        case serverError = 1
        /// Weighs more: it has cost somebody a long wait.
        case timeout = 2
        /// A time-out, and since that request was sent it has answered no other either: it hangs.
        case silence = 100
    }

    /// Notes a weakness. True: there were enough in a row to eject the instance.
    mutating func weakened(_ weakness: Weakness) -> Bool {
        badInRow = min(badInRow + weakness.rawValue, Limits.badAnswersInRow)
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

    /// A good answer came.
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
