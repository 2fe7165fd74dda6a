import Shared

/// Decides when each instance is polled and whether a result is believed. A value without sockets: events in, commands out. What a result
/// makes of an instance is decided in `Health`, how polls are spread in `PollSchedule`; `Polls` performs.
struct Poller {
    enum Command: Equatable {
        /// Poll it now; the end is told by `ended`. `isFresh`: on a new connection. `dueAt`: when it was due; 0: at no certain time.
        case poll(Registry.InstanceID, isFresh: Bool, dueAt: UInt64)
        /// Tell `due` at this time (milliseconds of the loop's clock), and at no earlier one that was named before.
        case wake(Registry.InstanceID, at: UInt64)
        /// Tell `accusationDue` then.
        case wakeForAccusation(Registry.InstanceID, at: UInt64)
        /// Tell `roomDue` then.
        case wakeForRoom(at: UInt64)
        /// A poll has ended and its result is this one; what the registry makes of it is told by `recorded`.
        case record(Registry.InstanceID, PollReport)
        /// Nobody has been able to look at it for so long that this time is neither up nor down.
        case lookAway(Registry.InstanceID)
        /// Connections and timers are of no use any more.
        case forget(Registry.InstanceID)
    }

    private(set) var courses = InstanceTable(Course())
    private var troubles: [Registry.InstanceID: Trouble] = [:]
    private var schedule: PollSchedule
    private var admission = Admission()
    var doubt = SelfDoubt()
    /// Due, but too many are under way.
    private var waiting: [Registry.InstanceID] = []
    private var waitingStart = 0
    private var isRoomAwaited = false
    /// Whether a connection of our own succeeds, asked where the network itself is in doubt.
    var canary: @Sendable () -> Bool = { true }
    /// Instances that have not had their first result, and first looks at other addresses that are under way.
    private(set) var firstRoundRemaining = 0
    private var commands: [Command] = []
    private var nextCommand = 0

    init(seed: UInt64) { schedule = PollSchedule(seed: seed) }

    mutating func configure(longestTimeoutMilliseconds: UInt64) {
        doubt.configure(timeoutMilliseconds: longestTimeoutMilliseconds)
    }

    mutating func takeCommand() -> Command? {
        guard nextCommand < commands.count else {
            commands.removeAll(keepingCapacity: true)
            nextCommand = 0
            return nil
        }
        defer { nextCommand += 1 }
        return commands[nextCommand]
    }

    // MARK: Instances

    /// A new instance. It is polled at the next `due`.
    mutating func begin(_ id: Registry.InstanceID) {
        courses.begin(id)
        firstRoundRemaining += 1
    }

    /// It is gone.
    mutating func end(_ id: Registry.InstanceID) {
        stop(id)
        if courses[id].isFirst { firstRoundRemaining -= 1 }
        courses.begin(id)
    }

    /// It is polled in another way: what is under way says nothing.
    mutating func restart(_ id: Registry.InstanceID) {
        stop(id)
        let last = courses[id].last
        courses.begin(id)
        courses[id].last = last
    }

    private mutating func stop(_ id: Registry.InstanceID) {
        if courses[id].isPolling { admission.end(courses[id].ticket) }
        troubles[id] = nil
        commands.append(.forget(id))
    }

    /// What was known before this process is known again: its poll is due, but not with all others at once.
    mutating func resume(_ id: Registry.InstanceID, lastGood: Bool, _ registry: borrowing Registry, now: UInt64) {
        guard courses[id].isFirst else { return }
        courses[id].last = lastGood ? .good : .bad
        firstRoundRemaining -= 1
        let polling = registry.polling(id)
        let frequency =
            registry.instances[id].health.status == .down
            ? polling.downFrequencyMilliseconds : polling.frequencyMilliseconds
        wait(id, schedule.within(min(frequency, Limits.overdueSpreadMilliseconds)), now: now)
    }

    /// A shorter frequency takes effect now.
    mutating func hasten(_ id: Registry.InstanceID, _ polling: Polling, now: UInt64) {
        guard courses[id].dueAt != 0 else { return }
        let latest = max(polling.frequencyMilliseconds, polling.downFrequencyMilliseconds)
        if courses[id].dueAt > now + latest { wait(id, latest, now: now) }
    }

    /// A first look at an address beside those polled has begun, or ended: the first round includes it.
    mutating func trialBegan() { firstRoundRemaining += 1 }
    mutating func trialEnded() { firstRoundRemaining -= 1 }

    // MARK: Beginning

    /// Its time has come, or it is new. `hasRoom`: another poll would find a descriptor.
    mutating func due(_ id: Registry.InstanceID, _ registry: borrowing Registry, hasRoom: Bool, now: UInt64) {
        let dueAt = courses[id].dueAt
        courses[id].dueAt = 0
        if dueAt != 0, doubt.hasJustStalled(now: now), now - min(now, dueAt) > Limits.stallMilliseconds {
            // All came due at once: no burst.
            let frequency = registry.polling(id).frequencyMilliseconds
            return wait(id, schedule.within(min(frequency, Limits.overdueSpreadMilliseconds)), now: now)
        }
        if courses[id].isResting {
            enter(id, courses[id].purpose, dueAt: dueAt, hasRoom: hasRoom, now: now)
        } else if case .nothing = courses[id].sequel {
            courses[id].sequel = .regular
        }
    }

