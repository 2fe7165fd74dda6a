import Shared

/// Performs what `Poller` asks for: the sockets are `Prober`'s, the timers are here, the results go to the registry.
struct Polls: ~Copyable {
    private struct Timers {
        var due = TimerWheel.ID.none
        /// Its connection, and the poll that uses it.
        var probe: Slab<Probe>.Index?
    }

    /// What others have to do about a poll that has failed.
    struct Failure {
        let id: Registry.InstanceID
        let generation: UInt32
        let isDown: Bool
    }

    private(set) var poller = Poller(seed: SystemRandom.word())
    private var prober: Prober
    private var timers = InstanceTable(Timers())
    private var accusationTimers: [Registry.InstanceID: TimerWheel.ID] = [:]
    private(set) var measures = PollMeasures()
    /// Instances without an address whose poll waits for the first answer about their name.
    private var awaiting: [SourceName: [(id: Registry.InstanceID, generation: UInt32)]] = [:]
    private var failures: [Failure] = []
    /// Lines whose name has addresses of another family, one of which has answered.
    private var answered: [(name: SourceName, family: SocketAddress.Family)] = []
    private var trials = Set<Registry.LineID>()
    private let log: Log

    /// `descriptors`: how many polls may have.
    init(descriptors: Int, log: Log) {
        self.log = log
        // Only what is used is touched.
        prober = Prober(capacity: Limits.registeredInstances, descriptors: descriptors, log: log)
    }

    var isFirstRoundDone: Bool { poller.firstRoundRemaining == 0 }

    /// Where a connection of our own must succeed if the network is well: the discovery port.
    mutating func setCanary(_ address: SocketAddress) {
        poller.canary = {
            guard let (descriptor, connected) = try? Socket.connect(to: address) else { return false }
            defer { descriptor.close() }
            return connected || descriptor.isWritable && Socket.pendingError(descriptor) == nil
        }
    }

    mutating func takeEchoSocket(_ family: SocketAddress.Family, _ socket: Descriptor, _ loop: borrowing EventLoop) {
        prober.takeEchoSocket(family, socket, loop)
    }

    mutating func stalled(for late: UInt64, now: UInt64) { poller.doubt.stalled(for: late, now: now) }

    mutating func setStorageDoubt(_ words: String) { poller.doubt.storage = words }

    /// Why discoveryd doubts itself, in words.
    func doubts(now: UInt64) -> [String] { poller.doubt.reasons(now: now) }

    /// Failed polls since the last call.
    mutating func takeFailures() -> [Failure] {
        defer { failures.removeAll(keepingCapacity: true) }
        return failures
    }

    mutating func takeAnswered() -> [(name: SourceName, family: SocketAddress.Family)] {
        defer { answered = [] }
        return answered
    }

    // MARK: Instances

    /// Instances that were there before this process and are to be polled as before.
    mutating func resume(
        _ id: Registry.InstanceID, lastGood: Bool, _ registry: inout Registry, _ names: borrowing NameBook,
        _ loop: inout EventLoop
    ) {
        poller.resume(id, lastGood: lastGood, registry, now: loop.now)
        perform(&registry, names, &loop)
    }

    /// Instances come, go, or are polled in another way. Polls under way go on, polls due stay due, what is gone ends and what is new begins
    /// at once.
    mutating func follow(
        _ change: MembershipChange, _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop,
        begins: Bool = true
    ) {
        poller.configure(longestTimeoutMilliseconds: registry.plans.longestTimeoutMilliseconds)
        prober.configure(registry.general.forwarding)
        for id in change.goneInstances { poller.end(id) }
        // All of them have ended before any other poll begins in their stead.
        while let command = poller.takeCommand() { perform(command, &registry, names, &loop) }
        for id in change.begun {
            timers.begin(id)
            poller.begin(id)
        }
        var due = change.begun
        for (id, before) in change.repolled {
            let after = registry.polling(id)
            if before.method == after.method, before.headers == after.headers {
                poller.hasten(id, after, now: loop.now)
            } else {
                poller.restart(id)
                due.append(id)
            }
        }
        perform(&registry, names, &loop)
        if begins { begin(due, &registry, names, &loop) }
    }

    /// Polls these now, as many at a time as the limit allows, unless their time is known already.
    mutating func begin(
        _ ids: [Registry.InstanceID], _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        for id in ids where poller.courses[id].dueAt == 0 {
            poller.due(id, registry, hasRoom: prober.hasRoom, now: loop.now)
            perform(&registry, names, &loop)
        }
    }

    mutating func accuse(
        _ id: Registry.InstanceID, _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        poller.accuse(id, now: loop.now)
        perform(&registry, names, &loop)
    }

    // MARK: Performing

    private mutating func perform(
        _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        while true {
            while let command = poller.takeCommand() { perform(command, &registry, names, &loop) }
            guard poller.hasWaiting, prober.hasRoom else { return }
            poller.beginWaiting(hasRoom: true, now: loop.now)
            guard let command = poller.takeCommand() else { return }
            perform(command, &registry, names, &loop)
        }
    }

