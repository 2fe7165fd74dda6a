import Shared

/// Drives polls: when each instance is due, over which addresses, and what becomes of the results. The law is in `Health`,
/// the timing in `PollSchedule`, the sockets in `Prober`.
struct Poller: ~Copyable {
    var courses = InstanceTable(Course())
    var prober: Prober
    let resolver: Resolver
    private var schedule = PollSchedule(seed: SystemRandom.word())
    var admission = PollAdmission()
    var doubt = SelfDoubt()
    var measures = PollMeasures()
    /// Due, but too many are under way.
    private var waiting: [Registry.InstanceID] = []
    private var waitingStart = 0
    private var roomTimer = TimerWheel.ID.none
    private var isBeginningWaiting = false
    /// Where a connection of our own must succeed if the network is well: the discovery port.
    var canary: SocketAddress?
    private let log: Log
    /// Instances that have not had their first result.
    var firstRoundRemaining: Int

    /// `descriptors`: how many polls may have.
    init(_ registry: borrowing Registry, _ resolver: Resolver, descriptors: Int, log: Log) {
        self.log = log
        self.resolver = resolver
        prober = Prober(
            // Only what is used is touched; a reload may bring more instances.
            capacity: min((1 << 24) - 1, max(registry.instances.count * 2, 65_536) * Limits.addressesPerName),
            descriptors: descriptors, log: log)
        firstRoundRemaining = registry.instances.count
        for id in registry.instances.indices { courses.begin(id) }
        configure(registry)
    }

    mutating func configure(_ registry: borrowing Registry) {
        doubt.configure(timeoutMilliseconds: registry.plans.longestTimeoutMilliseconds)
        prober.configure(registry.general.forwarding)
    }

    /// Polls everything at once, as many at a time as the limit allows.
    mutating func start(_ registry: inout Registry, _ loop: inout EventLoop) {
        for id in registry.instances.indices where !courses[id].timer.isScheduled {
            due(id, .regular, &registry, &loop)
        }
    }

    /// What was known before this process is known again: its poll is due, but not with all others at once.
    mutating func resume(
        _ id: Registry.InstanceID, lastGood: Bool, _ registry: borrowing Registry, _ loop: inout EventLoop
    ) {
        guard courses[id].isFirst else { return }
        courses[id].isFirst = false
        courses[id].lastGood = lastGood
        firstRoundRemaining -= 1
        let polling = registry.polling(id)
        let frequency =
            registry.instances[id].health.status == .down
            ? polling.downFrequencyMilliseconds : polling.frequencyMilliseconds
        wait(id, schedule.within(min(frequency, Limits.overdueSpreadMilliseconds)), &loop)
    }

    // MARK: Beginning

    /// An instance's time has come.
    mutating func pollDue(_ id: Registry.InstanceID, _ registry: inout Registry, _ loop: inout EventLoop) {
        courses[id].timer = .none
        if doubt.hasJustStalled(now: loop.now), loop.now - courses[id].dueAt > Limits.stallMilliseconds {
            // All came due at once: no burst.
            let frequency = registry.polling(id).frequencyMilliseconds
            return wait(id, schedule.within(min(frequency, Limits.overdueSpreadMilliseconds)), &loop)
        }
        due(id, courses[id].purpose, &registry, &loop)
    }

    /// A forwarder was refused or reset: poll on a fresh connection, at once or 100 ms after the last accusation.
    mutating func accuse(_ id: Registry.InstanceID, _ registry: inout Registry, _ loop: inout EventLoop) {
        if courses[id].isRunning, !courses[id].isQueued { courses[id].wasAccused = true }
        let before = courses[id].accusedAt
        if before != 0, loop.now - before < Limits.accusationGapMilliseconds {
            guard !courses[id].isAccusationPostponed else { return }
            courses[id].isAccusationPostponed = true
            courses[id].accusationTimer = loop.schedule(
                EventKind.accusationDue.token(id), at: before + Limits.accusationGapMilliseconds)
            return
        }
        courses[id].accusedAt = loop.now
        due(id, .accusation, &registry, &loop)
    }

    mutating func accusationDue(_ id: Registry.InstanceID, _ registry: inout Registry, _ loop: inout EventLoop) {
        courses[id].isAccusationPostponed = false
        courses[id].accusationTimer = .none
        accuse(id, &registry, &loop)
    }

