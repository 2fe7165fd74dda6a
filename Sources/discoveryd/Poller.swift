import Shared

/// Drives polls: when each instance is due, over which addresses, and what becomes of the results. The law is in `Health`,
/// the timing in `PollSchedule`, the sockets in `Prober`.
struct Poller: ~Copyable {
    /// One instance's polling as it goes.
    struct Course {
        var purpose = Health.Purpose.regular
        var isRunning = false
        var isFresh = true
        /// Waits for its name to be resolved.
        var isWaitingForName = false
        /// Came due or was accused while a poll was running.
        var isDueAgain = false
        var isAccusedAgain = false
        var outstanding = 0
        var best: PollResult?
        var answering: [SocketAddress] = []
        var startedAt: UInt64 = 0
        /// The next poll.
        var timer = TimerWheel.ID.none
        var dueAt: UInt64 = 0
        /// The end of waiting for its name.
        var nameTimer = TimerWheel.ID.none
        var nameDueAt: UInt64 = 0
        var accusationTimer = TimerWheel.ID.none
        var accusedAt: UInt64?
        /// An accusation that came too soon after another waits for its time.
        var isAccusationPostponed = false
        /// The poll that runs was accused meanwhile: its failure confirms.
        var wasAccused = false
        /// Waits for one of the polls in flight to end.
        var isQueued = false
        var isFirst = true
        var probes: [(address: SocketAddress, slot: Int)] = []
        var request: [UInt8] = []
        var lastGood = false
        /// While a reload goes on: its successor has it, or it has ended.
        var isTaken = false
    }

    var courses: [Course]
    var prober: Prober
    let resolver: Resolver
    private var schedule = PollSchedule(seed: SystemRandom.word())
    var inFlight = 0
    /// Due, but too many are under way.
    var waiting: [Int] = []
    var waitingStart = 0
    private var isBeginningWaiting = false
    private let log: Log
    /// Instances that have not had their first result.
    var firstRoundRemaining: Int

    init(_ registry: Registry, _ resolver: Resolver, log: Log) {
        self.log = log
        self.resolver = resolver
        prober = Prober(
            // Only what is used is touched; a reload may bring more instances.
            capacity: min((1 << 24) - 1, max(registry.instances.count * 2, 65_536) * Limits.addressesPerName), log: log)
        courses = registry.instances.map { Self.course($0.configuration) }
        firstRoundRemaining = courses.count
    }

    static func course(_ instance: Instance) -> Course {
        var course = Course()
        if case .health(let path) = instance.polling.method { course.request = request(path, instance) }
        return course
    }

    /// The bytes of a health poll.
    private static func request(_ path: String, _ instance: Instance) -> [UInt8] {
        var fields = instance.polling.headers
        func add(_ name: String, _ value: String) {
            if !fields.contains(where: { $0.name.lowercased() == name.lowercased() }) {
                fields.insert(PollHeader(name: name, value: value), at: 0)
            }
        }
        add("Accept", "*/*")
        add("User-Agent", "serverpy/\(Version.current)")
        add("Host", instance.endpoint.authority)
        let lines = fields.map { "\($0.name): \($0.value)\r\n" }.joined()
        return Array("GET \(path) HTTP/1.1\r\n\(lines)\r\n".utf8)
    }

    /// Polls everything at once, as many at a time as the limit allows.
    mutating func start(_ registry: inout Registry, _ loop: inout EventLoop) {
        for id in courses.indices { due(id, .regular, &registry, &loop) }
    }

    // MARK: Beginning

    /// An instance's time has come.
    mutating func pollDue(_ id: Int, _ registry: inout Registry, _ loop: inout EventLoop) {
        guard id < courses.count else { return }
        courses[id].timer = .none
        due(id, courses[id].purpose, &registry, &loop)
    }

    /// A forwarder was refused or reset: poll on a fresh connection, at once or 100 ms after the last accusation.
    mutating func accuse(_ id: Int, _ registry: inout Registry, _ loop: inout EventLoop) {
        if courses[id].isRunning, !courses[id].isQueued { courses[id].wasAccused = true }
        if let before = courses[id].accusedAt, loop.now - before < Limits.accusationGapMilliseconds {
            guard !courses[id].isAccusationPostponed else { return }
            courses[id].isAccusationPostponed = true
            courses[id].accusationTimer = loop.schedule(
                EventKind.accusationDue.token(id), at: before + Limits.accusationGapMilliseconds)
            return
        }
        courses[id].accusedAt = loop.now
        due(id, .accusation, &registry, &loop)
    }

    mutating func accusationDue(_ id: Int, _ registry: inout Registry, _ loop: inout EventLoop) {
        guard id < courses.count else { return }
        courses[id].isAccusationPostponed = false
        courses[id].accusationTimer = .none
        accuse(id, &registry, &loop)
    }

