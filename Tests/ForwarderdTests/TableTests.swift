import Shared
import Testing

@testable import forwarderd

/// Snapshots and changes become the table: what stays keeps its slot, what goes is freed when nothing uses it any more.
@Suite struct TableTests {
    private struct Missing: Error {
        let service: String
        let url: String
    }

    private struct World: ~Copyable {
        var table = Table()
        var pool = Pool(capacity: 16, idleLimit: 16)
        var ledger: Ledger
        var number: UInt64 = 0

        init() throws {
            // Where no file can be made, counters are kept in memory.
            ledger = Ledger(
                try CounterFile.make(in: "/nonexistent", index: nil), log: Log(program: "test", level: .error),
                standardError: .none, runtimeDirectory: "/nonexistent", index: nil)
        }

        mutating func apply(_ services: [String: [String]]) {
            number += 1
            var id = 0
            let list = services.keys.sorted().map { name in
                SnapshotService(
                    name: name, paths: ["/" + name], policy: ServicePolicy(),
                    instances: (services[name] ?? []).map { url in
                        id += 1
                        return SnapshotInstance(
                            id: id - 1, url: url, authority: url, priority: .medium, weight: 1,
                            state: TableTests.state())
                    })
            }
            table.begin(Snapshot(version: SnapshotVersion(epoch: 1, number: number), services: list))
            while table.isBuilding { _ = table.continueBuild(until: 0, &pool, &ledger, now: 1) }
        }

        mutating func change(_ id: Int, _ state: InstanceState) {
            number += 1
            table.apply(SnapshotVersion(epoch: 1, number: number), [(id, state)], &pool, &ledger, now: 2)
        }

        func route(_ path: String) -> String? {
            let bytes = Array(path.utf8)
            return table.routes.route(bytes.span, 0, bytes.count).map { table.services[$0.service].name }
        }

        func slot(_ service: String, _ url: String) -> Table.Instance? {
            table.instances.indices.first {
                table.instances[$0].service == service && table.instances[$0].url == url
            }
        }

        func existing(_ service: String, _ url: String) throws -> Table.Instance {
            guard let slot = slot(service, url) else { throw Missing(service: service, url: url) }
            return slot
        }

        mutating func keepOne(_ slot: Table.Instance) {
            let index = pool.connections.insert(InstanceConnection(.none, instance: slot, address: TableTests.address))
            pool.keep(index, in: &table.instances[slot].idle, now: 0)
        }
    }

    fileprivate static let address = SocketAddress.loopback(port: 1)

    fileprivate static func state(
        _ status: InstanceStatus = .up, draining: Bool = false, addresses: [SocketAddress] = [address]
    ) -> InstanceState {
        InstanceState(status: status, suspect: false, draining: draining, availability: 100, addresses: addresses)
    }

    @Test func instancesThatASnapshotNamesAgainKeepTheirEvidenceAndConnections() throws {
        var world = try World()
        world.apply(["a": ["h:1", "h:2"], "b": ["h:1"]])
        let slot = try world.existing("a", "h:2")
        world.table.instances[slot].outstanding = 3
        world.keepOne(slot)
        world.apply(["a": ["h:2", "h:3"], "c": ["h:9"]])
        expect(world.slot("a", "h:2") == slot && world.table.instances[slot].outstanding == 3)
        expect(world.table.instances[slot].idle.count == 1)
        expect(world.slot("a", "h:1") == nil && world.slot("b", "h:1") == nil, "freed")
        expect(world.route("/a/x") == "a" && world.route("/b") == nil && world.route("/c") == "c")
    }

    @Test func anInstanceOfTwoServicesIsTwoInstances() throws {
        var world = try World()
        world.apply(["a": ["h:1"], "b": ["h:1"]])
        let (a, b) = (try world.existing("a", "h:1"), try world.existing("b", "h:1"))
        expect(a != b)
        world.apply(["b": ["h:1"]])
        expect(world.slot("a", "h:1") == nil && world.slot("b", "h:1") == b)
    }