    mutating func due(
        _ id: Registry.InstanceID, _ purpose: Health.Purpose, _ registry: inout Registry, _ loop: inout EventLoop
    ) {
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
        guard purpose == .accusation || mayBegin(loop.now) else {
            courses[id].isQueued = true
            waiting.append(id)
            return waitForRoom(&loop)
        }
        begin(id, &registry, &loop)
    }

    private mutating func mayBegin(_ now: UInt64) -> Bool { prober.hasRoom && admission.admits(now: now) }

    /// Others may begin when those under way have ended or are no longer young.
    private mutating func waitForRoom(_ loop: inout EventLoop) {
        guard !roomTimer.isScheduled else { return }
        let at = admission.nextAging ?? loop.now + Limits.pollYouthMilliseconds
        roomTimer = loop.schedule(EventKind.pollRoom.token(), at: max(at, loop.now + 1))
    }

    mutating func roomDue(_ registry: inout Registry, _ loop: inout EventLoop) {
        roomTimer = .none
        beginWaiting(&registry, &loop)
        if waitingStart < waiting.count { waitForRoom(&loop) }
    }

    private mutating func begin(_ id: Registry.InstanceID, _ registry: inout Registry, _ loop: inout EventLoop) {
        let started = Clock.monotonicNanoseconds()
        courses[id].ticket = admission.begin(now: loop.now)
        courses[id].startedAt = Clock.wallMilliseconds()
        courses[id].beganAt = started / 1_000_000
        if courses[id].purpose == .regular, courses[id].dueAt != 0 {
            measures.lateness.observe(started / 1000 - min(started / 1000, courses[id].dueAt * 1000))
        }
        courses[id].best = .none
        courses[id].answering = []
        courses[id].outstanding = 0
        courses[id].isFresh =
            courses[id].purpose != .regular || !courses[id].lastGood || courses[id].wasAccused
        switch registry.instances[id].target {
        case .address(let address):
            if courses[id].probes.count == 0 {
                courses[id].probes = ProbeList(prober.makeProbe(instance: id, address: address).map { [$0] } ?? [])
            }
        case .name(let host, let port):
            let addresses = resolver.addresses(
                of: host, port: port, for: (id, registry.instances.generation(id)), now: loop.now)
            if addresses.isEmpty {
                guard resolver.isAsking(host) else {
                    return complete(id, PollResult(cause: .unresolved), &registry, &loop)
                }
                // The answer, or the time-out of the poll, goes on from here.
                courses[id].isWaitingForName = true
                loop.cancel(&courses[id].nameTimer)
                courses[id].nameTimer = loop.schedule(
                    EventKind.nameTimeout.token(id), after: registry.polling(id).timeoutMilliseconds)
                return
            }
            arrange(id, addresses, &loop)
        }
        probe(id, at: started, &registry, &loop)
    }

    private mutating func probe(
        _ id: Registry.InstanceID, at started: UInt64, _ registry: inout Registry, _ loop: inout EventLoop
    ) {
        let probes = courses[id].probes
        courses[id].outstanding = UInt8(clamping: probes.count)
        if probes.count == 0 { return complete(id, PollResult(cause: .ownFault), &registry, &loop) }
        for index in 0..<probes.count {
            let step = prober.begin(probes[index], fresh: courses[id].isFresh, at: started, registry, &loop)
            take(step, probes[index], &registry, &loop)
        }
    }

    /// Gives each address of the instance a probe, and takes away those of addresses that are gone.
    private mutating func arrange(_ id: Registry.InstanceID, _ addresses: [SocketAddress], _ loop: inout EventLoop) {
        let before = courses[id].probes
        var kept: [SocketAddress: Slab<Probe>.Index] = [:]
        for index in 0..<before.count {
            let address = prober.probes[before[index]].address
            if addresses.contains(address) {
                kept[address] = before[index]
            } else {
                prober.removeProbe(before[index], &loop)
            }
        }
        if kept.count == addresses.count, before.count == kept.count { return }
        courses[id].probes = ProbeList(
            addresses.compactMap { kept[$0] ?? prober.makeProbe(instance: id, address: $0) })
    }

    // MARK: Ending