    /// A forwarder was refused or reset: poll on a fresh connection, at once or 100 ms after the last accusation.
    mutating func accuse(_ id: Registry.InstanceID, now: UInt64) {
        if courses[id].isPolling { courses[id].isAccused = true }
        let trouble = troubles[id] ?? Trouble()
        let earliest = trouble.accusedAt + Limits.accusationGapMilliseconds
        if trouble.accusedAt != 0, now < earliest {
            guard trouble.accusationAt == 0 else { return }
            troubles[id]?.accusationAt = earliest
            commands.append(.wakeForAccusation(id, at: earliest))
            return
        }
        troubles[id, default: Trouble()].accusedAt = now
        act(onAccusationOf: id, now: now)
    }

    mutating func accusationDue(_ id: Registry.InstanceID, now: UInt64) {
        troubles[id]?.accusationAt = 0
        accuse(id, now: now)
    }

    private mutating func act(onAccusationOf id: Registry.InstanceID, now: UInt64) {
        switch courses[id].phase {
        case .resting: enter(id, .accusation, dueAt: 0, hasRoom: true, now: now)
        case .queued(let dueAt):
            // Accusations do not wait behind the routine: the queued poll begins now.
            courses[id].isAccused = true
            begin(id, dueAt: dueAt, now: now)
        case .polling(let isFresh):
            // One that is on a fresh connection already answers the question itself.
            if !isFresh { courses[id].sequel = .accusation }
        }
    }

    private mutating func enter(
        _ id: Registry.InstanceID, _ purpose: Health.Purpose, dueAt: UInt64, hasRoom: Bool, now: UInt64
    ) {
        courses[id].purpose = purpose
        courses[id].isAccused = purpose == .accusation
        guard purpose == .accusation || hasRoom && admission.admits(now: now) else {
            courses[id].phase = .queued(dueAt: dueAt)
            waiting.append(id)
            return awaitRoom(now: now)
        }
        begin(id, dueAt: dueAt, now: now)
    }

    private mutating func begin(_ id: Registry.InstanceID, dueAt: UInt64, now: UInt64) {
        courses[id].ticket = admission.begin(now: now)
        let isFresh =
            if courses[id].purpose == .regular, !courses[id].isAccused, case .good = courses[id].last { false } else {
                true
            }
        courses[id].phase = .polling(isFresh: isFresh)
        commands.append(.poll(id, isFresh: isFresh, dueAt: dueAt))
    }

    /// Others may begin when those under way have ended or are no longer young.
    private mutating func awaitRoom(now: UInt64) {
        guard !isRoomAwaited else { return }
        isRoomAwaited = true
        let at = admission.nextAging ?? now + Limits.pollYouthMilliseconds
        commands.append(.wakeForRoom(at: max(at, now + 1)))
    }

    mutating func roomDue(hasRoom: Bool, now: UInt64) {
        isRoomAwaited = false
        beginWaiting(hasRoom: hasRoom, now: now)
        if waitingStart < waiting.count { awaitRoom(now: now) }
    }

    /// Begins polls that had to wait, one of which `hasRoom` for.
    mutating func beginWaiting(hasRoom: Bool, now: UInt64) {
        while waitingStart < waiting.count, hasRoom, admission.admits(now: now) {
            let id = waiting[waitingStart]
            waitingStart += 1
            if case .queued(let dueAt) = courses[id].phase {
                begin(id, dueAt: dueAt, now: now)
                // Whether there is room for another one is seen when this one has begun.
                break
            }
        }
        if waitingStart == waiting.count {
            waiting.removeAll(keepingCapacity: true)
            waitingStart = 0
        }
    }

    var hasWaiting: Bool { waitingStart < waiting.count }

    // MARK: Ending

    /// The poll of an instance has ended so.
    mutating func ended(
        _ id: Registry.InstanceID, _ answer: PollResult, began: PollMoment, _ registry: borrowing Registry, now: UInt64
    ) {
        guard courses[id].isPolling else { return }
        admission.end(courses[id].ticket)
        courses[id].phase = .resting
        let (result, repeatAfter) = believed(id, answer, began: began.monotonic, registry, now)
        commands.append(
            .record(
                id,
                PollReport(
                    result: result, purpose: courses[id].purpose, isAccused: courses[id].isAccused,
                    began: began, wasGood: answer.isGood, repeatAfter: repeatAfter)))
    }

