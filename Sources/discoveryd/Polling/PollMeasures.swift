import Shared

/// What discoveryd measures of its own polling, for /metrics.
struct PollMeasures: Sendable {
    /// How much later than due polls begin.
    var lateness = LatencyHistogram()
    /// How long they take.
    var durations = LatencyHistogram()
    private(set) var byCause = [UInt64](repeating: 0, count: PollCause.allCases.count)

    mutating func count(_ result: PollResult) {
        byCause[Int(result.cause.rawValue)] &+= 1
        durations.observe(result.durationMicroseconds)
    }
}
