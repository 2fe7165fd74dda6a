import Shared

/// An instance as this forwarder knows it. It stays, with its connections, while snapshots name it.
struct InstanceSlot {
    let service: String
    let url: String
    /// Where `url` is a name: which of its addresses it is.
    let address: SocketAddress?
    /// The name has several addresses: then people see the address, too.
    var isOneOfSeveral: Bool
    var authority: [UInt8]
    var priority: Priority
    /// Within its priority, the lowest first.
    var tier: Int
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
    /// Hash of its name: the same at every forwarder.
    private(set) var hash: UInt64 = 0
    /// Hash of its service and label: its key in the table and in the counters.
    let key: UInt64
    /// The number of the last snapshot that named it.
    var namedBy: UInt32 = 0
    /// Its row in the counters; -1 before its first request.
    var counterRow: Int32 = -1
    /// When it last came up after it had been down; 0: never.
    var returnedAt: UInt64 = 0
    /// The index of its service; -1 if the table no longer names it.
    var serviceIndex = -1

    init(service: String, _ instance: SnapshotInstance, key: UInt64) {
        self.key = key
        self.service = service
        url = instance.url
        address = instance.address
        isOneOfSeveral = instance.isOneOfSeveral
        authority = Array(instance.authority.utf8)
        priority = instance.priority
        tier = instance.tier
        weight = instance.weight
        state = instance.state
        hash = RouteTable.hash(Array(label.utf8))
    }

    /// A snapshot names it again. Its state is taken over by the table.
    mutating func define(_ instance: SnapshotInstance) {
        authority = Array(instance.authority.utf8)
        priority = instance.priority
        tier = instance.tier
        weight = instance.weight
        guard isOneOfSeveral != instance.isOneOfSeveral else { return }
        isOneOfSeveral = instance.isOneOfSeveral
        hash = RouteTable.hash(Array(label.utf8))
    }

    /// By what people know it within its service: a name, and the address where the name has several.
    var label: String { SnapshotInstance.label(url, isOneOfSeveral ? address : nil) }

    func isNamed(by instance: SnapshotInstance) -> Bool { url == instance.url && address == instance.address }

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
        state.status == .up && !state.suspect && !state.draining && !passive.isEjected && state.address != nil
    }

    var facts: Ranking.Facts {
        Ranking.Facts(
            isCandidate: isCandidate, status: state.status, isDraining: state.draining, isEjected: passive.isEjected,
            isSuspect: state.suspect, priority: priority, tier: tier, availability: state.availability,
            hasAddress: state.address != nil, weight: weight)
    }
}