    /// The registry has recorded the result. `next`: when to poll next; nil: the schedule that stands is kept.
    mutating func recorded(
        _ id: Registry.InstanceID, _ report: PollReport, next: Health.Next?, _ registry: borrowing Registry,
        hasRoom: Bool, now: UInt64
    ) {
        if report.result.cause == .ownFault { lookAway(id, registry, now) }
        courses[id].isAccused = false
        let wasFirst = courses[id].isFirst
        // Nothing is known of an instance that could not be polled at all.
        if !wasFirst || report.result.cause != .ownFault { courses[id].last = report.wasGood ? .good : .bad }
        if wasFirst, report.result.cause != .ownFault { firstRoundRemaining -= 1 }
        if let next {
            wait(id, report.repeatAfter ?? schedule.delay(next, isFirst: wasFirst), now: now)
            courses[id].purpose = next.purpose
        } else {
            courses[id].purpose = .regular
        }
        let sequel = courses[id].sequel
        courses[id].sequel = .nothing
        switch sequel {
        case .accusation: act(onAccusationOf: id, now: now)
        case .regular: if courses[id].dueAt == 0 { enter(id, .regular, dueAt: 0, hasRoom: hasRoom, now: now) }
        case .nothing: break
        }
        // Nothing is ever forgotten: who neither runs nor waits for a time is polled at the regular one.
        if courses[id].isResting, courses[id].dueAt == 0 {
            wait(id, registry.polling(id).frequencyMilliseconds, now: now)
        }
    }

    /// Whether a failure is believed. What is not is our own fault in history, and the poll is repeated after the given delay,
    /// for two time-outs at most. Suspicion and first polls are never delayed.
    private mutating func believed(
        _ id: Registry.InstanceID, _ answer: PollResult, began: UInt64, _ registry: borrowing Registry, _ now: UInt64
    ) -> (PollResult, repeatAfter: UInt64?) {
        if answer.cause == .ownFault {
            doubt.lacksDescriptors(now: now)
            return (answer, nil)
        }
        let (wasConfirming, voidSince): (Bool, UInt64?) =
            switch troubles[id]?.doubt ?? .none {
            case .none: (false, nil)
            case .void(let since): (false, since)
            case .confirming(let since): (true, since)
            }
        let health = registry.instances[id].health
        let isRegular = courses[id].purpose != .accusation && !courses[id].isAccused
        if health.status == .up, isRegular, !wasConfirming {
            doubt.observe(
                failed: !answer.isGood, instance: id.position, service: registry.instances[id].service.position,
                now: now)
        }
        if !troubles.isEmpty { settle(id, now: now) }
        guard !answer.isGood, isRegular, health.status != .unknown else { return (answer, nil) }
        let timeout = registry.polling(id).timeoutMilliseconds
        let isExhausted = voidSince.map { now - $0 > 2 * timeout } ?? false
        let ranAcrossStall = doubt.isVoid(began: began)
        let isMass = health.status == .up && doubt.doubtsFailures(now: now) && (!wasConfirming || !canary())
        guard !isExhausted, ranAcrossStall || isMass else { return (answer, nil) }
        let since = voidSince ?? now
        troubles[id, default: Trouble()].doubt = ranAcrossStall ? .void(since: since) : .confirming(since: since)
        return (
            PollResult(cause: .ownFault, durationMicroseconds: answer.durationMicroseconds),
            min(timeout, 1 + schedule.within(Limits.voidPollDelayMilliseconds))
        )
    }

    /// A poll was believed, or will be doubted anew.
    private mutating func settle(_ id: Registry.InstanceID, now: UInt64) {
        troubles[id]?.doubt = .none
        if troubles[id]?.isOver(now: now) ?? false { troubles[id] = nil }
    }

    /// When nothing could be found out for two time-outs, the time since is neither up nor down.
    private mutating func lookAway(_ id: Registry.InstanceID, _ registry: borrowing Registry, _ now: UInt64) {
        switch troubles[id]?.doubt ?? .none {
        case .none: troubles[id, default: Trouble()].doubt = .void(since: now)
        case .void(let since), .confirming(let since):
            if now - since > 2 * registry.polling(id).timeoutMilliseconds { commands.append(.lookAway(id)) }
        }
    }

    private mutating func wait(_ id: Registry.InstanceID, _ delay: UInt64, now: UInt64) {
        let tick = delay < 20 * Limits.pollTickMilliseconds ? 1 : Limits.pollTickMilliseconds
        courses[id].dueAt = (now + delay + tick - 1) / tick * tick
        commands.append(.wake(id, at: courses[id].dueAt))
    }
}

/// How a poll has ended, as it is recorded.
struct PollReport: Equatable {
    /// What is believed of it.
    var result: PollResult
    var purpose: Health.Purpose
    var isAccused: Bool
    var began: PollMoment
    /// What the instance said, believed or not.
    var wasGood: Bool
    /// A void poll is repeated so much later, milliseconds.
    var repeatAfter: UInt64?
}

/// When a poll began, milliseconds: by the clock on the wall, and by the one that is never set.
struct PollMoment: Equatable {
    var wall: UInt64
    var monotonic: UInt64
}