    private mutating func perform(
        _ command: Poller.Command, _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        switch command {
        case .poll(let id, let isFresh, let dueAt): poll(id, isFresh: isFresh, dueAt: dueAt, registry, names, &loop)
        case .wake(let id, let time):
            loop.cancel(&timers[id].due)
            timers[id].due = loop.schedule(EventKind.pollDue.token(id), at: time)
        case .wakeForAccusation(let id, let time):
            accusationTimers[id] = loop.schedule(EventKind.accusationDue.token(id), at: time)
        case .wakeForRoom(let time): _ = loop.schedule(EventKind.pollRoom.token(), at: time)
        case .record(let id, let report): record(id, report, &registry, &loop)
        case .lookAway(let id): registry.lookAway(id, now: loop.now)
        case .forget(let id):
            loop.cancel(&timers[id].due)
            if var timer = accusationTimers.removeValue(forKey: id) { loop.cancel(&timer) }
            removeProbe(id, &loop)
        }
    }

    private mutating func poll(
        _ id: Registry.InstanceID, isFresh: Bool, dueAt: UInt64, _ registry: borrowing Registry,
        _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        let started = Clock.monotonicNanoseconds()
        if dueAt != 0 { measures.lateness.observe(started / 1000 - min(started / 1000, dueAt * 1000)) }
        guard let address = registry.instances[id].address else { return pollName(id, registry, names, &loop) }
        if timers[id].probe == nil {
            timers[id].probe = prober.makeProbe(
                .instance(id), address, registry.plan(of: id), authority: registry.authority(id))
        }
        guard let probe = timers[id].probe else {
            return ended(id, PollResult(cause: .ownFault), registry, at: started, now: loop.now)
        }
        prober.probes[probe].plan = registry.plan(of: id)
        prober.probes[probe].authority = registry.authority(id)
        prober.probes[probe].pingsHost = !registry.instances[id].hasExplicitPort
        finish(prober.begin(probe, fresh: isFresh, at: started, &loop), probe, registry, &loop)
    }

    /// A name without an address: that is its poll's result, unless nobody has said anything of it yet.
    private mutating func pollName(
        _ id: Registry.InstanceID, _ registry: borrowing Registry, _ names: borrowing NameBook,
        _ loop: inout EventLoop
    ) {
        guard let line = registry.instances[id].line, names.isAwaited(registry.lines[line].name) else {
            return ended(id, PollResult(cause: .unresolved), registry, at: Clock.monotonicNanoseconds(), now: loop.now)
        }
        awaiting[registry.lines[line].name, default: []].append((id, registry.instances.generation(id)))
        loop.cancel(&timers[id].due)
        timers[id].due = loop.schedule(
            EventKind.nameTimeout.token(id), after: registry.polling(id).timeoutMilliseconds)
    }

    private mutating func ended(
        _ id: Registry.InstanceID, _ result: PollResult, _ registry: borrowing Registry, at started: UInt64, now: UInt64
    ) {
        let moment = PollMoment(wall: Clock.wallMilliseconds(), monotonic: started / 1_000_000)
        poller.ended(id, result, began: moment, registry, now: now)
    }

    /// A probe has gone on, and perhaps ended.
    private mutating func finish(
        _ step: Prober.Step, _ probe: Slab<Probe>.Index, _ registry: borrowing Registry, _ loop: inout EventLoop
    ) {
        guard case .finished(let result) = step else { return }
        switch prober.probes[probe].owner {
        case .instance(let id):
            let moment = PollMoment(
                wall: prober.probes[probe].startedAtWall, monotonic: prober.probes[probe].startedAt / 1_000_000)
            // Most instances of a large configuration rest most of the time: what keeps no connection takes no memory meanwhile.
            if prober.isSpent(probe) { removeProbe(id, &loop) }
            poller.ended(id, result, began: moment, registry, now: loop.now)
        case .line(let line, let generation): trialEnded(line, generation, result, probe, registry, &loop)
        }
    }

    private mutating func removeProbe(_ id: Registry.InstanceID, _ loop: inout EventLoop) {
        guard let probe = timers[id].probe else { return }
        timers[id].probe = nil
        prober.removeProbe(probe, &loop)
    }

    private mutating func record(
        _ id: Registry.InstanceID, _ report: PollReport, _ registry: inout Registry, _ loop: inout EventLoop
    ) {
        measures.count(report.result)
        let recorded = registry.record(
            id, report.result, purpose: report.purpose, wasAccused: report.isAccused, wall: report.began.wall,
            began: report.began.monotonic, now: loop.now)
        if recorded.statusChanged || recorded.suspicionChanged { announce(id, recorded, report.result, registry) }
        poller.recorded(
            id, report, next: recorded.next, registry, hasRoom: prober.hasRoom, now: loop.now)
        if !report.result.isGood, report.result.cause != .ownFault, registry.instances[id].line != nil {
            failures.append(
                Failure(
                    id: id, generation: registry.instances.generation(id),
                    isDown: registry.instances[id].health.status == .down))
        }
    }

