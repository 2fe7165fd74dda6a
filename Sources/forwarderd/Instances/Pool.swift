import Shared

/// All connections to instances, and the idle ones among them. When the limit of all idle connections is reached, the one that has been
/// idle longest is closed, whatever its instance.
struct Pool {
    typealias Index = Slab<InstanceConnection>.Index

    /// The idle connections of one instance, the one used last first.
    struct Chain {
        fileprivate(set) var newest: Index?
        fileprivate(set) var count = 0
    }

    let connections: Slab<InstanceConnection>
    /// Idle connections of all instances at most.
    let idleLimit: Int
    private(set) var idleCount = 0
    private var newest: Index?
    /// The connection that has been idle longest.
    private(set) var oldest: Index?

    init(capacity: Int, idleLimit: Int) {
        connections = Slab(capacity: capacity)
        self.idleLimit = idleLimit
    }

    var isFull: Bool { connections.isFull }
    var isOverIdleLimit: Bool { idleCount > idleLimit }

    /// The idle connection that was used last. The caller takes it out of the lists, and looks whether anything has come on
    /// it: an end, or bytes that nobody asked for, which would become the response to another client's request.
    @inline(__always)
    func candidate(in chain: Chain, isIdempotent: Bool, now: UInt64) -> Index? {
        guard let index = chain.newest, !isIdempotent else { return chain.newest }
        // A non-idempotent request uses only connections that the instance is unlikely to have closed.
        let idle = now &- connections[index].idleSince
        let announced = connections[index].announcedTimeoutMilliseconds
        let isFresh =
            idle <= Limits.staleConnectionMilliseconds && announced >= idle + Limits.staleConnectionMilliseconds
        return isFresh ? index : nil
    }

    /// Keeps a connection that serves no exchange any more.
    mutating func keep(_ index: Index, in chain: inout Chain, now: UInt64) {
        connections[index].phase = .idle
        connections[index].isReused = true
        connections[index].idleSince = now
        connections[index].ofInstance = IdleLinks(newer: nil, older: chain.newest)
        if let next = chain.newest { connections[next].ofInstance.newer = index }
        chain.newest = index
        chain.count += 1
        connections[index].ofAll = IdleLinks(newer: nil, older: newest)
        if let next = newest { connections[next].ofAll.newer = index } else { oldest = index }
        newest = index
        idleCount += 1
    }

    /// Takes an idle connection out of the lists.
    mutating func remove(_ index: Index, from chain: inout Chain) {
        let (ofInstance, ofAll) = (connections[index].ofInstance, connections[index].ofAll)
        if let newer = ofInstance.newer {
            connections[newer].ofInstance.older = ofInstance.older
        } else {
            chain.newest = ofInstance.older
        }
        if let older = ofInstance.older { connections[older].ofInstance.newer = ofInstance.newer }
        chain.count -= 1
        if let newer = ofAll.newer { connections[newer].ofAll.older = ofAll.older } else { newest = ofAll.older }
        if let older = ofAll.older { connections[older].ofAll.newer = ofAll.newer } else { oldest = ofAll.newer }
        idleCount -= 1
    }

    /// Closes an idle connection.
    mutating func closeIdle(_ index: Index, in chain: inout Chain) {
        remove(index, from: &chain)
        connections[index].stream.close()
        connections.discard(index)
    }

    /// Closes the idle connections of one instance.
    mutating func closeIdle(in chain: inout Chain) {
        while let index = chain.newest { closeIdle(index, in: &chain) }
    }

    /// Closes the connection that has been idle longest. False: none is idle.
    mutating func closeOldest(_ instances: Slab<InstanceSlot>) -> Bool {
        guard let oldest else { return false }
        closeIdle(oldest, in: &instances[connections[oldest].instance].idle)
        return true
    }

    /// Closes connections that have been idle for `Limits.instanceIdleTimeoutMilliseconds`.
    mutating func closeExpired(_ instances: Slab<InstanceSlot>, now: UInt64) {
        guard now > Limits.instanceIdleTimeoutMilliseconds else { return }
        let limit = now - Limits.instanceIdleTimeoutMilliseconds
        while let oldest, connections[oldest].idleSince < limit { _ = closeOldest(instances) }
    }
}
