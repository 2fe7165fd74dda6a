import Shared
import Testing

@testable import discoveryd

/// What the file and the names say becomes instances: one for each address, and none is touched that nobody speaks of.
@Suite struct MembershipTests {
    private static func configuration(_ servers: [String], weight: Int = 1) throws -> Configuration {
        var configuration = Configuration()
        let instances = try servers.map {
            Instance(url: $0, endpoint: try Endpoint($0), polling: Polling(method: .ping), weight: weight)
        }
        configuration.services = [Service(name: "a", instances: instances, paths: ["/a"])]
        return configuration
    }

    private static func targets(_ last: [UInt32]) -> [NameTarget] {
        last.map { NameTarget(address: SocketAddress(ipv4: 0x0a00_0000 + $0, port: 0)) }
    }

    /// Service "a" as people see it, line by line.
    private static func shown(_ registry: borrowing Registry) -> [String] {
        (registry.members(of: "a") ?? []).map { id in
            let entry = registry.instances[id]
            return entry.url + (entry.line == nil ? "" : " " + (entry.address?.description ?? "-"))
        }
    }

    private static func poll(
        _ members: inout Members, _ id: Registry.InstanceID, _ cause: PollCause, at now: UInt64 = 10
    ) {
        _ = members.registry.record(
            id, PollResult(cause: cause, status: 0, durationMicroseconds: 5), purpose: .regular, wasAccused: false,
            wall: 1_000_000 + now, began: now, now: now)
    }

    @Test func aNameIsAsManyInstancesAsItHasAddressesAndOneWithoutUntilThen() throws {
        var members = Members(try Self.configuration(["10.9.9.9:1", "orders:80", "10.9.9.9:2"]))
        expect(Self.shown(members.registry) == ["10.9.9.9:1", "orders:80 -", "10.9.9.9:2"])
        let before = members.registry.version
        let change = members.answer("orders", Self.targets([3, 1, 2]), now: 5)
        expect(
            Self.shown(members.registry)
                == [
                    "10.9.9.9:1", "orders:80 10.0.0.1:80", "orders:80 10.0.0.2:80", "orders:80 10.0.0.3:80",
                    "10.9.9.9:2",
                ], "in the place of the line, in the order of the addresses")
        expect(change.begun.count == 3 && change.goneInstances.count == 1 && change.hasOtherOrder)
        expect(members.registry.version.number == before.number + 1)
        let again = members.answer("orders", Self.targets([2, 3, 1]), now: 6)
        expect(again.isEmpty && !again.hasOtherOrder, "the order of an answer is no news")
    }

    @Test func whatStaysKeepsItsIdAndAllThatIsKnownOfIt() throws {
        var members = Members(try Self.configuration(["orders:80"]))
        _ = members.answer("orders", Self.targets([1, 2]), now: 5)
        let found = members.registry.members(of: "a")
        let ids = try #require(found)
        Self.poll(&members, ids[0], .ok)
        let change = members.answer("orders", Self.targets([1, 3]), now: 6)
        expect(members.registry.members(of: "a")?.first == ids[0] && members.registry.instances[ids[0]].polls == 1)
        expect(change.goneInstances == [ids[1]] && change.begun.count == 1)
        // A reload that leaves the line as it is leaves its instances as they are.
        let reload = members.adopt(try Self.configuration(["orders:80", "10.9.9.9:1"]), now: 7)
        expect(reload.begun.count == 1 && reload.goneInstances.isEmpty && reload.begunNames.isEmpty)
        expect(members.registry.members(of: "a")?.first == ids[0])
    }

    @Test func siblingsAreToldApartOnlyWhileThereAreSeveral() throws {
        var members = Members(try Self.configuration(["orders:80"]))
        _ = members.answer("orders", Self.targets([1]), now: 5)
        let found = members.registry.members(of: "a")
        let first = try #require(found?.first)
        expect(!members.registry.isOneOfSeveral(first) && members.registry.shownName(first) == "a orders:80")
        let change = members.answer("orders", Self.targets([1, 2]), now: 6)
        expect(change.instances.contains(first), "forwarders learn that it is one of several now")
        expect(members.registry.shownName(first) == "a orders:80 (10.0.0.1:80)")
        let back = members.answer("orders", Self.targets([1]), now: 7)
        expect(back.instances == [first] && !members.registry.isOneOfSeveral(first))
    }