    private func announce(
        _ id: Registry.InstanceID, _ recorded: Registry.Recorded, _ result: PollResult, _ registry: borrowing Registry
    ) {
        let health = registry.instances[id].health
        let name = registry.shownName(id)
        let words =
            "\(result.cause.finalStatus): \(result.response) in \(result.durationMicroseconds / 1000) ms"
        if recorded.statusChanged {
            log(health.status == .up ? .info : .warning, "\(name) is \(health.status.rawValue) (\(words))")
        } else if health.isSuspect {
            log.warning("\(name) is suspect (\(words))")
        } else {
            log.info("\(name) is no longer suspect (\(words))")
        }
    }

    // MARK: Events

    mutating func pollDue(
        _ id: Registry.InstanceID, _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        timers[id].due = .none
        poller.due(id, registry, hasRoom: prober.hasRoom, now: loop.now)
        perform(&registry, names, &loop)
    }

    mutating func accusationDue(
        _ id: Registry.InstanceID, _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        accusationTimers[id] = nil
        poller.accusationDue(id, now: loop.now)
        perform(&registry, names, &loop)
    }

    mutating func roomDue(_ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop) {
        poller.roomDue(hasRoom: prober.hasRoom, now: loop.now)
        perform(&registry, names, &loop)
    }

    mutating func probeReady(
        _ slot: Slab<Probe>.Index, _ connection: UInt32, _ readiness: Readiness, _ registry: inout Registry,
        _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        guard prober.holds(slot, connection: connection) else { return }
        finish(prober.ready(slot, readiness, &loop), slot, registry, &loop)
        perform(&registry, names, &loop)
    }

    mutating func probeTimedOut(
        _ slot: Slab<Probe>.Index, _ generation: UInt32, _ registry: inout Registry, _ names: borrowing NameBook,
        _ loop: inout EventLoop
    ) {
        guard prober.probes.holds(slot, generation) else { return }
        finish(prober.timedOut(slot, &loop), slot, registry, &loop)
        perform(&registry, names, &loop)
    }

    mutating func echoesReady(
        _ family: SocketAddress.Family, _ registry: inout Registry, _ names: borrowing NameBook,
        _ loop: inout EventLoop
    ) {
        while let (slot, result) = prober.nextEcho(family, &loop) {
            finish(.finished(result), slot, registry, &loop)
            perform(&registry, names, &loop)
        }
    }

    /// Somebody has said something of the name, or nobody has: polls of instances that still have no address end.
    mutating func lookUpEnded(
        _ name: SourceName, _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        for (id, generation) in awaiting.removeValue(forKey: name) ?? []
        // One whose time was up has ended before.
        where registry.instances.holds(id, generation) && poller.courses[id].isPolling {
            loop.cancel(&timers[id].due)
            ended(
                id, PollResult(cause: .unresolved), registry, at: Clock.monotonicNanoseconds(), now: loop.now)
        }
        perform(&registry, names, &loop)
    }

    /// The time of a poll that still waits for its name is up.
    mutating func nameTimedOut(
        _ id: Registry.InstanceID, _ registry: inout Registry, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        timers[id].due = .none
        if let line = registry.instances[id].line {
            awaiting[registry.lines[line].name]?.removeAll { $0.id == id }
        }
        ended(id, PollResult(cause: .unresolved), registry, at: Clock.monotonicNanoseconds(), now: loop.now)
        perform(&registry, names, &loop)
    }

    // MARK: Other addresses

    /// None of a line's instances answers, and its name has addresses of another family: one of them is polled, too, but is no instance yet.
    mutating func tryOther(
        _ address: SocketAddress, _ line: Registry.LineID, _ registry: inout Registry, _ names: borrowing NameBook,
        _ loop: inout EventLoop
    ) {
        let plan = registry.plans[registry.lines[line].plan]
        guard !trials.contains(line), prober.hasRoom, let first = registry.lines[line].members.first,
            let probe = prober.makeProbe(
                .line(line, generation: registry.lines.generation(line)), address, plan,
                authority: registry.authority(first))
        else { return }
        prober.probes[probe].pingsHost = !registry.lines[line].hasExplicitPort
        trials.insert(line)
        poller.trialBegan()
        finish(prober.begin(probe, fresh: true, at: Clock.monotonicNanoseconds(), &loop), probe, registry, &loop)
    }

    private mutating func trialEnded(
        _ line: Registry.LineID, _ generation: UInt32, _ result: PollResult, _ probe: Slab<Probe>.Index,
        _ registry: borrowing Registry, _ loop: inout EventLoop
    ) {
        let family = prober.probes[probe].address.family
        prober.removeProbe(probe, &loop)
        trials.remove(line)
        poller.trialEnded()
        if result.isGood, registry.lines.holds(line, generation) {
            answered.append((registry.lines[line].name, family))
        }
    }
}
