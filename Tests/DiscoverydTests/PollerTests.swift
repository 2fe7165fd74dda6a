import Shared
import Testing

@testable import discoveryd

/// When polls begin and what becomes of their results, without a socket: the poller's commands are carried out here, on a clock that only
/// the test moves.
@Suite struct PollerTests {
    /// A poller with its registry, and what it has asked for.
    private struct World: ~Copyable {
        var registry: Registry
        var poller = Poller(seed: 7)
        var now: UInt64 = 1_000_000
        var hasRoom = true
        var running: [Registry.InstanceID: (isFresh: Bool, began: UInt64)] = [:]
        var wakes: [Registry.InstanceID: UInt64] = [:]
        var accusations: [Registry.InstanceID: UInt64] = [:]
        var roomAt: UInt64?
        var begun = 0
        var voids = 0

        init(_ count: Int, services: Int = 1, _ change: (inout Polling) -> Void = { _ in }) throws {
            var polling = Polling(method: .health(endpoint: "/"))
            polling.frequencyMilliseconds = 10_000
            polling.timeoutMilliseconds = 2000
            polling.downFrequencyMilliseconds = 3000
            change(&polling)
            var configuration = Configuration()
            for service in 0..<services {
                let urls = (0..<count / services).map { "10.0.\(service).\($0 % 250):\(80 + $0 / 250)" }
                let instances = try urls.map { Instance(url: $0, endpoint: try Endpoint($0), polling: polling) }
                configuration.services.append(
                    Service(name: "s\(service)", instances: instances, paths: ["/\(service)"]))
            }
            registry = Members.registry(configuration)
            for id in registry.instances.indices { poller.begin(id) }
        }

        /// Everything is due, as at a start.
        mutating func start() {
            for id in registry.instances.indices { due(id) }
        }

        mutating func due(_ id: Registry.InstanceID) {
            wakes[id] = nil
            poller.due(id, registry, hasRoom: hasRoom, now: now)
            perform()
        }

        mutating func accuse(_ id: Registry.InstanceID) {
            poller.accuse(id, now: now)
            perform()
        }

        mutating func end(_ id: Registry.InstanceID, _ cause: PollCause) {
            guard let poll = running.removeValue(forKey: id) else {
                Issue.record("no poll of \(id) runs")
                return
            }
            poller.ended(
                id, PollResult(cause: cause, status: 200, durationMicroseconds: 5),
                began: PollMoment(wall: 1_800_000_000_000 + poll.began, monotonic: poll.began), registry, now: now)
            perform()
        }

        /// The clock goes on, and all that is due by then happens in its order.
        mutating func advance(to time: UInt64, answering cause: PollCause? = nil) {
            while true {
                let due = wakes.min { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }
                let accused = accusations.min { $0.value < $1.value }
                let next = [due?.value, accused?.value, roomAt].compactMap { $0 }.min() ?? .max
                guard next <= time else { break }
                now = max(now, next)
                if roomAt == next {
                    roomAt = nil
                    poller.roomDue(hasRoom: hasRoom, now: now)
                    perform()
                } else if let accused, accused.value == next {
                    accusations[accused.key] = nil
                    poller.accusationDue(accused.key, now: now)
                    perform()
                } else if let due {
                    self.due(due.key)
                }
                if let cause { for id in running.keys.sorted(by: { $0.rawValue < $1.rawValue }) { end(id, cause) } }
            }
            now = time
        }

        private mutating func perform() {
            repeat {
                while let command = poller.takeCommand() { perform(command) }
                if poller.hasWaiting, hasRoom { poller.beginWaiting(hasRoom: true, now: now) }
                guard let command = poller.takeCommand() else { return }
                perform(command)
            } while true
        }

        private mutating func perform(_ command: Poller.Command) {
            switch command {
            case .poll(let id, let isFresh, _):
                #expect(running[id] == nil, "one poll of an instance at a time")
                running[id] = (isFresh, now)
                begun += 1
            case .wake(let id, let time): wakes[id] = time
            case .wakeForAccusation(let id, let time): accusations[id] = time
            case .wakeForRoom(let time): roomAt = time
            case .record(let id, let report):
                if report.result.cause == .ownFault { voids += 1 }
                let recorded = registry.record(
                    id, report.result, purpose: report.purpose, wasAccused: report.isAccused, wall: report.began.wall,
                    began: report.began.monotonic, now: now)
                poller.recorded(id, report, next: recorded.next, registry, hasRoom: hasRoom, now: now)
            case .lookAway(let id): registry.lookAway(id, now: now)
            case .forget(let id):
                running[id] = nil
                wakes[id] = nil
                accusations[id] = nil
            }
        }

