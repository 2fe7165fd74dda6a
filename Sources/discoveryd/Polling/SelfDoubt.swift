import Shared

/// What discoveryd thinks of its own faculties. Doubt is per faculty and bounded: it makes failed polls void, which are then
/// repeated; it never delays suspicion or first polls, and what it says of itself is shown in /health.
struct SelfDoubt: Sendable {
    /// When it last stood still, and for how long.
    private var stallEndedAt: UInt64 = 0
    private var stalledFor: UInt64 = 0
    private var lackedDescriptorsAt: UInt64?
    private var mass = MassFailure()
    /// Set by others: what cannot be written, in words; empty when all is well.
    var storage = ""

    /// The loop came back so much later than it was to.
    mutating func stalled(for late: UInt64, now: UInt64) {
        stallEndedAt = now
        stalledFor = late
    }

    /// Whether a stall has just ended: what is due now came due all at once.
    func hasJustStalled(now: UInt64) -> Bool { stallEndedAt != 0 && now == stallEndedAt }

    mutating func lacksDescriptors(now: UInt64) { lackedDescriptorsAt = now }

    /// A poll of an instance that was up has ended, one that is no confirmation.
    mutating func observe(failed: Bool, instance: Int, service: Int, now: UInt64) {
        mass.observe(failed: failed, instance: instance, service: service, now: now)
    }

    /// The longest time-out of a poll.
    mutating func configure(timeoutMilliseconds: UInt64) { mass.configure(timeoutMilliseconds) }

    /// Whether a failed poll says nothing: it ran while discoveryd stood still.
    func isVoid(began: UInt64) -> Bool { stallEndedAt != 0 && began <= stallEndedAt }

    /// Whether so much fails at once that our own network is suspected first.
    func doubtsFailures(now: UInt64) -> Bool { mass.isDoubted(now: now) }

    /// Why it doubts itself, in words; empty when it does not.
    func reasons(now: UInt64) -> [String] {
        var reasons: [String] = []
        if stallEndedAt != 0, now - stallEndedAt < Limits.doubtShownMilliseconds {
            reasons.append("it stood still for \(stalledFor) ms; polls that ran meanwhile were repeated")
        }
        if let at = lackedDescriptorsAt, now - at < Limits.doubtShownMilliseconds {
            reasons.append("no descriptors were left for polls")
        }
        if mass.isDoubted(now: now) {
            reasons.append("more than half of the instances polled failed at once; they are polled again")
        }
        if !storage.isEmpty { reasons.append(storage) }
        return reasons
    }
}

/// Notices that more than half of the instances polled within one time-out have failed, at least five of two services or more:
/// then the fault may be ours. Good for two time-outs; what fails after that, or again, is believed.
struct MassFailure: Sendable {
    private static let buckets: UInt64 = 8
    private struct Bucket {
        var number: UInt64 = 0
        var polled = 0
        var failed = 0
        var instances: Set<Int> = []
        var services: Set<Int> = []
    }

    private var ring = [Bucket](repeating: Bucket(), count: Int(buckets))
    private var windowMilliseconds = Limits.pollTimeoutMilliseconds
    private var doubtedAt: UInt64?

    mutating func configure(_ timeoutMilliseconds: UInt64) {
        let window = min(max(1000, timeoutMilliseconds), Limits.massFailureWindowMilliseconds)
        guard window != windowMilliseconds else { return }
        self = MassFailure()
        windowMilliseconds = window
    }

    mutating func observe(failed: Bool, instance: Int, service: Int, now: UInt64) {
        let number = now / (windowMilliseconds / Self.buckets)
        let index = Int(number % Self.buckets)
        if ring[index].number != number { ring[index] = Bucket(number: number) }
        ring[index].polled += 1
        guard failed else { return settle(number) }
        ring[index].failed += 1
        if ring[index].instances.count < Limits.massFailureInstances { ring[index].instances.insert(instance) }
        if ring[index].services.count < 2 { ring[index].services.insert(service) }
        if isMassive(number), doubtedAt == nil { doubtedAt = now }
    }

    /// Where most succeed again there is nothing to doubt, and the next time may come.
    private mutating func settle(_ number: UInt64) {
        if doubtedAt != nil, !isMassive(number) { doubtedAt = nil }
    }

    private func isMassive(_ number: UInt64) -> Bool {
        var (polled, failed) = (0, 0)
        var instances: Set<Int> = []
        var services: Set<Int> = []
        for bucket in ring where bucket.number + Self.buckets > number && bucket.number <= number {
            polled += bucket.polled
            failed += bucket.failed
            if instances.count < Limits.massFailureInstances { instances.formUnion(bucket.instances) }
            services.formUnion(bucket.services)
        }
        return instances.count >= Limits.massFailureInstances && services.count >= 2 && failed * 2 > polled
    }

    func isDoubted(now: UInt64) -> Bool { doubtedAt.map { now - $0 <= windowMilliseconds * 2 } ?? false }
}