    private mutating func take(
        _ step: Prober.Step, _ slot: Slab<Probe>.Index, _ registry: inout Registry, _ loop: inout EventLoop
    ) {
        guard case .finished(let result) = step else { return }
        let id = prober.probes[slot].instance
        guard courses[id].isRunning, courses[id].outstanding > 0 else { return }
        if result.isGood, case .name = registry.instances[id].target {
            courses[id].answering.append(prober.probes[slot].address)
        }
        courses[id].outstanding -= 1
        if courses[id].probes.count == 1 {
            // Most instances of a large configuration rest most of the time: what keeps no connection takes no memory meanwhile.
            if prober.isSpent(slot) {
                prober.removeProbe(slot, &loop)
                courses[id].probes = ProbeList()
            }
            return complete(id, result, &registry, &loop)
        }
        // One good address is enough.
        let best = courses[id].best.result
        if best.map({ !$0.isGood && result.isGood }) ?? true { courses[id].best = PollOutcome(result) }
        if courses[id].outstanding == 0, let best = courses[id].best.result { complete(id, best, &registry, &loop) }
    }

    private mutating func complete(
        _ id: Registry.InstanceID, _ answer: PollResult, _ registry: inout Registry, _ loop: inout EventLoop
    ) {
        admission.end(courses[id].ticket)
        courses[id].isRunning = false
        courses[id].lastGood = answer.isGood
        let (result, voidDelay) = judge(id, answer, registry, loop.now)
        measures.count(result)
        let answering: [SocketAddress]? =
            if case .name = registry.instances[id].target { inOrder(id) } else { nil }
        let recorded = registry.record(
            id, result, purpose: courses[id].purpose, wasAccused: courses[id].wasAccused, answering: answering,
            wall: courses[id].startedAt, began: courses[id].beganAt, now: loop.now)
        if result.cause == .ownFault { lookAway(id, &registry, loop.now) }
        courses[id].wasAccused = false
        if recorded.statusChanged || recorded.suspicionChanged { announce(id, recorded, result, registry) }
        let wasFirst = courses[id].isFirst
        // Nothing is known of an instance that could not be polled at all.
        if wasFirst, result.cause != .ownFault {
            courses[id].isFirst = false
            firstRoundRemaining -= 1
        }
        if let next = recorded.next {
            wait(id, voidDelay ?? schedule.delay(next, isFirst: wasFirst), &loop)
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
            wait(id, registry.polling(id).frequencyMilliseconds, &loop)
        }
        beginWaiting(&registry, &loop)
    }

    /// The addresses that have answered, in the order of the name's: which poll ended first is no change.
    private func inOrder(_ id: Registry.InstanceID) -> [SocketAddress] {
        let probes = courses[id].probes
        let answering = courses[id].answering
        if answering.count <= 1 { return answering }
        return (0..<probes.count).map { prober.probes[probes[$0]].address }.filter { answering.contains($0) }
    }

    /// Whether a failure is believed. What is not is our own fault in history, and the poll is repeated after the given delay,
    /// for two time-outs at most. Suspicion and first polls are never delayed.
    private mutating func judge(
        _ id: Registry.InstanceID, _ answer: PollResult, _ registry: borrowing Registry, _ now: UInt64
    ) -> (
        PollResult, delay: UInt64?
    ) {
        if answer.cause == .ownFault {
            doubt.lacksDescriptors(now: now)
            return (answer, nil)
        }
        let wasConfirming = courses[id].isConfirming
        courses[id].isConfirming = false
        let health = registry.instances[id].health
        let isRegular = courses[id].purpose != .accusation && !courses[id].wasAccused
        if health.status == .up, isRegular, !wasConfirming {
            doubt.observe(
                failed: !answer.isGood, instance: id.position, service: registry.instances[id].service.position,
                now: now)
        }
        guard !answer.isGood, isRegular, health.status != .unknown else {
            courses[id].voidSince = 0
            return (answer, nil)
        }
        let timeout = registry.polling(id).timeoutMilliseconds
        let isExhausted = courses[id].voidSince != 0 && now - courses[id].voidSince > 2 * timeout
        let ranAcrossStall = doubt.isVoid(began: courses[id].beganAt)
        let isMass = health.status == .up && doubt.doubtsFailures(now: now) && (!wasConfirming || !canaryAnswers())
        guard !isExhausted, ranAcrossStall || isMass else {
            courses[id].voidSince = 0
            return (answer, nil)
        }
        if courses[id].voidSince == 0 { courses[id].voidSince = now }
        courses[id].isConfirming = !ranAcrossStall
        return (
            PollResult(cause: .ownFault, durationMicroseconds: answer.durationMicroseconds),
            min(timeout, 1 + schedule.within(Limits.voidPollDelayMilliseconds))
        )
    }