    mutating func due(_ id: Int, _ purpose: Health.Purpose, _ registry: inout Registry, _ loop: inout EventLoop) {
        if courses[id].isQueued, purpose == .accusation {
            // Accusations do not wait behind the routine: the queued poll begins now.
            courses[id].isQueued = false
            courses[id].wasAccused = true
            return begin(id, &registry, &loop)
        }
        if courses[id].isRunning {
            if purpose == .accusation {
                // One that is on a fresh connection already answers the question itself.
                if !courses[id].isFresh { courses[id].isAccusedAgain = true }
            } else {
                courses[id].isDueAgain = true
            }
            return
        }
        courses[id].purpose = purpose
        courses[id].isRunning = true
        courses[id].wasAccused = purpose == .accusation
        guard inFlight < Limits.pollsInFlight || purpose == .accusation else {
            courses[id].isQueued = true
            waiting.append(id)
            return
        }
        begin(id, &registry, &loop)
    }

    private mutating func begin(_ id: Int, _ registry: inout Registry, _ loop: inout EventLoop) {
        inFlight += 1
        courses[id].startedAt = Clock.wallMilliseconds()
        courses[id].best = nil
        courses[id].answering = []
        courses[id].outstanding = 0
        courses[id].isFresh =
            courses[id].purpose != .regular || !courses[id].lastGood || courses[id].wasAccused
        let endpoint = registry.instances[id].configuration.endpoint
        let addresses: [SocketAddress]
        if let literal = endpoint.literal {
            addresses = [literal]
        } else {
            addresses = resolver.addresses(of: endpoint.host, port: endpoint.port, for: id, now: loop.now)
            if addresses.isEmpty {
                guard resolver.isAsking(endpoint.host) else {
                    return complete(id, PollResult(cause: .unresolved), &registry, &loop)
                }
                // The answer, or the time-out of the poll, goes on from here.
                courses[id].isWaitingForName = true
                loop.cancel(&courses[id].timer)
                courses[id].timer = loop.schedule(
                    EventKind.pollDue.token(id, 1),
                    after: registry.instances[id].configuration.polling.timeoutMilliseconds)
                return
            }
        }
        probe(id, addresses, &registry, &loop)
    }

    private mutating func probe(
        _ id: Int, _ addresses: [SocketAddress], _ registry: inout Registry, _ loop: inout EventLoop
    ) {
        arrange(id, addresses, &loop)
        courses[id].outstanding = courses[id].probes.count
        if courses[id].probes.isEmpty { return complete(id, PollResult(cause: .ownFault), &registry, &loop) }
        let instance = registry.instances[id].configuration
        for (_, slot) in courses[id].probes {
            let step = prober.begin(
                slot, instance.polling, instance.endpoint, request: courses[id].request, fresh: courses[id].isFresh,
                &loop)
            take(step, slot, &registry, &loop)
        }
    }

    /// Gives each address of the instance a probe, and takes away those of addresses that are gone.
    private mutating func arrange(_ id: Int, _ addresses: [SocketAddress], _ loop: inout EventLoop) {
        if courses[id].probes.map(\.address) == addresses { return }
        var kept: [(SocketAddress, Int)] = []
        for (address, slot) in courses[id].probes {
            if addresses.contains(address) { kept.append((address, slot)) } else { prober.removeProbe(slot, &loop) }
        }
        courses[id].probes = addresses.compactMap { address in
            if let slot = kept.first(where: { $0.0 == address })?.1 { return (address, slot) }
            return prober.makeProbe(instance: id, address: address).map { (address, $0) }
        }
    }

    // MARK: Ending

    private mutating func take(_ step: Prober.Step, _ slot: Int, _ registry: inout Registry, _ loop: inout EventLoop) {
        guard case .finished(let result) = step else { return }
        let id = prober.probes[slot].instance
        guard courses[id].isRunning, courses[id].outstanding > 0 else { return }
        if result.isGood { courses[id].answering.append(prober.probes[slot].address) }
        // One good address is enough.
        if courses[id].best.map({ !$0.isGood && result.isGood }) ?? true { courses[id].best = result }
        courses[id].outstanding -= 1
        if courses[id].outstanding == 0, let best = courses[id].best { complete(id, best, &registry, &loop) }
    }

