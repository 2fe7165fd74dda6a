import Shared
import Testing

@testable import discoveryd

/// What subscribers are told, without a socket: whatever happens while they are slow, what they have put together in the end is what the
/// registry says.
@Suite struct SubscriptionTests {
    private static func configuration(_ services: [String: [String]]) throws -> Configuration {
        var configuration = Configuration()
        for name in services.keys.sorted() {
            let instances = try (services[name] ?? []).map {
                Instance(url: $0, endpoint: try Endpoint($0), polling: Polling(method: .ping))
            }
            configuration.services.append(Service(name: name, instances: instances, paths: ["/" + name]))
        }
        return configuration
    }

    /// A subscriber that puts together what it is told.
    private struct Reader {
        var subscription = Subscription()
        var assembler = SnapshotAssembler()
        var states: [Int: InstanceState] = [:]
        var names: [Int: String] = [:]
        var version: SnapshotVersion?
        var snapshots = 0

        init(_ role: PeerRole = .forwarder, versions: ClosedRange<Int>? = 1...2) {
            if let versions {
                let hello =
                    "{\"type\":\"hello\",\"role\":\"\(role.rawValue)\",\"protocol\":[\(versions.lowerBound),\(versions.upperBound)]}\n"
                _ = try? subscription.receive(Array(hello.utf8))
            }
            subscription.begin(role)
        }

        /// Reads so many lines. False: there are no more.
        mutating func read(_ lines: Int, _ registry: borrowing Registry, _ places: inout SnapshotPlaces) throws -> Bool
        {
            for _ in 0..<lines {
                // A change goes out as several lines at once.
                guard let lines = subscription.nextLine(registry, nil, &places) else { return false }
                for line in lines.split(separator: 0x0a) { try receive(line + [0x0a]) }
            }
            return true
        }

        private mutating func receive(_ line: ArraySlice<UInt8>) throws {
            switch try assembler.receive(Array(line)) {
            case .snapshot(let snapshot):
                snapshots += 1
                (states, names) = ([:], [:])
                for service in snapshot.services {
                    for instance in service.instances { take(instance, service.name) }
                }
                version = snapshot.version
            case .change(let change):
                for id in change.goneInstances { (states[id], names[id]) = (nil, nil) }
                for service in change.services { services[service.id] = service.name }
                for member in change.instances { take(member.instance, services[member.service] ?? "") }
                version = change.version
            case .delta(let next, let changes, _):
                for (id, state) in changes {
                    #expect(states[id] != nil, "a delta for an instance that was never told of")
                    states[id] = state
                }
                version = next
            case .nothing, .ping, .share, .ask: break
            case .refused(let reason): Issue.record("refused: \(reason)")
            }
        }

        private var services: [Int: String] = [:]
        private mutating func take(_ instance: SnapshotInstance, _ service: String) {
            states[instance.id] = instance.state
            names[instance.id] = instance.url
        }

        /// url and status of each instance.
        var known: [String] { states.map { "\(names[$0.key] ?? "?") \($0.value.status)" }.sorted() }
    }

    private static func known(_ registry: borrowing Registry) -> [String] {
        var all: [String] = []
        for id in registry.instances.indices {
            all.append("\(registry.instances[id].url) \(registry.instances[id].health.status)")
        }
        return all.sorted()
    }

    @Test(arguments: [1...1, 1...2]) func whoReadsSlowlyKnowsInTheEndWhatIsSo(_ versions: ClosedRange<Int>) throws {
        var random = SplitMix(seed: UInt64(versions.count))
        var members = Members(try Self.configuration(["a": ["10.0.0.1:1"]]))
        var places = SnapshotPlaces()
        var reader = Reader(versions: versions)
        var now: UInt64 = 1000
        for step in 0..<3000 {
            now += 150
            switch random.next() % 8 {
            case 0:
                var services: [String: [String]] = [:]
                for name in ["a", "b", "c"] where random.next() % 4 != 0 {
                    services[name] = (0..<40).filter { _ in random.next() % 3 != 0 }.map { "10.0.0.\($0):1" }
                }
                let change = members.adopt(try Self.configuration(services), now: now)
                if !change.isEmpty || change.hasOtherOrder {
                    places.forget()
                    reader.subscription.mark(change)
                }
            case 1...4:
                let ids = Array(members.registry.instances.indices)
                guard !ids.isEmpty else { continue }
                let id = ids[Int(random.next() % UInt64(ids.count))]
                let cause: PollCause = random.next() % 2 == 0 ? .ok : .refused
                _ = members.registry.record(
                    id, PollResult(cause: cause), purpose: .regular, wasAccused: false, wall: now, began: now, now: now)
                let changes = members.registry.takeChanges()
                if !changes.isEmpty { reader.subscription.mark(changes) }
            default: _ = try reader.read(Int(random.next() % 4), members.registry, &places)
            }
            if step % 50 == 49 {
                while try reader.read(100, members.registry, &places) {}
                members.registry.marks.releaseDeferred(now: now + 1000)
                reader.subscription.mark(members.registry.takeChanges())
                while try reader.read(100, members.registry, &places) {}
                let known = Self.known(members.registry)
                #expect(reader.known == known, "\(step)")
                expect(
                    reader.version == members.registry.version && reader.subscription.sent == members.registry.version)
                if reader.known != known { return }
            }
        }
        // In the second version most changes are told in small.
        #expect(versions.upperBound == 1 || reader.snapshots < 150, "\(reader.snapshots)")
    }

