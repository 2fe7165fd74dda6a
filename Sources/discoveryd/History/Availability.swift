import Shared

/// The share of time that an instance was seen up in a window, weighted by time and not by polls: dense polling while it is
/// down must not count more. Sixty buckets, constant time per poll. One that has never been down needs no buckets.
struct Availability: Sendable {
    static let buckets: UInt64 = 60
    /// Less evidence than this says nothing yet.
    static let enoughMilliseconds: UInt64 = 600_000

    /// Time is counted in ticks of so many milliseconds, a bucket at most 60 000 of them: two bytes a count.
    private let storedTick: UInt32
    private let storedBucketTicks: UInt32
    /// Up, then known ticks of each bucket; empty as long as all that is known is up.
    private var counts: [UInt16] = []
    private var totalUp: UInt64 = 0
    private var totalKnown: UInt64 = 0
    private var last: UInt64
    private var isUp: Bool?

    init(windowMilliseconds: UInt64 = Limits.availabilityWindowMilliseconds, now: UInt64) {
        let bucketMilliseconds = max(1, windowMilliseconds / Self.buckets)
        let tick = (bucketMilliseconds + 59_999) / 60_000
        storedTick = UInt32(clamping: tick)
        storedBucketTicks = UInt32(clamping: max(1, bucketMilliseconds / tick))
        last = now / tick
    }

    private var tick: UInt64 { UInt64(storedTick) }
    private var bucketTicks: UInt64 { UInt64(storedBucketTicks) }
    private var windowTicks: UInt64 { bucketTicks * Self.buckets }
    /// The window as it is counted: a whole number of ticks.
    var windowMilliseconds: UInt64 { windowTicks * tick }

    /// From `now` on the instance counts as up or down; nil: nobody knows.
    mutating func set(up isUp: Bool?, now: UInt64) {
        advance(to: now / tick)
        // What was up before is in the buckets from now on: something else follows.
        if isUp != true, counts.isEmpty, totalKnown > 0 { spread() }
        self.isUp = isUp
    }

    /// Whole points from 0 to 100; nil without enough evidence.
    mutating func points(now: UInt64) -> Int? {
        advance(to: now / tick)
        guard totalKnown * tick >= Self.enoughMilliseconds else { return nil }
        return Int((totalUp * 100 + totalKnown / 2) / totalKnown)
    }

    /// The same share of whatever evidence there is, for people; nil with none.
    mutating func share(now: UInt64) -> Double? {
        advance(to: now / tick)
        return totalKnown == 0 ? nil : Double(totalUp) / Double(totalKnown)
    }

    private mutating func advance(to now: UInt64) {
        guard now > last else { return }
        guard isUp == false || !counts.isEmpty else {
            if isUp == true {
                totalKnown = min(windowTicks, totalKnown + (now - last))
                totalUp = totalKnown
            }
            last = now
            return
        }
        if counts.isEmpty { counts = [UInt16](repeating: 0, count: Int(Self.buckets) * 2) }
        // After a gap longer than the window nothing of it is left but the newest state.
        if now - last > windowTicks + bucketTicks {
            for index in counts.indices { counts[index] = 0 }
            totalUp = 0
            totalKnown = 0
            last = (now / bucketTicks - Self.buckets + 1) * bucketTicks
        }
        while last < now {
            let bucket = last / bucketTicks
            let end = min((bucket + 1) * bucketTicks, now)
            if let isUp { count(bucket, end - last, up: isUp) }
            last = end
            if end == (bucket + 1) * bucketTicks { forget(bucket + 1) }
        }
        // A whole window without a fault: no buckets are needed any more.
        if totalUp == totalKnown, totalKnown >= windowTicks - bucketTicks { counts = [] }
    }

    private mutating func count(_ bucket: UInt64, _ ticks: UInt64, up: Bool) {
        let index = Int(bucket % Self.buckets) * 2
        let span = UInt16(clamping: ticks)
        counts[index + 1] &+= span
        totalKnown += UInt64(span)
        if up {
            counts[index] &+= span
            totalUp += UInt64(span)
        }
    }

    private mutating func forget(_ bucket: UInt64) {
        let index = Int(bucket % Self.buckets) * 2
        totalUp -= UInt64(counts[index])
        totalKnown -= UInt64(counts[index + 1])
        counts[index] = 0
        counts[index + 1] = 0
    }

    /// Puts the time that was up without a gap into buckets, the newest first.
    private mutating func spread() {
        var left = min(totalKnown, windowTicks - bucketTicks)
        counts = [UInt16](repeating: 0, count: Int(Self.buckets) * 2)
        totalUp = 0
        totalKnown = 0
        var end = last
        while left > 0, end > 0 {
            let bucket = (end - 1) / bucketTicks
            let span = min(left, end - bucket * bucketTicks)
            count(bucket, span, up: true)
            left -= span
            end -= span
        }
    }

    // MARK: Saving

    /// What is kept on disk: pairs of up and known milliseconds, the newest bucket last, and what it counted as.
    struct Saved: Equatable, Sendable {
        var windowMilliseconds: UInt64
        var isUp: Bool?
        /// Empty buckets at the front are left out.
        var buckets: [UInt64]
    }

    mutating func saved(now: UInt64) -> Saved {
        advance(to: now / tick)
        var copy = self
        if copy.counts.isEmpty { copy.spread() }
        var pairs: [UInt64] = []
        for age in 0..<Self.buckets {
            let bucket = last / bucketTicks
            guard bucket >= age else { break }
            let index = Int((bucket - age) % Self.buckets) * 2
            pairs.append(UInt64(copy.counts[index + 1]) * tick)
            pairs.append(UInt64(copy.counts[index]) * tick)
        }
        while pairs.count >= 2, pairs[pairs.count - 1] == 0, pairs[pairs.count - 2] == 0 { pairs.removeLast(2) }
        return Saved(windowMilliseconds: windowMilliseconds, isUp: isUp, buckets: pairs.reversed())
    }

    /// As it was saved `elapsed` milliseconds ago; for the last `unseen` of these nobody has looked.
    init(_ saved: Saved, windowMilliseconds: UInt64, elapsed: UInt64, unseen: UInt64, now: UInt64) {
        self.init(windowMilliseconds: windowMilliseconds, now: now)
        let nowTick = now / tick
        isUp = saved.isUp
        guard saved.windowMilliseconds == self.windowMilliseconds, elapsed < self.windowMilliseconds, now > elapsed
        else { return }
        counts = [UInt16](repeating: 0, count: Int(Self.buckets) * 2)
        last = nowTick - elapsed / tick
        var bucket = last / bucketTicks
        var index = saved.buckets.count - 2
        while index >= 0 {
            let (up, known) = (saved.buckets[index] / tick, min(saved.buckets[index + 1] / tick, bucketTicks))
            count(bucket, min(up, known), up: true)
            count(bucket, known - min(up, known), up: false)
            guard bucket > 0, index >= 2 else { break }
            bucket -= 1
            index -= 2
        }
        advance(to: nowTick - min(unseen, elapsed) / tick)
        let state = isUp
        isUp = nil
        if counts.isEmpty, totalKnown > 0 { spread() }
        advance(to: nowTick)
        isUp = state
    }
}
