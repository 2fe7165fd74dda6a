/// A moving average of an instance's latency that takes a peak at once and forgets it over ten seconds (Finagle's Peak EWMA).
struct LatencyAverage {
    private var value = 0.0
    private var stamp: UInt64 = 0

    static let forgettingMilliseconds = 10_000.0

    /// Microseconds; 0 before the first response. Time alone lowers a peak, too, so that an avoided instance is used again.
    func value(now: UInt64) -> Double { value * kept(now) }

    mutating func observe(microseconds: Double, now: UInt64) {
        let present = value(now: now)
        let kept = kept(now)
        stamp = now
        // Never 0, which means no response yet.
        value = max(1, microseconds >= present ? microseconds : value * kept + microseconds * (1 - kept))
    }

    /// e^-x by its first Padé approximant from below, which stays between 0 and 1 for all x.
    private func kept(_ now: UInt64) -> Double {
        Self.forgettingMilliseconds / (Self.forgettingMilliseconds + Double(now &- stamp))
    }
}
