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
            answering: nil, wall: 1_000_000 + now, began: now, now: now)
    }

    private static func urls(_ registry: borrowing Registry, _ ids: [Registry.InstanceID]) -> [String] {
        let instances = registry.instances
        return ids.map { instances[$0].url }
    }

    @Test func anInstanceKeepsItsIdItsPollsAndItsDrainWhateverComesAndGoes() throws {
        var registry = Registry(try Self.configuration(["a": ["h:1", "h:2"], "b": ["h:1"]]), epoch: 1, now: 0)
        let found = registry.find(service: "a", instance: "h:2")
        let id = try #require(found)
        Self.record(&registry, id, .refused, at: 10)
        Self.record(&registry, id, .refused, at: 20)
        registry.askDrain(id, true, wall: 5)
        let change = registry.adopt(try Self.configuration(["a": ["h:5", "h:2", "h:3"], "c": ["h:9"]]), now: 30)
        expect(registry.find(service: "a", instance: "h:2") == id)
        expect(registry.instances[id].polls == 2 && registry.instances[id].history.count == 2)
        expect(registry.instances[id].health.status == .down && registry.instances[id].isDrainAsked)
        expect(Set(Self.urls(registry, change.begun)) == ["h:5", "h:3", "h:9"])
        expect(change.goneInstances.count == 2 && change.goneServices.count == 1 && change.services.count == 1)
        expect(!change.instances.contains(id), "forwarders have nothing to learn of it")
        expect(registry.members(of: "a").map { Self.urls(registry, $0) } == ["h:5", "h:2", "h:3"], "as it is written")
        expect(registry.members(of: "b") == nil && registry.instances.count == 4)
    }

    @Test func theSameConfigurationChangesNothing() throws {
        let configuration = try Self.configuration(["a": ["h:1", "h:2"], "b": ["h:1"]])
        var registry = Registry(configuration, epoch: 1, now: 0)
        let version = registry.version
        let change = registry.adopt(configuration, now: 10)
        expect(change.isEmpty && change.repolled.isEmpty && !change.hasOtherOrder && registry.version == version)
    }

    @Test func anotherOrderIsNoNewsButForWhoCounts() throws {
        var registry = Registry(try Self.configuration(["a": ["h:1", "h:2"], "b": ["h:1"]]), epoch: 1, now: 0)
        let version = registry.version
        var change = registry.adopt(try Self.configuration(["a": ["h:2", "h:1"], "b": ["h:1"]]), now: 10)
        expect(change.isEmpty && change.hasOtherOrder && registry.version == version)
        var turned = try Self.configuration(["a": ["h:2", "h:1"], "b": ["h:1"]])
        turned.services.reverse()
        change = registry.adopt(turned, now: 20)
        expect(change.isEmpty && change.hasOtherOrder && registry.serviceNames == ["b", "a"])
    }

    @Test func aWeightIsNewsForForwardersAndAFrequencyIsNot() throws {
        let services = ["a": ["h:1", "h:2"]]
        var registry = Registry(try Self.configuration(services), epoch: 1, now: 0)
        var change = registry.adopt(try Self.configuration(services, frequency: 50), now: 10)
        expect(change.isEmpty && change.repolled.count == 2)
        expect(registry.polling(0).frequencyMilliseconds == 50)
        change = registry.adopt(try Self.configuration(services, weight: 9, frequency: 50), now: 10)
        expect(change.instances.count == 2 && change.repolled.isEmpty && registry.instances[1].weight == 9)
    }

    /// A place is used again: nothing of the former instance is found there, and nothing is told of it.
    @Test func whatIsGoneLeavesNothingToTheNextInItsPlace() throws {
        var registry = Registry(try Self.configuration(["a": ["h:1"]]), epoch: 1, now: 0)
        Self.record(&registry, 0, .refused, at: 10)
        expect(registry.hasChanges && registry.hasUnsaved)
        _ = registry.adopt(try Self.configuration([:]), now: 20)
        expect(!registry.hasChanges && registry.takeForgotten() == [InstanceName(service: "a", url: "h:1")])
        let change = registry.adopt(try Self.configuration(["b": ["h:7"]]), now: 30)
        expect(change.begun == [0] && registry.instances[0].history.count == 0)
        expect(registry.instances[0].health.status == .unknown && registry.instances[0].lastCheckedAt == 0)
    }

    @Test func anInstanceThatNobodyHasPolledIsNotRemembered() throws {
        var registry = Registry(try Self.configuration(["a": ["h:1"]]), epoch: 1, now: 0)
        _ = registry.adopt(try Self.configuration([:]), now: 20)
        expect(registry.takeForgotten().isEmpty)
    }

    /// Many changes lead to what one configuration would lead to, and ids do not grow.
    @Test func manyChangesLeadToTheConfigurationOfTheEnd() throws {
        var random = SplitMix(seed: 5)
        var registry = Registry(try Self.configuration([:]), epoch: 1, now: 0)
        var ids: [InstanceName: Registry.InstanceID] = [:]
        for step in 0..<400 {
            var services: [String: [String]] = [:]
            for _ in 0..<random.next() % 5 {
                services["s\(random.next() % 6)"] = (0..<random.next() % 8).map { _ in "h:\(1 + random.next() % 9)" }
                    .reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
            }
            let change = registry.adopt(try Self.configuration(services), now: UInt64(step))
            let present = registry.ids
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
                let members = registry.members(of: name).map { Self.urls(registry, $0) }
                #expect(members == urls)
            }
        }
        expect(registry.instances.highWater <= 2 * 6 * 9)
    }
}