    @Test func twoLinesOfOneNameAreFollowedBoth() throws {
        var members = Members(try Self.configuration(["orders:80", "orders:81"]))
        _ = members.answer("orders", Self.targets([1, 2]), now: 5)
        expect(
            Self.shown(members.registry)
                == ["orders:80 10.0.0.1:80", "orders:80 10.0.0.2:80", "orders:81 10.0.0.1:81", "orders:81 10.0.0.2:81"])
        let change = members.adopt(try Self.configuration(["orders:81"]), now: 6)
        expect(change.goneInstances.count == 2 && change.goneNames.isEmpty, "the name is still wanted")
        let rest = members.adopt(try Self.configuration(["10.9.9.9:1"]), now: 7)
        expect(rest.goneInstances.count == 2 && rest.goneNames == [SourceName("orders", .host)])
        expect(members.registry.lines.count == 0 && members.registry.instances.count == 1)
        let back = members.adopt(try Self.configuration(["orders:81"]), now: 8)
        expect(back.begunNames == [SourceName("orders", .host)] && Self.shown(members.registry) == ["orders:81 -"])
    }

    @Test func aMassRemovalIsHeldAndWhatFailsItsPollGoes() throws {
        var members = Members(try Self.configuration(["orders:80"]))
        _ = members.answer("orders", Self.targets([1, 2, 3, 4]), now: 5)
        let change = members.answer("orders", Self.targets([1]), now: 6)
        expect(change.goneInstances.isEmpty && Self.shown(members.registry).count == 4)
        let doubts = members.membership.doubts
        #expect(doubts.count == 1 && doubts[0].contains("orders") && doubts[0].contains("3 of 4"))
        let ids = members.registry.members(of: "a") ?? []
        let gone = members.membership.pollFailed(ids[2], &members.registry, now: 7)
        #expect(gone?.goneInstances == [ids[2]])
        let isKept = members.membership.pollFailed(ids[0], &members.registry, now: 7) == nil
        expect(isKept && Self.shown(members.registry).count == 3)
    }

    @Test func newOnesAreDrainedWhereAllOthersAre() throws {
        var members = Members(try Self.configuration(["orders:80"]))
        _ = members.answer("orders", Self.targets([1]), now: 5)
        let first = (members.registry.members(of: "a") ?? [])[0]
        members.registry.askDrain(first, true, wall: 77)
        members.registry.publishDrain(first, now: 6)
        _ = members.answer("orders", Self.targets([1, 2]), now: 7)
        let second = (members.registry.members(of: "a") ?? [])[1]
        expect(members.registry.instances[second].isDraining && members.registry.instances[second].drainingSince == 77)
        members.registry.askDrain(first, false, wall: 80)
        members.registry.publishDrain(first, now: 8)
        _ = members.answer("orders", Self.targets([1, 2, 3]), now: 9)
        let third = (members.registry.members(of: "a") ?? [])[2]
        expect(!members.registry.instances[third].isDraining)
        // A name that has moved, and one that has none any more, are what they were.
        let found = members.registry.find(service: "a", nameOrAddress: "orders:80")
        let one = members.registry.find(service: "a", nameOrAddress: "10.0.0.2:80")
        #expect(found.count == 3 && one == [second])
    }

