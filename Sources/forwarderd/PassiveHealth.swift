import Shared

/// What this forwarder has seen of an instance itself: evidence that ejects it for a while, longer each time.
struct PassiveHealth {
    /// Ejections in a row; a success ends the row.
    private(set) var ejections = 0
    /// Milliseconds of the loop's clock; nil when not ejected.
    private(set) var ejectedUntil: UInt64?

    var isEjected: Bool { ejectedUntil != nil }

    /// A connection was refused, reset or timed out. Returns how long the instance is avoided: 1 s, doubling to 60 s, with
    /// a tenth of jitter so that forwarders do not come back together. Nil when it is ejected already.
    mutating func failed(now: UInt64, random: inout SplitMix) -> UInt64? {
        if ejectedUntil != nil { return nil }
        let base = min(Limits.ejectionMilliseconds << UInt64(min(ejections, 6)), Limits.ejectionMaximumMilliseconds)
        let span = UInt64(Double(base) * (0.95 + 0.1 * random.nextUnit()))
        ejections += 1
        ejectedUntil = now + span
        return span
    }

    /// The time of an ejection is over: the instance may be tried.
    mutating func expire() { ejectedUntil = nil }

    /// An answer came.
    @inline(__always)
    mutating func succeeded() { if ejections != 0, ejectedUntil == nil { ejections = 0 } }

    /// discoveryd polled it with success on a fresh connection after the evidence.
    mutating func cleared() {
        ejections = 0
        ejectedUntil = nil
    }
}
