import Shared

/// An instance as this forwarder knows it; it outlives snapshots as long as they name it, and its connections with it.
struct InstanceSlot {
    let service: String
    let url: String
    var authority: [UInt8]
    var priority: Priority
    var weight: Int
    var state: InstanceState
    var passive = PassiveHealth()
    /// Why it was ejected last, and when (the loop's clock).
    var evidence: (words: String, at: UInt64)?
    /// Requests chosen for it, connecting or exchanging.
    var outstanding = 0
    /// Connections that are kept for another request.
    var idle = Pool.Chain()
    var latency = LatencyAverage()
    /// When the head of an answer came last, by the loop's clock.
    var answeredAt: UInt64 = 0
    /// Of its url: the same at every forwarder.
    let hash: UInt64
    /// Of its service and url: what it is found by, in the table and in the counters.
    let key: UInt64
    /// Which snapshot has named it last.
    var namedBy: UInt32 = 0
    /// Its row in the counters; -1 before its first request.
    var counterRow: Int32 = -1
    /// When it came back after it had been down; 0 for never.
    var returnedAt: UInt64 = 0
    /// Of its single addresses, where it has several.
    var addresses = AddressEvidence()
    /// Its place among the services of the present table; -1 when the table no longer names it.
    var serviceIndex = -1

    init(service: String, _ instance: SnapshotInstance, key: UInt64) {
        self.key = key
        self.service = service
        url = instance.url
        authority = Array(instance.authority.utf8)
        priority = instance.priority
        weight = instance.weight
        state = instance.state
        hash = RouteTable.hash(Array(instance.url.utf8))
    }

    @inline(__always)
    func load(limit: Int, now: UInt64, triesFreely: Bool) -> Balancer.Load {
        Balancer.Load(
            outstanding: outstanding, weight: weight,
            isFull: outstanding >= limit || passive.isOnTrial && outstanding > 0 && !triesFreely,
            latency: latency.value(now: now),
            hash: hash)
    }

    /// Of a hundred requests that would be its, those that it gets: fewer when it has just come back.
    func percentWelcome(now: UInt64) -> UInt64 {
        let back = now &- returnedAt
        guard returnedAt != 0, back < Limits.slowStartMilliseconds else { return 100 }
        return max(Limits.slowStartPercent, back * 100 / Limits.slowStartMilliseconds)
    }

    /// Fit to be chosen, as far as polling and this forwarder's own evidence go.
    var isCandidate: Bool {
        state.status == .up && !state.suspect && !state.draining && !passive.isEjected && !state.addresses.isEmpty
    }

    var facts: Ranking.Facts {
        Ranking.Facts(
            isCandidate: isCandidate, status: state.status, isDraining: state.draining, isEjected: passive.isEjected,
            isSuspect: state.suspect, priority: priority, availability: state.availability,
            hasAddress: !state.addresses.isEmpty, weight: weight)
    }
}
