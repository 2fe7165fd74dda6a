import Shared
import Testing

@testable import discoveryd

@Suite struct SavedStateTests {
    private func registry(_ urls: [String]) throws -> Registry {
        var configuration = Configuration()
        configuration.services = [
            Service(
                name: "a",
                instances: try urls.map {
                    Instance(url: $0, endpoint: try Endpoint($0), polling: Polling(method: .ping))
                },
                paths: ["/a"])
        ]
        return Members.registry(configuration)
    }

    private func record(_ registry: inout Registry, _ id: Registry.InstanceID, _ cause: PollCause, at now: UInt64) {
        _ = registry.record(
            id, PollResult(cause: cause, status: 0, durationMicroseconds: 5), purpose: .regular, wasAccused: false,
            wall: 1_000_000 + now, began: now, now: now)
    }

    private func lines(_ registry: borrowing Registry, at now: UInt64) -> [UInt8] {
        var writer = JSONWriter()
        SavedState.begin(at: 1_000_000 + now, to: &writer)
        for id in registry.instances.indices {
            SavedInstance(
                registry.instances[id], registry.name(id), registry.share(of: id), at: 1_000_000 + now, now: now
            ).write(to: &writer)
        }
        return writer.bytes
    }

    @Test func whatWasSavedIsTakenBackWhole() throws {
        var before = try registry(["10.0.0.1:80", "10.0.0.2:80"])
        record(&before, 0, .ok, at: 10)
        record(&before, 1, .refused, at: 20)
        record(&before, 0, .ok, at: 700_000)
        let bytes = lines(before, at: 700_000)
        let loaded = try #require(SavedState.read(bytes))
        #expect(!loaded.isTorn)
        #expect(loaded.aliveAt == 1_700_000)
        var after = try registry(["10.0.0.2:80", "10.0.0.1:80"])
        for saved in loaded.instances {
            let ids = after.ids
            let id = try #require(ids[InstanceName(service: saved.service, url: saved.url)])
            after.restore(id, saved, elapsed: 1000, unseen: 1000, now: 900_000)
        }
        expect(after.instances[1].health == before.instances[0].health)
        expect(after.instances[0].health.status == .down)
        expect(after.instances[1].state == before.instances[0].state)
        expect(after.instances[1].publishedAvailability == 100)
        expect(after.instances[0].lastFailure == before.instances[1].lastFailure)
        expect(after.instances[1].polls == 0, "counted by each process for itself: never less than what was seen of it")
        expect(after.instances[1].state.address?.description == "10.0.0.1:80")
    }

    /// It is not given back after a restart, unless it was named and polled again since.
    @Test func anInstanceThatWasTakenOutIsForgotten() throws {
        var registry = try registry(["10.0.0.1:80", "10.0.0.2:80"])
        record(&registry, 0, .ok, at: 10)
        record(&registry, 1, .ok, at: 10)
        var writer = JSONWriter()
        SavedState.gone(InstanceName(service: "a", url: "10.0.0.1:80"), at: 1_000_050, to: &writer)
        let bytes = lines(registry, at: 20) + writer.bytes
        let loaded = try #require(SavedState.read(bytes))
        #expect(loaded.instances.map(\.url) == ["10.0.0.2:80"] && loaded.aliveAt == 1_000_050 && !loaded.isTorn)
        var again = JSONWriter()
        SavedInstance(registry.instances[0], registry.name(0), nil, at: 1_000_060, now: 60).write(to: &again)
        let back = try #require(SavedState.read(bytes + again.bytes))
        #expect(back.instances.map(\.url) == ["10.0.0.2:80", "10.0.0.1:80"])
    }

    @Test func aStatusThatNobodyHasSeenForLongIsPolledAnew() throws {
        var before = try registry(["10.0.0.1:80"])
        record(&before, 0, .ok, at: 10)
        let bytes = lines(before, at: 20)
        let loaded = try #require(SavedState.read(bytes))
        var after = try registry(["10.0.0.1:80"])
        after.restore(0, loaded.instances[0], elapsed: 61_000, unseen: 60_001, now: 500_000)
        expect(after.instances[0].health.status == .unknown)
        expect(after.instances[0].firstCheckedAt == before.instances[0].firstCheckedAt)
    }

    @Test func theLastLineOfAnInstanceCountsAndATornEndLosesItselfOnly() throws {
        var registry = try registry(["10.0.0.1:80", "10.0.0.2:80"])
        record(&registry, 0, .ok, at: 10)
        record(&registry, 1, .ok, at: 10)
        var bytes = lines(registry, at: 20)
        record(&registry, 0, .refused, at: 30)
        var writer = JSONWriter()
        SavedInstance(registry.instances[0], registry.name(0), nil, at: 1_000_030, now: 30).write(to: &writer)
        let whole = bytes.count
        bytes += writer.bytes
        let loaded = try #require(SavedState.read(bytes))
        #expect(loaded.instances.map(\.status) == [.down, .up])
        for end in whole + 1..<bytes.count {
            let torn = try #require(SavedState.read(Array(bytes[..<end])))
            #expect(torn.isTorn)
            #expect(torn.instances.map(\.status) == [.up, .up])
        }
    }

    @Test(arguments: ["", "x", "{}\n", "{\"type\":\"serverpy-state\",\"format\":99}\n", "\0\0\0\n", "[[[[\n"])
    func aForeignFileIsNone(_ text: String) { #expect(SavedState.read(Array(text.utf8)) == nil) }
}

extension SavedState.Loaded: Equatable {
    public static func == (a: Self, b: Self) -> Bool { a.instances == b.instances && a.aliveAt == b.aliveAt }
}
