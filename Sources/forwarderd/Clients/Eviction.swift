import Shared

/// Which client connection makes room for a new one: the connection that has been between requests for longest.
struct Eviction {
    /// An idle connection as it was when it was noted.
    private struct Candidate {
        let client: Slab<Client>.Index
        let generation: UInt32
        let restedAt: UInt64
    }

    /// The oldest last.
    private var candidates: [Candidate] = []
    /// When a search found none.
    private var nothingAt: UInt64 = 0

    /// The connection to be closed; nil: none is idle.
    mutating func next(_ clients: Slab<Client>, now: UInt64) -> Slab<Client>.Index? {
        if let client = pop(clients) { return client }
        // A search through all connections is for many evictions, and is not repeated within a millisecond.
        if nothingAt == now { return nil }
        // A connection that has not said anything yet may do so any moment; after a while it is as idle as others.
        let silentSince = now - min(now, Limits.silentClientMilliseconds)
        for client in clients.indices where clients[client].phase == .idle && clients[client].input.isEmpty {
            guard clients[client].hasServed || clients[client].restedAt < silentSince else { continue }
            candidates.append(
                Candidate(
                    client: client, generation: clients.generation(client), restedAt: clients[client].restedAt))
        }
        candidates.sort { $0.restedAt > $1.restedAt }
        if candidates.count > Limits.evictedPerSearch {
            candidates.removeFirst(candidates.count - Limits.evictedPerSearch)
        }
        let client = pop(clients)
        if client == nil { nothingAt = now }
        return client
    }

    private mutating func pop(_ clients: Slab<Client>) -> Slab<Client>.Index? {
        while let candidate = candidates.popLast() {
            let client = candidate.client
            if clients.holds(client, candidate.generation), clients[client].phase == .idle,
                clients[client].restedAt == candidate.restedAt, clients[client].input.isEmpty,
                // Its next request may be here already.
                clients[client].stream.isQuiet()
            {
                return client
            }
        }
        return nil
    }
}
