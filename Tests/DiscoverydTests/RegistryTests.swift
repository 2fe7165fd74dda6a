import Shared
import Testing

@testable import discoveryd

/// Services and instances come and go; what stays keeps its id and all that is known of it.
@Suite struct RegistryTests {
    private static func configuration(_ services: [String: [String]], weight: Int = 1, frequency: UInt64 = 1000)
        throws -> Configuration
    {
        var configuration = Configuration()
        for name in services.keys.sorted() {
            var polling = Polling(method: .ping)
            polling.frequencyMilliseconds = frequency
            let instances = try (services[name] ?? []).map {
                Instance(url: $0, endpoint: try Endpoint($0), polling: polling, weight: weight)
            }
            configuration.services.append(Service(name: name, instances: instances, paths: ["/" + name]))
        }
        return configuration
    }

    private static func record(
        _ registry: inout Registry, _ id: Registry.InstanceID, _ cause: PollCause, at now: UInt64
    ) {
        _ = registry.record(
            id, PollResult(cause: cause, status: 0, durationMicroseconds: 5), purpose: .regular, wasAccused: false,
            wall: 1_000_000 + now, began: now, now: now)
    }

    private static func urls(_ registry: borrowing Registry, _ ids: [Registry.InstanceID]) -> [String] {
        let instances = registry.instances
        return ids.map { instances[$0].url }
    }

    @Test func anInstanceKeepsItsIdItsPollsAndItsDrainWhateverComesAndGoes() throws {
        var members = Members(try Self.configuration(["a": ["10.9.9.9:1", "10.9.9.9:2"], "b": ["10.9.9.9:1"]]))
        let found = members.registry.find(service: "a", instance: "10.9.9.9:2", address: nil)
        let id = try #require(found)
        Self.record(&members.registry, id, .refused, at: 10)
        Self.record(&members.registry, id, .refused, at: 20)
        members.registry.askDrain(id, true, wall: 5)
        let change = members.adopt(
            try Self.configuration(["a": ["10.9.9.9:5", "10.9.9.9:2", "10.9.9.9:3"], "c": ["10.9.9.9:9"]]), now: 30)
        expect(members.registry.find(service: "a", instance: "10.9.9.9:2", address: nil) == id)
        expect(members.registry.instances[id].polls == 2 && members.registry.instances[id].history.count == 2)
        expect(members.registry.instances[id].health.status == .down && members.registry.instances[id].isDrainAsked)
        expect(Set(Self.urls(members.registry, change.begun)) == ["10.9.9.9:5", "10.9.9.9:3", "10.9.9.9:9"])
        expect(change.goneInstances.count == 2 && change.goneServices.count == 1 && change.services.count == 1)
        expect(!change.instances.contains(id), "forwarders have nothing to learn of it")
        expect(
            members.registry.members(of: "a").map { Self.urls(members.registry, $0) } == [
                "10.9.9.9:5", "10.9.9.9:2", "10.9.9.9:3",
            ], "as it is written")
        expect(members.registry.members(of: "b") == nil && members.registry.instances.count == 4)
    }

    @Test func theSameConfigurationChangesNothing() throws {
        let configuration = try Self.configuration(["a": ["10.9.9.9:1", "10.9.9.9:2"], "b": ["10.9.9.9:1"]])
        var members = Members(configuration)
        let version = members.registry.version
        let change = members.adopt(configuration, now: 10)
        expect(
            change.isEmpty && change.repolled.isEmpty && !change.hasOtherOrder && members.registry.version == version)
    }

    @Test func anotherOrderIsNoNewsButForWhoCounts() throws {
        var members = Members(try Self.configuration(["a": ["10.9.9.9:1", "10.9.9.9:2"], "b": ["10.9.9.9:1"]]))
        let version = members.registry.version
        var change = members.adopt(
            try Self.configuration(["a": ["10.9.9.9:2", "10.9.9.9:1"], "b": ["10.9.9.9:1"]]), now: 10)
        expect(change.isEmpty && change.hasOtherOrder && members.registry.version == version)
        var turned = try Self.configuration(["a": ["10.9.9.9:2", "10.9.9.9:1"], "b": ["10.9.9.9:1"]])
        turned.services.reverse()
        change = members.adopt(turned, now: 20)
        expect(change.isEmpty && change.hasOtherOrder && members.registry.serviceNames == ["b", "a"])
    }

    @Test func aWeightIsNewsForForwardersAndAFrequencyIsNot() throws {
        let services = ["a": ["10.9.9.9:1", "10.9.9.9:2"]]
        var members = Members(try Self.configuration(services))
        var change = members.adopt(try Self.configuration(services, frequency: 50), now: 10)
        expect(change.isEmpty && change.repolled.count == 2)
        expect(members.registry.polling(0).frequencyMilliseconds == 50)
        change = members.adopt(try Self.configuration(services, weight: 9, frequency: 50), now: 10)
        expect(change.instances.count == 2 && change.repolled.isEmpty && members.registry.instances[1].weight == 9)
    }

    /// A place is used again: nothing of the former instance is found there, and nothing is told of it.
    @Test func whatIsGoneLeavesNothingToTheNextInItsPlace() throws {
        var members = Members(try Self.configuration(["a": ["10.9.9.9:1"]]))
        Self.record(&members.registry, 0, .refused, at: 10)
        expect(members.registry.marks.hasChanged && members.registry.marks.hasUnsaved)
        _ = members.adopt(try Self.configuration([:]), now: 20)
        expect(
            !members.registry.marks.hasChanged
                && members.registry.marks.takeForgotten() == [InstanceName(service: "a", url: "10.9.9.9:1")])
        let change = members.adopt(try Self.configuration(["b": ["10.9.9.9:7"]]), now: 30)
        expect(change.begun == [0] && members.registry.instances[0].history.count == 0)
        expect(
            members.registry.instances[0].health.status == .unknown && members.registry.instances[0].lastCheckedAt == 0)
    }

    @Test func anInstanceThatNobodyHasPolledIsNotRemembered() throws {
        var members = Members(try Self.configuration(["a": ["10.9.9.9:1"]]))
        _ = members.adopt(try Self.configuration([:]), now: 20)
        expect(members.registry.marks.takeForgotten().isEmpty)
    }

    /// Many changes lead to what one configuration would lead to, and ids do not grow.
    @Test func manyChangesLeadToTheConfigurationOfTheEnd() throws {
        var random = SplitMix(seed: 5)
        var members = Members(try Self.configuration([:]))
        var ids: [InstanceName: Registry.InstanceID] = [:]
        for step in 0..<400 {
            var services: [String: [String]] = [:]
            for _ in 0..<random.next() % 5 {
                services["s\(random.next() % 6)"] = (0..<random.next() % 8).map { _ in
                    "10.9.9.9:\(1 + random.next() % 9)"
                }
                .reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
            }
            let change = members.adopt(try Self.configuration(services), now: UInt64(step))
            let present = members.registry.ids
            #expect(
                Set(present.keys.map { "\($0.service) \($0.url)" })
                    == Set(services.flatMap { s in s.value.map { "\(s.key) \($0)" } }))
            for (name, id) in present {
                #expect(ids[name] == nil || ids[name] == id, "\(step) \(name)")
                #expect((ids[name] == nil) == change.begun.contains(id))
            }
            #expect(change.goneInstances.count == ids.keys.filter { present[$0] == nil }.count)
            ids = present
            for (name, urls) in services {
                let members = members.registry.members(of: name).map { Self.urls(members.registry, $0) }
                #expect(members == urls)
            }
        }
        expect(members.registry.instances.highWater <= 2 * 6 * 9)
    }
}
