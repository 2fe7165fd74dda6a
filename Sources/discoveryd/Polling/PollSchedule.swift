import Shared

/// Spreads polls over time: after the first round, which is at once, each instance gets a random phase, and each delay
/// varies by 10 %, so that instances with one frequency do not stay in step.
struct PollSchedule: Sendable {
    private var random: SplitMix

    init(seed: UInt64) { random = SplitMix(seed: seed) }

    /// Milliseconds until the next poll. `isFirst`: the instance has just had its first one.
    mutating func delay(_ next: Health.Next, isFirst: Bool) -> UInt64 {
        if next.isExact || next.delayMilliseconds == 0 { return next.delayMilliseconds }
        let share = random.nextUnit()
        if isFirst { return max(1, UInt64(Double(next.delayMilliseconds) * share)) }
        return UInt64(Double(next.delayMilliseconds) * (0.9 + 0.2 * share))
    }

    /// Some time up to so many milliseconds.
    mutating func within(_ milliseconds: UInt64) -> UInt64 { UInt64(Double(milliseconds) * random.nextUnit()) }
}
