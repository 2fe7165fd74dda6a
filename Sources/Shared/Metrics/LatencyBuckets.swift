/// Times in buckets of bounded relative error: four to each power of two, from 16 microseconds to nearly half an hour. What lies
/// between is known within 12.5 %, and a bucket's number is a few shifts away.
///
/// The scheme is that of HdrHistogram (Tene, 2012) with two significant bits below the leading one.
public enum LatencyBuckets {
    public static let count = 107
    private static let firstBit: UInt64 = 4

    /// The bucket of a time in microseconds.
    @inline(__always)
    public static func index(_ microseconds: UInt64) -> Int {
        guard microseconds >= 1 << firstBit else { return 0 }
        let exponent = UInt64(63 &- microseconds.leadingZeroBitCount)
        let quarter = microseconds >> (exponent &- 2) & 3
        return min(count &- 1, Int(truncatingIfNeeded: (exponent &- firstBit) &* 4 &+ quarter &+ 1))
    }

    /// The first microsecond beyond a bucket.
    public static func bound(_ index: Int) -> UInt64 {
        if index <= 0 { return 1 << firstBit }
        let step = UInt64(index)
        return (4 + (step - 1) % 4 + 1) << (firstBit - 2 + (step - 1) / 4)
    }

    /// The time, in microseconds, that a share of all observations does not exceed; nil without observations.
    public static func quantile(_ share: Double, _ counts: [UInt64]) -> Double? {
        let total = counts.reduce(0, &+)
        guard total > 0 else { return nil }
        let rank = max(1, (Double(total) * share).rounded(.up))
        var seen = 0.0
        for (index, count) in counts.enumerated() where count > 0 {
            seen += Double(count)
            if seen >= rank {
                let low = index == 0 ? 0 : Double(bound(index - 1))
                // The middle of the bucket: never further off than an eighth.
                return (low + Double(bound(index))) / 2
            }
        }
        return nil
    }
}

/// Counts of times, with their sum.
public struct LatencyHistogram: Sendable {
    public private(set) var counts = [UInt64](repeating: 0, count: LatencyBuckets.count)
    public private(set) var sumMicroseconds: UInt64 = 0

    public init() {}

    public mutating func observe(_ microseconds: UInt64) {
        counts[LatencyBuckets.index(microseconds)] &+= 1
        sumMicroseconds &+= microseconds
    }

    public var total: UInt64 { counts.reduce(0, &+) }
}
