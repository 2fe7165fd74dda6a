import Shared

/// The share of time that an instance was seen up in a window, weighted by time and not by polls: dense polling while it is
/// down must not count more. Sixty buckets; constant time per poll.
struct Availability: Sendable {
    static let buckets: UInt64 = 60
    /// Less evidence than this says nothing yet.
    static let enoughMilliseconds: UInt64 = 600_000

    private var up: [UInt32]
    private var known: [UInt32]
    private var totalUp: UInt64 = 0
    private var totalKnown: UInt64 = 0
    private let bucketMilliseconds: UInt64
    let windowMilliseconds: UInt64
    private var bucket: UInt64
    private var last: UInt64
    private var isUp: Bool?

    init(windowMilliseconds: UInt64 = 3_600_000, now: UInt64) {
        up = [UInt32](repeating: 0, count: Int(Self.buckets))
        known = up
        self.windowMilliseconds = windowMilliseconds
        bucketMilliseconds = max(1, windowMilliseconds / Self.buckets)
        bucket = now / bucketMilliseconds
        last = now
    }

    /// From `now` on the instance counts as up or down.
    mutating func set(up isUp: Bool, now: UInt64) {
        advance(to: now)
        self.isUp = isUp
    }

    /// Whole points from 0 to 100; nil without enough evidence.
    mutating func points(now: UInt64) -> Int? {
        advance(to: now)
        guard totalKnown >= Self.enoughMilliseconds else { return nil }
        return Int((totalUp * 100 + totalKnown / 2) / totalKnown)
    }

    /// The same share of whatever evidence there is, for people; nil with none.
    mutating func share(now: UInt64) -> Double? {
        advance(to: now)
        return totalKnown == 0 ? nil : Double(totalUp) / Double(totalKnown)
    }

    private mutating func advance(to now: UInt64) {
        guard now > last else { return }
        // After a gap longer than the window nothing of it is left but the newest state.
        if now / bucketMilliseconds - bucket > Self.buckets {
            for index in up.indices {
                up[index] = 0
                known[index] = 0
            }
            totalUp = 0
            totalKnown = 0
            last = (now / bucketMilliseconds - Self.buckets + 1) * bucketMilliseconds
            bucket = last / bucketMilliseconds
        }
        while last < now {
            let end = min((bucket + 1) * bucketMilliseconds, now)
            if let isUp {
                let index = Int(bucket % Self.buckets)
                let span = UInt32(clamping: end - last)
                known[index] += span
                totalKnown += UInt64(span)
                if isUp {
                    up[index] += span
                    totalUp += UInt64(span)
                }
            }
            last = end
            if end == (bucket + 1) * bucketMilliseconds {
                bucket += 1
                let index = Int(bucket % Self.buckets)
                totalUp -= UInt64(up[index])
                totalKnown -= UInt64(known[index])
                up[index] = 0
                known[index] = 0
            }
        }
    }
}