        func status(_ id: Registry.InstanceID) -> InstanceStatus { registry.instances[id].health.status }
    }

    // MARK: Regular polls

    @Test func everythingIsPolledAtOnceAndThenSpreadOverTheFrequency() throws {
        var world = try World(200)
        world.start()
        #expect(world.running.count == 200 && world.poller.firstRoundRemaining == 200)
        for id in world.registry.instances.indices { world.end(id, .ok) }
        #expect(world.poller.firstRoundRemaining == 0 && world.wakes.count == 200)
        let waits = world.wakes.values.map { $0 - 1_000_000 }
        #expect(waits.allSatisfy { $0 <= 10_005 } && Set(waits.map { $0 / 1000 }).count >= 8, "a random phase each")
        // From then on by 10 % more or less.
        world.advance(to: 1_050_000, answering: .ok)
        #expect(world.begun >= 200 + 3 * 200 && world.begun <= 200 + 6 * 200)
    }

    @Test func aPollOnAKeptConnectionFollowsAGoodOneOnly() throws {
        var world = try World(1)
        world.start()
        #expect(world.running[0]?.isFresh == true, "the first")
        world.end(0, .ok)
        world.advance(to: 1_011_000)
        #expect(world.running[0]?.isFresh == false)
        world.end(0, .refused)
        world.advance(to: 1_014_000)
        #expect(world.running[0]?.isFresh == true)
    }

    @Test func retriesComeAfterTheirDelayAndThenTheInstanceIsDown() throws {
        var world = try World(1) {
            $0.retries = 2
            $0.retryDelayMilliseconds = 150
        }
        world.start()
        world.end(0, .ok)
        world.advance(to: 1_011_000)
        for _ in 0..<2 {
            world.end(0, .timedOut)
            expect(world.status(0) == .up)
            let due = world.wakes[0] ?? 0
            #expect(due >= world.now + 150 && due <= world.now + 155)
            world.advance(to: due)
        }
        world.end(0, .timedOut)
        expect(world.status(0) == .down)
        #expect((world.wakes[0] ?? 0) <= world.now + 3305, "polled more often while it is down")
    }

    @Test func whatFindsNoRoomWaitsAndIsNotForgotten() throws {
        var world = try World(2000)
        world.start()
        #expect(world.running.count == Limits.pollsInFlight && world.roomAt != nil)
        // Those that hang no longer count after a while.
        world.advance(to: world.now + Limits.pollYouthMilliseconds)
        #expect(world.running.count == 2 * Limits.pollsInFlight)
        world.advance(to: world.now + 300, answering: .ok)
        #expect(world.poller.firstRoundRemaining == 0 && world.begun >= 2000)
        world.hasRoom = false
        let id = Registry.InstanceID(5)
        world.due(id)
        #expect(world.running[id] == nil && world.roomAt != nil)
        world.hasRoom = true
        world.advance(to: world.now + 200)
        #expect(world.running[id] != nil)
    }

    // MARK: Accusations

    @Test func anAccusedInstanceIsPolledAtOnceOnAFreshConnectionAndIsSuspect() throws {
        var world = try World(1)
        world.start()
        world.end(0, .ok)
        world.accuse(0)
        #expect(world.running[0]?.isFresh == true)
        world.end(0, .refused)
        expect(world.status(0) == .up && world.registry.instances[0].health.isSuspect)
        world.advance(to: world.now + 1)
        world.end(0, .ok)
        expect(!world.registry.instances[0].health.isSuspect)
    }

    @Test func accusationsComeAHundredMillisecondsApart() throws {
        var world = try World(1)
        world.start()
        world.end(0, .ok)
        for _ in 0..<50 {
            world.accuse(0)
            if world.running[0] != nil { world.end(0, .ok) }
        }
        #expect(world.begun == 2 && world.accusations[0] == world.now + 100)
        world.advance(to: world.now + 100)
        #expect(world.begun == 3 && world.running[0] != nil)
    }

    @Test func anAccusationDuringAPollOnAKeptConnectionIsFollowedByAFreshOne() throws {
        var world = try World(1)
        world.start()
        world.end(0, .ok)
        world.advance(to: 1_011_000)
        #expect(world.running[0]?.isFresh == false)
        world.accuse(0)
        world.end(0, .ok)
        #expect(world.running[0]?.isFresh == true)
    }