    private mutating func complete(_ id: Int, _ result: PollResult, _ registry: inout Registry, _ loop: inout EventLoop)
    {
        inFlight -= 1
        courses[id].isRunning = false
        courses[id].lastGood = result.isGood
        let before = registry.instances[id].health
        let (next, _) = registry.record(
            id, result, purpose: courses[id].purpose, wasAccused: courses[id].wasAccused,
            answering: courses[id].answering, startedAt: courses[id].startedAt, now: loop.now)
        courses[id].wasAccused = false
        announce(id, before, result, registry)
        let wasFirst = courses[id].isFirst
        if wasFirst {
            courses[id].isFirst = false
            firstRoundRemaining -= 1
        }
        if let next {
            wait(id, schedule.delay(next, isFirst: wasFirst), &loop)
            courses[id].purpose = next.purpose
        } else {
            courses[id].purpose = .regular
        }
        let isDueAgain = courses[id].isDueAgain
        courses[id].isDueAgain = false
        if courses[id].isAccusedAgain {
            courses[id].isAccusedAgain = false
            due(id, .accusation, &registry, &loop)
        } else if isDueAgain, !courses[id].timer.isScheduled {
            due(id, .regular, &registry, &loop)
        }
        // Nothing is ever forgotten: who neither runs nor waits for a time is polled at the regular one.
        if !courses[id].isRunning, !courses[id].timer.isScheduled {
            let polling = registry.instances[id].configuration.polling
            wait(id, polling.frequencyMilliseconds, &loop)
        }
        beginWaiting(&registry, &loop)
    }

    /// Begins polls that had to wait. A poll that ends at once comes back here; only the outermost call works, in a loop.
    mutating func beginWaiting(_ registry: inout Registry, _ loop: inout EventLoop) {
        guard !isBeginningWaiting else { return }
        isBeginningWaiting = true
        while inFlight < Limits.pollsInFlight, waitingStart < waiting.count {
            let id = waiting[waitingStart]
            waitingStart += 1
            guard courses[id].isQueued else { continue }
            courses[id].isQueued = false
            begin(id, &registry, &loop)
        }
        if waitingStart == waiting.count {
            waiting.removeAll(keepingCapacity: true)
            waitingStart = 0
        }
        isBeginningWaiting = false
    }

    private mutating func wait(_ id: Int, _ delay: UInt64, _ loop: inout EventLoop) {
        loop.cancel(&courses[id].timer)
        courses[id].dueAt = loop.now + delay
        courses[id].timer = loop.schedule(EventKind.pollDue.token(id), at: courses[id].dueAt)
    }

    private func announce(_ id: Int, _ before: Health, _ result: PollResult, _ registry: Registry) {
        let instance = registry.instances[id]
        guard instance.health.status != before.status || instance.health.isSuspect != before.isSuspect else { return }
        let name = "\(registry.services[instance.service].name) \(instance.configuration.url)"
        let words =
            "\(result.cause.finalStatus): \(result.cause.response(status: result.status)) in \(result.durationMilliseconds) ms"
        if instance.health.status != before.status {
            log(
                instance.health.status == .up ? .info : .warning,
                "\(name) is \(instance.health.status.rawValue) (\(words))")
        } else if instance.health.isSuspect {
            log.warning("\(name) is suspect (\(words))")
        } else {
            log.info("\(name) is no longer suspect (\(words))")
        }
    }

    // MARK: Events

    mutating func probeReady(
        _ slot: Int, _ connection: UInt32, _ readiness: Readiness, _ registry: inout Registry, _ loop: inout EventLoop
    ) {
        guard prober.holds(slot, connection: connection) else { return }
        let id = prober.probes[slot].instance
        let step = prober.ready(
            slot, readiness, registry.instances[id].configuration.polling, request: courses[id].request, &loop)
        take(step, slot, &registry, &loop)
    }

    mutating func probeTimedOut(_ slot: Int, _ generation: UInt32, _ registry: inout Registry, _ loop: inout EventLoop)
    {
        guard prober.probes.holds(slot, generation) else { return }
        let step = prober.timedOut(slot, &loop)
        take(step, slot, &registry, &loop)
    }

    mutating func echoesReady(_ family: SocketAddress.Family, _ registry: inout Registry, _ loop: inout EventLoop) {
        while let (slot, result) = prober.nextEcho(family, &loop) { take(.finished(result), slot, &registry, &loop) }
    }

    /// Names have been resolved, or not.
    mutating func namesResolved(_ registry: inout Registry, _ loop: inout EventLoop) {
        for (answer, ids) in resolver.takeAnswers() {
            if answer.addresses == nil { log.warning("the name \(answer.host) was not resolved: \(answer.reason)") }
            for id in ids where id < courses.count && courses[id].isWaitingForName {
                courses[id].isWaitingForName = false
                loop.cancel(&courses[id].nameTimer)
                let port = registry.instances[id].configuration.endpoint.port
                let addresses = (answer.addresses ?? []).map { address in
                    var address = address
                    address.port = port
                    return address
                }
                if addresses.isEmpty {
                    complete(id, PollResult(cause: .unresolved), &registry, &loop)
                } else {
                    probe(id, addresses, &registry, &loop)
                }
            }
        }
    }

    /// The time of a poll that still waits for its name is up.
    mutating func nameTimedOut(_ id: Int, _ registry: inout Registry, _ loop: inout EventLoop) {
        guard id < courses.count else { return }
        courses[id].nameTimer = .none
        guard courses[id].isWaitingForName else { return }
        courses[id].isWaitingForName = false
        complete(id, PollResult(cause: .unresolved), &registry, &loop)
    }
}
