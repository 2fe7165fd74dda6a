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
            let list = services.keys.sorted().enumerated().map { place, name in
                SnapshotService(
                    id: place, name: name, paths: ["/" + name], policy: ServicePolicy(),
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
            let version = SnapshotVersion(epoch: 1, number: number)
            expect(table.apply(version, [(id, state)], &pool, &ledger, now: 2))
        }

        @discardableResult
        mutating func change(_ edit: (inout SnapshotChange) -> Void) -> Bool {
            number += 1
            var change = SnapshotChange(version: SnapshotVersion(epoch: 1, number: number))
            edit(&change)
            return table.apply(change, &pool, &ledger, now: 3)
        }

        /// What requests see: each service with its paths and instances.
        var contents: [String: [String]] {
            var all: [String: [String]] = [:]
            for service in table.services where !service.isGone {
                all[service.name] =
                    service.paths.map { "\($0 < table.paths.count)" }
                    + service.instances.map {
                        "\(table.instances[$0].url) \(table.instances[$0].weight) \(table.instances[$0].state.status)"
                    }.sorted()
            }
            return all
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
        _ status: InstanceStatus = .up, draining: Bool = false, address: SocketAddress? = address
    ) -> InstanceState {
        InstanceState(status: status, suspect: false, draining: draining, availability: 100, address: address)
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
            Self.state(.down), Self.state(draining: true), Self.state(address: nil),
            Self.state(address: .loopback(port: 2)),
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

    private static func instance(_ id: Int, _ url: String, weight: Int = 1, _ status: InstanceStatus = .up)
        -> SnapshotInstance
    {
        SnapshotInstance(id: id, url: url, authority: url, priority: .medium, weight: weight, state: state(status))
    }

    @Test func whatComesAndGoesInAChangeTouchesNothingElse() throws {
        var world = try World()
        world.apply(["a": ["h:1", "h:2"], "b": ["h:1"]])
        let slot = try world.existing("a", "h:2")
        world.table.instances[slot].outstanding = 3
        world.keepOne(slot)
        world.change {
            $0.goneInstances = [0]
            $0.goneServices = [1]
            $0.services = [SnapshotService(id: 5, name: "c", paths: ["/c", "/b"])]
            $0.instances = [.init(service: 5, Self.instance(9, "h:9")), .init(service: 0, Self.instance(3, "h:3"))]
        }
        expect(world.slot("a", "h:2") == slot && world.table.instances[slot].idle.count == 1)
        expect(world.slot("a", "h:1") == nil && world.slot("a", "h:3") != nil)
        expect(world.route("/a") == "a" && world.route("/b/x") == "c" && world.route("/c") == "c")
        world.change(9, Self.state(.down))
        expect(world.table.instances[try world.existing("c", "h:9")].state.status == .down)
    }

    /// An id is used again at once: what had it is gone, whoever is told of the new owner only.
    @Test func anIdThatNamesAnotherInstanceLeavesNothingOfTheFormer() throws {
        var world = try World()
        world.apply(["a": ["h:1"], "b": ["h:2"]])
        world.change {
            $0.services = [SnapshotService(id: 1, name: "c", paths: ["/c"])]
            $0.instances = [.init(service: 1, Self.instance(0, "h:7"))]
        }
        expect(world.slot("a", "h:1") == nil && world.slot("c", "h:7") != nil)
        expect(world.route("/b") == nil && world.route("/c") == "c")
    }

    @Test func aChangeOfWhatIsNotKnownIsRefused() throws {
        var world = try World()
        world.apply(["a": ["h:1"]])
        expect(!world.change { $0.instances = [.init(service: 4, Self.instance(9, "h:9"))] })
        let version = SnapshotVersion(epoch: 1, number: 99)
        expect(!world.table.apply(version, [(77, Self.state())], &world.pool, &world.ledger, now: 3))
        // What is gone already is no fault: it may have come and gone before it was told.
        expect(world.change { $0.goneInstances = [55] })
    }

    @Test func aServiceThatIsGoneIsFreedWithItsLastRequest() throws {
        var world = try World()
        world.apply(["a": ["h:1"], "b": ["h:2"]])
        let count = world.table.services.count
        world.table.services[1].active = 1
        world.change { $0.goneServices = [1] }
        world.change { $0.services = [SnapshotService(id: 2, name: "c", paths: ["/c"])] }
        expect(world.table.services.count == count + 1, "a request still names the place")
        world.table.leaveService(1)
        world.change { $0.services = [SnapshotService(id: 3, name: "d", paths: ["/d"])] }
        expect(world.table.services.count == count + 1 && world.route("/d") == "d")
        // Named again before its last request has ended, it is the same.
        world.table.services[0].active = 1
        world.change { $0.goneServices = [0] }
        world.change { $0.services = [SnapshotService(id: 8, name: "a", paths: ["/a"])] }
        world.table.leaveService(0)
        expect(world.route("/a") == "a" && world.table.services[0].name == "a")
    }

    /// Many changes, and now and then a whole snapshot, lead to what one snapshot of the end would lead to.
    @Test func changesLeadToTheSameTableAsAWholeSnapshot() throws {
        var random = SplitMix(seed: 11)
        func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
        var world = try World()
        world.apply([:])
        // By id: the name of a service, and of an instance its service and url.
        var services: [Int: String] = [:]
        var instances: [Int: (service: Int, url: String, weight: Int)] = [:]
        for step in 0..<3000 {
            var change = SnapshotChange(version: SnapshotVersion(epoch: 1, number: 0))
            var touched: Set<Int> = []
            for _ in 0...pick(4) {
                let id = pick(8)
                guard touched.insert(id).inserted else { continue }
                if services[id] != nil, pick(2) == 0 {
                    for (instance, value) in instances where value.service == id {
                        instances[instance] = nil
                        change.goneInstances.append(instance)
                    }
                    services[id] = nil
                    change.goneServices.append(id)
                } else if services[id] == nil {
                    services[id] = "s\(id)"
                    change.services.append(SnapshotService(id: id, name: "s\(id)", paths: ["/s\(id)", "/x\(id)"]))
                }
            }
            for _ in 0...pick(6) {
                let id = pick(30)
                let gone = change.goneInstances.contains(id)
                if let owner = instances[id], !gone, pick(2) == 0 {
                    guard !touched.contains(owner.service) else { continue }
                    instances[id] = nil
                    change.instances.removeAll { $0.instance.id == id }
                    change.goneInstances.append(id)
                } else if let service = services.keys.sorted().randomElement(using: &random), !gone {
                    let url = "h:\(id):\(pick(3))"
                    guard
                        !instances.contains(where: {
                            $0.key != id && $0.value.service == service && $0.value.url == url
                        })
                    else { continue }
                    instances[id] = (service, url, 1 + pick(3))
                    change.instances.removeAll { $0.instance.id == id }
                    let one = Self.instance(id, url, weight: instances[id]?.weight ?? 1)
                    change.instances.append(.init(service: service, one))
                }
            }
            if pick(20) == 0 {
                let list = services.sorted { $0.key < $1.key }.map { id, name in
                    SnapshotService(
                        id: id, name: name, paths: ["/s\(id)", "/x\(id)"],
                        instances: instances.filter { $0.value.service == id }.sorted { $0.key < $1.key }.map {
                            Self.instance($0.key, $0.value.url, weight: $0.value.weight)
                        })
                }
                world.table.begin(Snapshot(version: SnapshotVersion(epoch: 1, number: 0), services: list))
                while world.table.isBuilding {
                    _ = world.table.continueBuild(until: 0, &world.pool, &world.ledger, now: 1)
                }
            } else {
                expect(world.table.apply(change, &world.pool, &world.ledger, now: 3))
            }
            var wanted: [String: [String]] = [:]
            for (id, name) in services {
                let members = instances.filter { $0.value.service == id }
                wanted[name] = ["true", "true"] + members.map { "\($0.value.url) \($0.value.weight) up" }.sorted()
            }
            let contents = world.contents
            #expect(contents == wanted, "\(step)")
            if contents != wanted { return }
            for id in 0..<8 {
                for path in ["/s\(id)/y", "/x\(id)"] {
                    let routed = world.route(path)
                    #expect(routed == services[id], "\(step) \(path)")
                }
            }
        }
        expect(world.table.services.count <= 9 && world.table.instances.count == instances.count)
    }

    /// A slow forwarder is told several changes as one: what was removed may be back with another id, and its former id somebody else's.
    @Test func namesThatComeBackWithOtherIdsAreNotLost() throws {
        var world = try World()
        world.apply(["a": ["h:1", "h:2"], "b": ["h:3"]])
        // a: 0 -> 1, b: 1 -> 0; h:1: 0 -> 1, h:2: 1 -> 0.
        world.change {
            $0.services = [
                SnapshotService(id: 0, name: "b", paths: ["/b"]), SnapshotService(id: 1, name: "a", paths: ["/a"]),
            ]
            $0.instances = [
                .init(service: 1, Self.instance(0, "h:2")), .init(service: 1, Self.instance(1, "h:1")),
                .init(service: 0, Self.instance(2, "h:3")),
            ]
        }
        expect(world.contents == ["a": ["true", "h:1 1 up", "h:2 1 up"], "b": ["true", "h:3 1 up"]])
        expect(world.route("/a") == "a" && world.route("/b") == "b")
        world.change(1, Self.state(.down))
        expect(world.table.instances[try world.existing("a", "h:1")].state.status == .down)
    }

    /// Ids are given to names at random, again and again: the table holds what was told last.
    @Test func anyDistributionOfIdsIsTaken() throws {
        var random = SplitMix(seed: 23)
        var world = try World()
        world.apply([:])
        var services: [Int: String] = [:]
        var instances: [Int: (service: String, url: String)] = [:]
        for step in 0..<3000 {
            var names = ["a", "b", "c", "d"].shuffled(using: &random)
            var nextServices: [Int: String] = [:]
            for id in 0..<6 where random.next() % 2 == 0 && !names.isEmpty { nextServices[id] = names.removeLast() }
            var urls = nextServices.values.sorted().flatMap { name in (0..<3).map { (name, "h:\($0)") } }
                .shuffled(using: &random)
            var nextInstances: [Int: (service: String, url: String)] = [:]
            for id in 0..<14 where random.next() % 2 == 0 && !urls.isEmpty { nextInstances[id] = urls.removeLast() }
            world.change { change in
                change.goneServices = services.keys.filter { nextServices[$0] == nil }
                change.goneInstances = instances.keys.filter { nextInstances[$0] == nil }
                change.services = nextServices.sorted { $0.key < $1.key }.filter { services[$0.key] != $0.value }.map {
                    SnapshotService(id: $0.key, name: $0.value, paths: ["/" + $0.value])
                }
                let moved = Set(change.services.map(\.name))
                change.instances = nextInstances.sorted { $0.key < $1.key }.compactMap { id, value in
                    let before = instances[id]
                    let isSame = before?.service == value.service && before?.url == value.url
                    guard !isSame || moved.contains(value.service),
                        let service = nextServices.first(where: { $0.value == value.service })?.key
                    else { return nil }
                    return .init(service: service, Self.instance(id, value.url))
                }
            }
            (services, instances) = (nextServices, nextInstances)
            var wanted: [String: [String]] = [:]
            for name in services.values {
                wanted[name] =
                    ["true"] + instances.values.filter { $0.service == name }.map { "\($0.url) 1 up" }.sorted()
            }
            let contents = world.contents
            #expect(contents == wanted, "\(step)")
            if contents != wanted { return }
            for name in ["a", "b", "c", "d"] {
                let routed = world.route("/" + name)
                #expect(routed == (wanted[name] == nil ? nil : name), "\(step) \(name)")
            }
        }
        expect(world.table.instances.count == instances.count)
    }
}