    /// When nothing could be found out for two time-outs, the time since is neither up nor down.
    private mutating func lookAway(_ id: Registry.InstanceID, _ registry: inout Registry, _ now: UInt64) {
        if courses[id].voidSince == 0 { courses[id].voidSince = now }
        if now - courses[id].voidSince > 2 * registry.polling(id).timeoutMilliseconds {
            registry.lookAway(id, now: now)
        }
    }

    /// A connection to ourselves: if even that fails, nobody else is to blame.
    private func canaryAnswers() -> Bool {
        guard let canary, let (descriptor, connected) = try? Socket.connect(to: canary) else { return canary == nil }
        defer { descriptor.close() }
        return connected || descriptor.isWritable && Socket.pendingError(descriptor) == nil
    }

    /// Begins polls that had to wait. A poll that ends at once comes back here; only the outermost call works, in a loop.
    mutating func beginWaiting(_ registry: inout Registry, _ loop: inout EventLoop) {
        guard !isBeginningWaiting else { return }
        isBeginningWaiting = true
        while waitingStart < waiting.count, mayBegin(loop.now) {
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

    mutating func wait(_ id: Registry.InstanceID, _ delay: UInt64, _ loop: inout EventLoop) {
        loop.cancel(&courses[id].timer)
        courses[id].dueAt = loop.now + delay
        courses[id].timer = loop.schedule(EventKind.pollDue.token(id), at: courses[id].dueAt)
    }

    private func announce(
        _ id: Registry.InstanceID, _ recorded: Registry.Recorded, _ result: PollResult, _ registry: borrowing Registry
    ) {
        let health = registry.instances[id].health
        let name = "\(registry.serviceName(id)) \(registry.instances[id].url)"
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

    mutating func probeReady(
        _ slot: Slab<Probe>.Index, _ connection: UInt32, _ readiness: Readiness, _ registry: inout Registry,
        _ loop: inout EventLoop
    ) {
        guard prober.holds(slot, connection: connection) else { return }
        let step = prober.ready(slot, readiness, registry, &loop)
        take(step, slot, &registry, &loop)
    }

    mutating func probeTimedOut(
        _ slot: Slab<Probe>.Index, _ generation: UInt32, _ registry: inout Registry, _ loop: inout EventLoop
    ) {
        guard prober.probes.holds(slot, generation) else { return }
        let step = prober.timedOut(slot, &loop)
        take(step, slot, &registry, &loop)
    }

    mutating func echoesReady(_ family: SocketAddress.Family, _ registry: inout Registry, _ loop: inout EventLoop) {
        while let (slot, result) = prober.nextEcho(family, &loop) { take(.finished(result), slot, &registry, &loop) }
    }

    /// Names have been resolved, or not.
    mutating func namesResolved(_ registry: inout Registry, _ loop: inout EventLoop) {
        for (answer, ids, judgement) in resolver.takeAnswers() {
            if case .doubted(let lost, let known) = judgement {
                log.warning(
                    "the name \(answer.host) has lost \(lost) of \(known) addresses at once: they are kept until \(Limits.lookUpsBelieved) look-ups in a row say so"
                )
            }
            if answer.addresses == nil { log.warning("the name \(answer.host) was not resolved: \(answer.reason)") }
            for (id, generation) in ids
            where registry.instances.holds(id, generation) && courses[id].isWaitingForName {
                courses[id].isWaitingForName = false
                loop.cancel(&courses[id].nameTimer)
                guard case .name(_, let port) = registry.instances[id].target else { continue }
                let addresses = (answer.addresses ?? []).map { address in
                    var address = address
                    address.port = port
                    return address
                }
                if addresses.isEmpty {
                    complete(id, PollResult(cause: .unresolved), &registry, &loop)
                } else {
                    arrange(id, addresses, &loop)
                    probe(id, at: Clock.monotonicNanoseconds(), &registry, &loop)
                }
            }
        }
    }

    /// The time of a poll that still waits for its name is up.
    mutating func nameTimedOut(_ id: Registry.InstanceID, _ registry: inout Registry, _ loop: inout EventLoop) {
        courses[id].nameTimer = .none
        guard courses[id].isWaitingForName else { return }
        courses[id].isWaitingForName = false
        complete(id, PollResult(cause: .unresolved), &registry, &loop)
    }
}
