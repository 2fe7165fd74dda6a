import Shared
import Testing

@testable import discoveryd

@Suite struct HistoryLogTests {
    /// Files as a disk would keep them.
    private struct Disk {
        var files: [String: [UInt8]] = [:]

        mutating func apply(_ jobs: [HistoryLog.Job], to log: inout HistoryLog) {
            for job in jobs {
                switch job {
                case .create(let name, let bytes):
                    #expect(files[name] == nil, "a new file must not be there yet")
                    files[name] = bytes
                case .append(let name, let bytes): files[name, default: []] += bytes
                case .remove(let name): files[name] = nil
                }
                log.written(failed: false, now: 0)
            }
        }

        /// All that can be read, by instance.
        func read() -> [UInt64: [UInt64]] {
            var starts: [UInt64: [UInt64]] = [:]
            for name in files.keys.sorted() {
                #expect(
                    HistorySegment.read(files[name] ?? []) { key, start, _ in starts[key, default: []].append(start) }
                        != nil)
            }
            return starts
        }
    }

    private func registry(instances: Int, limit: Int = 100, frequency: UInt64 = 1000) -> Registry {
        var polling = Polling(method: .ping)
        polling.packetLimit = limit
        polling.frequencyMilliseconds = frequency
        let all = (0..<instances).compactMap { number in
            (try? Endpoint("10.0.0.\(number):80")).map {
                Instance(url: "10.0.0.\(number):80", endpoint: $0, polling: polling, weight: 1)
            }
        }
        var configuration = Configuration()
        configuration.services = [Service(name: "s", instances: all, paths: ["/s"])]
        return Members.registry(configuration)
    }

    private func poll(_ registry: inout Registry, _ id: Registry.InstanceID, at wall: UInt64) {
        _ = registry.record(
            id, PollResult(cause: .ok, status: 200, durationMicroseconds: 900), purpose: .regular, wasAccused: false,
            wall: wall, began: wall, now: wall)
    }

    /// When an instance was polled last is one fact: the wall clock's steps and the other clock's differ by roundings.
    @Test func theLastPollIsWhenHistorySaysItWas() throws {
        var registry = registry(instances: 1)
        for (wall, began) in [(1_000_000, 500), (1_002_001, 2500), (1_003_999, 4500), (1_600_000, 6500)]
            as [(UInt64, UInt64)]
        {
            _ = registry.record(
                0, PollResult(cause: .refused, status: 0, durationMicroseconds: 900), purpose: .regular,
                wasAccused: false,
                wall: wall, began: began, now: began)
            let packet = registry.packet(registry.instances[0].history.endSequence - 1, of: 0)
            let last = try #require(packet).startedAt
            expect(
                registry.instances[0].lastCheckedAt == last && registry.instances[0].lastFailureAt == last, "\(wall)")
        }
        expect(registry.instances[0].lastCheckedAt == 1_600_000, "a clock that was set counts at once")
    }

    /// What was saved with the last change of status is older than the history behind it.
    @Test func theLastPollAfterARestartIsTheLastOfItsHistory() {
        var registry = registry(instances: 1)
        poll(&registry, 0, at: 1000)
        let bad = PollOutcome(PollResult(cause: .refused, status: 0, durationMicroseconds: 7))
        let good = PollOutcome(PollResult(cause: .ok, status: 200, durationMicroseconds: 8))
        registry.restoreHistory(0, wall: 5000, bad)
        expect(registry.instances[0].lastCheckedAt == 5000 && registry.instances[0].lastResult == bad)
        expect(registry.instances[0].lastFailureAt == 5000 && registry.instances[0].lastFailure == bad)
        registry.restoreHistory(0, wall: 6000, good)
        expect(registry.instances[0].lastCheckedAt == 6000 && registry.instances[0].lastResult == good)
        expect(registry.instances[0].lastFailureAt == 5000 && registry.instances[0].lastFailure == bad)
    }

    /// The clock was ten years ahead for a while: what came after that is newer than what came in it, and nothing is dropped.
    @Test func aWallClockThatWasWrongForAWhileLosesNothing() throws {
        var disk = Disk()
        var walls: [UInt64] = []
        // A process before, one while, and one after the excursion; each with a restart behind it.
        for (start, count) in [(1_000_000, 10), (315_000_000_000, 4), (1_020_000, 30)] as [(UInt64, UInt64)] {
            var now = registry(instances: 1)
            for name in disk.files.keys.sorted() {
                let parsed = try #require(HistorySegment.parse(name: name))
                let read = HistorySegment.read(disk.files[name] ?? []) { _, wall, outcome in
                    now.restoreHistory(0, wall: wall, outcome)
                }
                let content = try #require(read)
                now.historyLog.found(parsed.spanClass, parsed.number, content)
            }
            expect(now.instances[0].history.count == walls.count, "what was before is all there")
            for second in 0..<count {
                let wall = start + second * 1000
                walls.append(wall)
                poll(&now, 0, at: wall)
                disk.apply(now.historyLog.takeJobs(now: 0, wall: wall), to: &now.historyLog)
            }
        }
        var last = registry(instances: 1)
        var read: [UInt64] = []
        let names = disk.files.keys.compactMap { name in HistorySegment.parse(name: name).map { (name, $0.number) } }
        for (name, _) in names.sorted(by: { $0.1 < $1.1 }) {
            _ = HistorySegment.read(disk.files[name] ?? []) { _, wall, outcome in
                read.append(wall)
                last.restoreHistory(0, wall: wall, outcome)
            }
        }
        #expect(read == walls, "in the order in which they came")
        expect(last.instances[0].history.count == walls.count)
    }

    private let key = { (number: Int) in CounterKey.hash(.instance, "s", "10.0.0.\(number):80") }

    @Test func whatIsWrittenIsReadBackAndARestartGoesOn() throws {
        var disk = Disk()
        var first = registry(instances: 3)
        for second in 1...5 {
            for id in 0..<3 { poll(&first, .init(id), at: UInt64(second * 1000 + id)) }
            disk.apply(first.historyLog.takeJobs(now: 0, wall: UInt64(second * 1000)), to: &first.historyLog)
        }
        #expect(disk.files.count == 1)
        #expect(disk.read()[key(1)] == [1001, 2001, 3001, 4001, 5001])

        var second = registry(instances: 3)
        for (name, bytes) in disk.files {
            let parsed = try #require(HistorySegment.parse(name: name))
            let ids = second.idByKey
            var restored: [(Registry.InstanceID, UInt64, PollOutcome)] = []
            let content = try #require(
                HistorySegment.read(bytes) { key, start, outcome in
                    if let id = ids[key] { restored.append((id, start, outcome)) }
                })
            for (id, start, outcome) in restored { second.restoreHistory(id, wall: start, outcome) }
            second.historyLog.found(parsed.spanClass, parsed.number, content)
        }
        expect(second.instances[2].history.count == 5)
        let read = second.packet(4, of: 2)
        let packet = try #require(read)
        #expect(packet.startedAt == 5002 && packet.1.result?.status == 200)
        poll(&second, 2, at: 9000)
        disk.apply(second.historyLog.takeJobs(now: 0, wall: 9000), to: &second.historyLog)
        #expect(disk.files.count == 2, "a new process writes a new file")
        #expect(disk.read()[key(2)] == [1002, 2002, 3002, 4002, 5002, 9000])
    }

    @Test func aTornEndCostsTheLastBlockAndDamageNothingBefore() {
        var disk = Disk()
        var registry = registry(instances: 1)
        for second in 1...4 {
            poll(&registry, 0, at: UInt64(second * 1000))
            disk.apply(registry.historyLog.takeJobs(now: 0, wall: 0), to: &registry.historyLog)
        }
        let bytes = disk.files.values.first ?? []
        for count in HistorySegment.headBytes..<bytes.count {
            var starts: [UInt64] = []
            let content = HistorySegment.read(Array(bytes[..<count])) { _, start, _ in starts.append(start) }
            #expect(content != nil && starts == Array([1000, 2000, 3000].prefix(starts.count)), "\(count)")
        }
        for index in HistorySegment.headBytes..<bytes.count {
            var damaged = bytes
            damaged[index] ^= 0x10
            var starts: [UInt64] = []
            #expect(HistorySegment.read(damaged) { _, start, _ in starts.append(start) } != nil)
            #expect(starts == Array([1000, 2000, 3000, 4000].prefix(starts.count)), "\(index)")
        }
        #expect(HistorySegment.read([]) { _, _, _ in }?.packets == 0)
        #expect(HistorySegment.read(Array("SPYHI".utf8)) { _, _, _ in }?.packets == 0)
        #expect(HistorySegment.read(Array("hello".utf8)) { _, _, _ in } == nil)
        #expect(HistorySegment.read(Array("SPYHIST2 and so on".utf8)) { _, _, _ in } == nil)
    }

    @Test func whatADiskCannotTakeIsSkippedAndCountedAndWhatFollowsCanBeRead() {
        var disk = Disk()
        var registry = registry(instances: 2)
        var held: [HistoryLog.Job] = []
        for second in 1...(Limits.historyBuffers + 3) {
            poll(&registry, .init(second % 2), at: UInt64(second * 1000))
            held += registry.historyLog.takeJobs(now: 0, wall: 0)
        }
        #expect(held.count == Limits.historyBuffers)
        expect(registry.historyLog.skipped == 3)
        disk.apply(held, to: &registry.historyLog)
        poll(&registry, 0, at: 20_000)
        poll(&registry, 1, at: 20_001)
        disk.apply(registry.historyLog.takeJobs(now: 0, wall: 0), to: &registry.historyLog)
        #expect(disk.read()[key(0)]?.last == 20_000 && disk.read()[key(1)]?.last == 20_001)
        // A failed write: some rest, then a file of its own.
        poll(&registry, 0, at: 21_000)
        for _ in registry.historyLog.takeJobs(now: 100, wall: 0) { registry.historyLog.written(failed: true, now: 100) }
        poll(&registry, 0, at: 22_000)
        expect(registry.historyLog.takeJobs(now: 200, wall: 0).isEmpty)
        poll(&registry, 0, at: 23_000)
        disk.apply(registry.historyLog.takeJobs(now: 100_000, wall: 0), to: &registry.historyLog)
        #expect(disk.read()[key(0)]?.last == 23_000)
    }

    /// Numbers of one file mean other instances in another.
    @Test func whatWasGatheredForAFileThatFailedIsNeverReadAsAnotherInstances() {
        var disk = Disk()
        var registry = registry(instances: 3)
        for id in 0..<2 { poll(&registry, .init(id), at: 1000) }
        let held = registry.historyLog.takeJobs(now: 0, wall: 0)
        poll(&registry, 2, at: 2000)
        poll(&registry, 0, at: 2001)
        for _ in held { registry.historyLog.written(failed: true, now: 0) }
        poll(&registry, 1, at: 90_000)
        poll(&registry, 0, at: 90_001)
        disk.apply(registry.historyLog.takeJobs(now: 100_000, wall: 0), to: &registry.historyLog)
        #expect(disk.read() == [key(1): [90_000], key(0): [90_001]])
        expect(registry.historyLog.skipped == 2)
    }

    @Test func oldFilesGoWhenTheRingsHaveTurnedAndNoSooner() {
        var disk = Disk()
        var registry = registry(instances: 2, limit: 50_000, frequency: 10)
        var wall: UInt64 = 1_000_000
        var most = 0
        for _ in 0..<1000 {
            for _ in 0..<1000 {
                wall += 10
                for id in 0..<2 {
                    let spanClass = registry.plans[registry.instances[.init(id)].plan].spanClass
                    let key = registry.historyLog.asksForKey(.init(id), spanClass) ? self.key(id) : nil
                    registry.historyLog.record(.init(id), spanClass, key: key, wall: wall, PollOutcome(rawValue: 1))
                }
            }
            disk.apply(registry.historyLog.takeJobs(now: 0, wall: wall), to: &registry.historyLog)
            most = max(most, disk.files.count)
        }
        let kept = disk.read()[key(0)] ?? []
        #expect(kept.count >= 50_000 && kept.last == wall)
        #expect(zip(kept, kept.dropFirst()).allSatisfy { $0 + 10 == $1 }, "nothing is missing in between")
        #expect(most <= 5, "\(most) files")
    }
}
