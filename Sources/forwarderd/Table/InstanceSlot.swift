import Shared

/// An instance as this forwarder knows it. It stays, with its connections, while snapshots name it.
struct InstanceSlot {
    let service: String
    let url: String
    var authority: [UInt8]
    var priority: Priority
    var weight: Int
    var state: InstanceState
    var passive = PassiveHealth()
    /// Why and when it was last ejected (milliseconds of the loop's clock).
    var evidence: (words: String, at: UInt64)?
    /// Requests in flight.
    var outstanding = 0
    /// Connections that are kept for another request.
    var idle = Pool.Chain()
    var latency = LatencyAverage()
    /// When the last response head came, milliseconds of the loop's clock.
    var answeredAt: UInt64 = 0
    /// Hash of its url: the same at every forwarder.
    let hash: UInt64
    /// Hash of its service and url: its key in the table and in the counters.
    let key: UInt64
    /// The number of the last snapshot that named it.
    var namedBy: UInt32 = 0
    /// Its row in the counters; -1 before its first request.
    var counterRow: Int32 = -1
    /// When it last came up after it had been down; 0: never.
    var returnedAt: UInt64 = 0
    /// Evidence against its single addresses, if it has several.
    var addresses = AddressEvidence()
    /// The index of its service; -1 if the table no longer names it.
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

    /// Slow start: the percentage of its requests that an instance gets, less than 100 after its return.
    func percentWelcome(now: UInt64) -> UInt64 {
        let back = now &- returnedAt
        guard returnedAt != 0, back < Limits.slowStartMilliseconds else { return 100 }
        return max(Limits.slowStartPercent, back * 100 / Limits.slowStartMilliseconds)
    }

    /// Neither polls nor this forwarder's own evidence speak against it.
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