    @Test func anAccusationDoesNotWaitForRoom() throws {
        var world = try World(1)
        world.hasRoom = false
        world.start()
        #expect(world.running.isEmpty)
        world.accuse(0)
        #expect(world.running[0]?.isFresh == true)
    }

    // MARK: Doubt

    @Test func pollsThatRanWhileWeStoodStillAreRepeatedAndNoBurstFollows() throws {
        var world = try World(100)
        world.start()
        for id in world.registry.instances.indices { world.end(id, .ok) }
        world.due(3)
        world.now += 20_000
        world.poller.doubt.stalled(for: 19_000, now: world.now)
        world.end(3, .timedOut)
        expect(world.status(3) == .up, "void")
        #expect(world.voids == 1 && (world.wakes[3] ?? 0) <= world.now + 255)
        let before = world.begun
        for id in world.registry.instances.indices where id != 3 { world.due(id) }
        #expect(world.begun == before, "all came due at once: none begins at once")
        #expect(world.wakes.values.allSatisfy { $0 <= world.now + 5005 })
    }

    @Test func whenMostFailsAtOnceItIsConfirmedOnceAndThenBelieved() throws {
        var world = try World(20, services: 2)
        world.start()
        for id in world.registry.instances.indices { world.end(id, .ok) }
        for id in world.registry.instances.indices { world.due(id) }
        for id in world.registry.instances.indices { world.end(id, .timedOut) }
        let down = world.registry.count(of: .down)
        #expect(down >= 5 && down < 12 && world.voids == 20 - down, "from the fifth on they are doubted")
        world.advance(to: world.now + 260, answering: .timedOut)
        expect(world.registry.count(of: .down) == 20)
    }

    @Test func ourOwnNetworkIsAskedBeforeOthersAreBlamed() throws {
        var world = try World(20, services: 2)
        world.poller.canary = { false }
        world.start()
        for id in world.registry.instances.indices { world.end(id, .ok) }
        for id in world.registry.instances.indices { world.due(id) }
        for id in world.registry.instances.indices { world.end(id, .unreachable) }
        let down = world.registry.count(of: .down)
        world.advance(to: world.now + 1500, answering: .unreachable)
        expect(world.registry.count(of: .down) == down, "void as long as even a connection to ourselves fails")
        world.advance(to: world.now + 10_000, answering: .unreachable)
        expect(world.registry.count(of: .down) == 20, "for two time-outs at most")
    }

    // MARK: Coming and going

    @Test func anInstanceThatEndsLeavesNothingBehind() throws {
        var world = try World(3)
        world.start()
        world.poller.end(1)
        world.due(0)
        #expect(world.running[1] == nil && world.poller.firstRoundRemaining == 2)
        world.end(0, .ok)
        world.end(2, .ok)
        #expect(world.poller.firstRoundRemaining == 0)
    }

    @Test func whatWasKnownBeforeIsPolledSoonButNotAllAtOnce() throws {
        var world = try World(100)
        for id in world.registry.instances.indices {
            world.poller.resume(id, lastGood: true, world.registry, now: world.now)
        }
        world.advance(to: world.now)
        world.start()
        #expect(world.poller.firstRoundRemaining == 0)
    }

    /// Whatever happens in whatever order: one poll of an instance at a time, and each goes on being polled.
    @Test func nothingIsEverForgotten() throws {
        var random = SplitMix(seed: 11)
        var world = try World(40, services: 4) {
            $0.retries = 1
            $0.retryDelayMilliseconds = 50
        }
        world.start()
        let causes: [PollCause] = [.ok, .ok, .ok, .refused, .timedOut, .ownFault]
        for _ in 0..<30_000 {
            let id = Registry.InstanceID(Int(random.next() % 40))
            switch random.next() % 6 {
            case 0: world.accuse(id)
            case 1: world.hasRoom = random.next() % 4 != 0
            case 2: world.poller.doubt.stalled(for: 1000, now: world.now)
            case 3: world.advance(to: world.now + random.next() % 50)
            default:
                if let one = world.running.keys.sorted(by: { $0.rawValue < $1.rawValue }).first(where: { _ in
                    random.next() % 2 == 0
                }) {
                    world.end(one, causes[Int(random.next() % UInt64(causes.count))])
                }
            }
        }
        world.hasRoom = true
        world.advance(to: world.now + 200, answering: .ok)
        let before = world.registry.polls
        world.advance(to: world.now + 30_000, answering: .ok)
        expect(world.registry.polls >= before + 40 * 2)
        for id in world.registry.instances.indices { #expect(world.wakes[id] != nil || world.running[id] != nil) }
    }
}