    @Test func aRemovedInstanceIsFreedWithItsLastRequestAndKeepsNoConnection() throws {
        var world = try World()
        world.apply(["a": ["h:1", "h:2"]])
        let slot = try world.existing("a", "h:1")
        world.keepOne(slot)
        world.table.instances[slot].outstanding = 2
        world.table.instances[slot].counterRow = 0
        world.apply(["a": ["h:2"]])
        expect(world.pool.connections.count == 0 && world.table.instances.isInUse(slot))
        world.table.leave(slot, &world.ledger)
        expect(world.table.instances.isInUse(slot))
        world.table.leave(slot, &world.ledger)
        expect(!world.table.instances.isInUse(slot))
        // Named again, it begins anew.
        world.apply(["a": ["h:1"]])
        let again = try world.existing("a", "h:1")
        expect(world.table.instances[again].outstanding == 0)
    }

    @Test func anInstanceThatIsDownDrainingOrWithoutAnAddressKeepsNoIdleConnection() throws {
        for state in [
            Self.state(.down), Self.state(draining: true), Self.state(addresses: []),
            Self.state(addresses: [.loopback(port: 2)]),
        ] {
            var world = try World()
            world.apply(["a": ["h:1"]])
            let slot = try world.existing("a", "h:1")
            world.keepOne(slot)
            world.change(0, Self.state())
            expect(world.pool.idleCount == 1)
            world.change(0, state)
            expect(world.pool.idleCount == 0 && world.pool.connections.count == 0, "\(state)")
        }
    }

    @Test func aGoodPollEndsAnEjectionAndAReturnIsSlow() throws {
        var world = try World()
        world.apply(["a": ["h:1"]])
        let slot = try world.existing("a", "h:1")
        var random = SplitMix(seed: 1)
        _ = world.table.instances[slot].passive.failed(now: 1, random: &random)
        world.change(0, Self.state())
        expect(world.table.instances[slot].passive.isEjected, "nothing was news")
        world.change(0, Self.state(.down))
        world.change(0, Self.state())
        expect(!world.table.instances[slot].passive.isEjected && world.table.instances[slot].returnedAt == 2)
    }

    @Test func aChangeIsNewsForTheRankingOfItsService() throws {
        var world = try World()
        world.apply(["a": ["h:1", "h:2"]])
        world.table.rankIfStale(0)
        expect(!world.table.services[0].isStale && world.table.services[0].ranking.groups.first?.slots.count == 2)
        world.change(1, Self.state(.down))
        expect(world.table.services[0].isStale)
        world.table.rankIfStale(0)
        expect(world.table.services[0].ranking.groups.first?.slots.count == 1)
    }

    @Test func noMoreThanHalfOfAServiceIsEjectedOnEvidence() throws {
        var world = try World()
        world.apply(["a": ["h:1", "h:2", "h:3", "h:4"]])
        var random = SplitMix(seed: 1)
        var ejected = 0
        for url in ["h:1", "h:2", "h:3", "h:4"] {
            let slot = try world.existing("a", url)
            guard world.table.mayEject(slot) else { continue }
            _ = world.table.instances[slot].passive.failed(now: 1, random: &random)
            ejected += 1
        }
        #expect(ejected == 2)
    }

    @Test func aQueueIsLookedAtWhenAnInstanceHasRoom() throws {
        var world = try World()
        world.apply(["a": ["h:1"]])
        let slot = try world.existing("a", "h:1")
        world.table.instances[slot].outstanding = 1
        world.table.instances[slot].counterRow = 0
        world.table.leave(slot, &world.ledger)
        expect(!world.table.hasServicesWithRoom, "nobody waits")
        world.table.services[0].queue.append(Slab<Exchange>.Index(5))
        world.table.instances[slot].outstanding = 1
        world.table.leave(slot, &world.ledger)
        expect(world.table.takeServicesWithRoom() == [0] && !world.table.hasServicesWithRoom)
    }
}