    @Test func muchAtOnceIsAWholeSnapshotAndLittleIsNot() throws {
        let many = (0..<600).map { "10.0.\($0 / 250).\($0 % 250):1" }
        var members = Members(try Self.configuration(["a": ["10.9.0.1:1"]]))
        var places = SnapshotPlaces()
        var reader = Reader()
        while try reader.read(100, members.registry, &places) {}
        #expect(reader.snapshots == 1)
        reader.subscription.mark(members.adopt(try Self.configuration(["a": ["10.9.0.1:1", "10.9.0.2:1"]]), now: 5))
        while try reader.read(100, members.registry, &places) {}
        #expect(reader.snapshots == 1 && reader.states.count == 2)
        reader.subscription.mark(members.adopt(try Self.configuration(["a": many]), now: 6))
        while try reader.read(100, members.registry, &places) {}
        #expect(reader.snapshots == 2 && reader.states.count == 600)
    }

    /// One that has said nothing, and one of before, get the first version: numbers from 0 in order, a url of its own for each instance.
    @Test func theFirstVersionCountsAndNamesEachInstanceOnItsOwn() throws {
        var members = Members(try Self.configuration(["a": ["10.9.0.1:1", "orders:80"]]))
        let targets = (1...2).map { NameTarget(address: SocketAddress(ipv4: 0x0a00_0000 + $0, port: 0)) }
        _ = members.answer("orders", targets, now: 5)
        var places = SnapshotPlaces()
        for versions in [nil, 1...1] as [ClosedRange<Int>?] {
            var silent = Reader(versions: versions)
            #expect(silent.subscription.protocolVersion == 1)
            var text = ""
            while let line = silent.subscription.nextLine(members.registry, nil, &places) {
                text += String(decoding: line, as: UTF8.self)
            }
            for part in [
                "\"id\":0,\"url\":\"10.9.0.1:1\"", "\"id\":1,\"url\":\"10.0.0.1:80\"",
                "\"id\":2,\"url\":\"10.0.0.2:80\"",
            ] {
                #expect(text.contains(part), "\(text)")
            }
            #expect(
                text.contains("\"authority\":\"orders:80\"") || text.contains("\"authority\":\"orders\""), "\(text)")
        }
        // In the second the name stays, with the address beside it.
        var newer = Reader()
        while try newer.read(100, members.registry, &places) {}
        #expect(newer.known == ["10.9.0.1:1 unknown", "orders:80 unknown", "orders:80 unknown"])
    }

    @Test func whatIsNotOfTheProtocolIsRefused() throws {
        var stranger = Subscription()
        for line in [
            "nonsense", "{\"type\":\"hello\",\"role\":\"king\",\"protocol\":[1,2]}", "{\"type\":\"told\",\"id\":1}",
            "{\"type\":\"command\"}", "{\"type\":\"observed\",\"service\":\"a\",\"instance\":\"b\"}",
        ] {
            #expect(throws: Subscription.Fault.self, "\(line)") { try stranger.receive(Array((line + "\n").utf8)) }
        }
        do throws(Subscription.Fault) {
            _ = try stranger.receive(Array("{\"type\":\"hello\",\"role\":\"forwarder\",\"protocol\":[8,9]}\n".utf8))
            Issue.record("a version that is not spoken here")
        } catch {
            #expect(error.refusal.contains("1 to 2"))
        }
        guard case .nothing = try stranger.receive(Array("{\"type\":\"of a later protocol\"}\n".utf8)) else {
            Issue.record("what is unknown is passed over")
            return
        }
    }

    /// An operator is told nothing but answers; a share is told once.
    @Test func eachRoleGetsItsLines() throws {
        let members = Members(try Self.configuration(["a": ["10.9.0.1:1"]]))
        var places = SnapshotPlaces()
        var operatorsEnd = Subscription()
        operatorsEnd.begin(.operator)
        let nothing = operatorsEnd.nextLine(members.registry, nil, &places)
        #expect(nothing == nil)
        var reader = Reader()
        while try reader.read(100, members.registry, &places) {}
        reader.subscription.needsShare = true
        let share = reader.subscription.nextLine(members.registry, Share(index: 1, of: 3), &places)
        let after = reader.subscription.nextLine(members.registry, nil, &places)
        #expect(share.map { String(decoding: $0, as: UTF8.self).contains("\"forwarders\":3") } == true)
        #expect(after == nil && !reader.subscription.needsShare && reader.subscription.isQuiet)
    }
}