    @Test func theWeightOfARecordGoesBeforeThatOfTheLine() throws {
        var members = Members(try Self.configuration(["srv:_http._tcp.shop"], weight: 7))
        let name = SourceName("_http._tcp.shop", .service)
        func say(_ weight: UInt8, _ tier: UInt8, now: UInt64, _ members: inout Members) -> MembershipChange {
            let share = NameTarget.ServiceShare(host: "big", tier: tier, weight: weight)
            let target = NameTarget(address: SocketAddress(ipv4: 1, port: 8080), service: share)
            return members.membership.receive(
                SourceChange(version: now, content: .reset([target])), of: name, &members.registry, now: now
            ).0
        }
        _ = say(40, 0, now: 5, &members)
        let id = (members.registry.members(of: "a") ?? [])[0]
        expect(members.registry.instances[id].weight == 40 && members.registry.authority(id) == "big:8080")
        let change = say(50, 2, now: 6, &members)
        expect(change.instances == [id] && members.registry.instances[id].tier == 2)
        expect(members.registry.instances[id].weight == 50)
        let reload = members.adopt(try Self.configuration(["srv:_http._tcp.shop"], weight: 9), now: 7)
        expect(reload.instances.isEmpty && members.registry.instances[id].weight == 50)
    }

    @Test func addressesOfBeforeARestartStandUntilAnAnswer() throws {
        var members = Members(try Self.configuration(["orders:80"]))
        let known = Self.targets([1, 2])
        let change = members.membership.restore(known, of: SourceName("orders", .host), &members.registry, now: 1)
        #expect(change?.begun.count == 2)
        let again = members.membership.restore(known, of: SourceName("orders", .host), &members.registry, now: 2)
        #expect(again == nil || again?.isEmpty == true)
    }

    /// The file's later words are differences: what it does not speak of is not looked at.
    @Test func theFileSaysWhatHasChangedOnly() throws {
        var file = FileSource()
        func services(_ names: [String]) throws -> [Service] {
            try names.map { name in
                var service = try Self.configuration(["10.9.9.9:1"]).services[0]
                service.name = String(name.prefix(1))
                service.paths = ["/" + name]
                return service
            }
        }
        #expect(file.health == .never)
        guard case .reset(let all) = file.read(try services(["a", "b", "c"])).content else {
            Issue.record("its first word is the whole")
            return
        }
        #expect(all.count == 3 && file.health == .fresh)
        guard case .difference(let added, let removed, let changed) = file.read(try services(["b2", "c", "d"])).content
        else {
            Issue.record("its second word is a difference")
            return
        }
        #expect(added.map(\.name) == ["d"] && removed == ["a"] && changed.map(\.name) == ["b"] && file.version == 2)
        file.refused(now: 9)
        #expect(file.health == .stale(since: 9))
    }

    /// Whatever is said in whatever order, the instances are those of the last words.
    @Test func manyAnswersAndReloadsLeadToTheLastWords() throws {
        var random = SplitMix(seed: 8)
        var members = Members(try Self.configuration(["n0:80"]))
        var lines = ["n0:80"]
        var answers: [String: [UInt32]] = [:]
        for step in 1..<2000 {
            let now = UInt64(step)
            if random.next() % 4 == 0 {
                lines = (0..<5).filter { _ in random.next() % 2 == 0 }.map { "n\($0):80" }
                if lines.isEmpty { lines = ["10.9.9.9:1"] }
                let change = members.adopt(try Self.configuration(lines), now: now)
                for name in change.goneNames { answers[name.text] = nil }
            } else {
                let name = "n\(random.next() % 5)"
                guard lines.contains(name + ":80") else { continue }
                // Growing by one or losing one of many: nothing is held.
                var addresses = answers[name] ?? []
                if addresses.count > 2, random.next() % 2 == 0 {
                    addresses.removeFirst()
                } else {
                    let new = UInt32(random.next() % 9)
                    if !addresses.contains(new) { addresses.append(new) }
                }
                answers[name] = addresses
                _ = members.answer(name, Self.targets(addresses), now: now)
            }
            let expected = lines.flatMap { line -> [String] in
                guard let addresses = answers[String(line.prefix(2))], !addresses.isEmpty else {
                    return [line.hasPrefix("n") ? line + " -" : line]
                }
                return addresses.sorted().map { "\(line) 10.0.0.\($0):80" }
            }
            let shown = Self.shown(members.registry)
            #expect(shown == expected, "\(step)")
            if shown != expected { return }
        }
        expect(members.registry.instances.highWater < 200)
    }
}
