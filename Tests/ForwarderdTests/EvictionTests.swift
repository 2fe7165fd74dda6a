import Shared
import Testing

@testable import forwarderd

/// Clients are connected to real sockets here: whether a connection is quiet only the system knows.
@Suite struct EvictionTests {
    private struct Pair {
        let client: Slab<Client>.Index
        let peer: Descriptor
    }

    private func connect(_ clients: Slab<Client>, servedAt: UInt64?) throws -> Pair {
        let (ours, theirs) = try Socket.sequencedPair()
        let client = clients.insert(Client(ours, address: .loopback(port: 1)))
        if let servedAt {
            _ = clients[client].receive(.begun)
            _ = clients[client].receive(.finished)
            clients[client].restedAt = servedAt
        }
        return Pair(client: client, peer: theirs)
    }

    @Test func theClientThatHasBeenIdleLongestGoesFirst() throws {
        let clients = Slab<Client>(capacity: 8)
        let pairs = try [300, 100, 200].map { try connect(clients, servedAt: $0) }
        var eviction = Eviction()
        for expected in [1, 2, 0] {
            let found = eviction.next(clients, now: 1000)
            let next = try #require(found)
            #expect(next == pairs[expected].client)
            let gone = clients.remove(next)
            gone.stream.close()
        }
        expect(eviction.next(clients, now: 1000) == nil)
        for pair in pairs { pair.peer.close() }
    }

    @Test func aClientWhoseRequestIsHereStays() throws {
        let clients = Slab<Client>(capacity: 8)
        let (busy, quiet) = (try connect(clients, servedAt: 100), try connect(clients, servedAt: 200))
        try busy.peer.writeAll(Array("GET".utf8))
        var eviction = Eviction()
        expect(eviction.next(clients, now: 1000) == quiet.client)
    }

    @Test func aClientThatHasNotSpokenYetHasASecond() throws {
        let clients = Slab<Client>(capacity: 8)
        let silent = try connect(clients, servedAt: nil)
        clients[silent.client].restedAt = 5_000
        var eviction = Eviction()
        expect(eviction.next(clients, now: 5_000 + Limits.silentClientMilliseconds) == nil)
        expect(eviction.next(clients, now: 5_001 + Limits.silentClientMilliseconds) == silent.client)
    }

    @Test func aClientThatIsServedIsNeverEvicted() throws {
        let clients = Slab<Client>(capacity: 8)
        let serving = try connect(clients, servedAt: 1)
        _ = clients[serving.client].receive(.begun)
        var eviction = Eviction()
        expect(eviction.next(clients, now: 100_000) == nil)
    }
}
