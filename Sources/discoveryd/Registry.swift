import Shared

/// All services and instances, and which of them have changed: the one place where polls become facts.
struct Registry {
    struct RegisteredService {
        let name: String
        let paths: [String]
        let policy: ServicePolicy
        let availabilityWindowMilliseconds: UInt64
        /// Its instances are neighbours.
        let instances: Range<Int>
    }

    private(set) var services: [RegisteredService] = []
    private var serviceByName: [String: Int] = [:]
    var instances: [RegisteredInstance] = []
    private(set) var plans: [PollPlan] = []
    private(set) var arena = HistoryArena()
    /// What of it goes to the disk.
    var historyLog: HistoryLog
    private(set) var version: SnapshotVersion
    /// Polls recorded, of all instances.
    private(set) var polls: UInt64 = 0
    /// Instances whose published state differs from the last published one.
    private(set) var changed: [Int] = []
    /// Instances of which something is to be saved.
    private(set) var unsaved: [Int] = []
    private var marks: [Marks] = []
    /// Changes that came too soon after another of the same instance, oldest first.
    private var deferred: [(id: Int, dueAt: UInt64)] = []
    private var statusChanges: [StatusChange] = []
    let general: Configuration.General
    /// After a change of the configuration: the former id of each instance; nil for new ones.
    private(set) var former: [Int?] = []

    /// What is noted of an instance between two versions.
    private struct Marks {
        var isChanged = false
        var isUnsaved = false
        var isDeferred = false
        /// Milliseconds of the monotonic clock, cut to 32 bits; 0 for never.
        var changedAt: UInt32 = 0
    }

    /// A changed configuration: instances that it names again keep all that is known of them. `former` says for each
    /// instance which of `previous` it was.
    init(_ configuration: Configuration, after previous: Registry, now: UInt64) {
        self.init(configuration, epoch: previous.version.epoch, now: now)
        version.number = previous.version.number + 1
        arena = previous.arena
        polls = previous.polls
        let known = previous.places
        former = instances.map { known[name(of: $0)] }
        var isTaken = [Bool](repeating: false, count: previous.instances.count)
        for (id, old) in former.enumerated() {
            guard let old else { continue }
            isTaken[old] = true
            instances[id].take(previous.instances[old], now: now)
            marks[id].changedAt = previous.marks[old].changedAt
        }
        historyLog = HistoryLog(plans, instances, after: previous.historyLog)
        for (id, taken) in isTaken.enumerated() where !taken {
            var history = previous.instances[id].history
            history.clear(in: &arena)
        }
    }

    init(_ configuration: Configuration, epoch: UInt64, now: UInt64) {
        general = configuration.general
        historyLog = HistoryLog([], [])
        version = SnapshotVersion(epoch: epoch, number: 1)
        instances.reserveCapacity(configuration.instanceCount)
        services.reserveCapacity(configuration.services.count)
        var planByPolling: [Polling: Int] = [:]
        for service in configuration.services {
            let first = instances.count
            for instance in service.instances {
                let plan: Int
                if let known = planByPolling[instance.polling] {
                    plan = known
                } else {
                    plan = plans.count
                    planByPolling[instance.polling] = plan
                    plans.append(PollPlan(instance.polling))
                }
                instances.append(
                    RegisteredInstance(
                        service: services.count, instance, plan: plan, window: service.availabilityWindowMilliseconds,
                        now: now))
            }
            serviceByName[service.name] = services.count
            services.append(
                RegisteredService(
                    name: service.name, paths: service.paths, policy: service.policy,
                    availabilityWindowMilliseconds: service.availabilityWindowMilliseconds,
                    instances: first..<instances.count))
        }
        marks = [Marks](repeating: Marks(), count: instances.count)
        historyLog = HistoryLog(plans, instances)
    }

    func polling(_ id: Int) -> Polling { plans[Int(instances[id].plan)].polling }

    func serviceName(_ id: Int) -> String { services[Int(instances[id].service)].name }

    /// The id of each instance by service and address with a NUL between them.
    var places: [String: Int] {
        var places: [String: Int] = [:]
        for (id, entry) in instances.enumerated() { places[name(of: entry)] = id }
        return places
    }

    /// Service and address, by which an instance is known whatever its id.
    private func name(of entry: RegisteredInstance) -> String { services[Int(entry.service)].name + "\0" + entry.url }

    func packet(_ sequence: UInt64, of id: Int) -> (startedAt: UInt64, PollOutcome)? {
        instances[id].history.packet(sequence, in: arena)
    }

    /// Bytes that histories take.
    var historyBytes: Int { arena.bytes }

    // MARK: Polls

    /// What a poll has led to.
    struct Recorded {
        /// When to poll next; nil: the present schedule stands.
        let next: Health.Next?
        let statusChanged: Bool
        let suspicionChanged: Bool
    }

    /// Records a poll that began at `wall` (wall clock) and `began` (monotonic), milliseconds. `answering`: which of a name's
    /// addresses have answered; nil where the address is written.
    mutating func record(
        _ id: Int, _ result: PollResult, purpose: Health.Purpose, wasAccused: Bool, answering: [SocketAddress]?,
        wall: UInt64, began: UInt64, now: UInt64
    ) -> Recorded {
        let before = instances[id].facts
        let healthBefore = instances[id].health
        let outcome = PollOutcome(result)
        let next = instances[id].health.receive(result, purpose: purpose, polling: polling(id))
        if wasAccused, !result.isGood, result.cause != .ownFault { instances[id].health.confirmSuspicion() }
        let status = instances[id].health.status
        if result.isGood { instances[id].answered(answering) }
        instances[id].polls &+= 1
        polls &+= 1
        // One time for each poll, the one that history keeps: after a restart it is all that is known.
        let wall = appendHistory(id, outcome, wall: wall, began: began)
        instances[id].lastResult = outcome
        if instances[id].firstCheckedAt == 0 { instances[id].firstCheckedAt = wall }
        instances[id].lastCheckedAt = wall
        if !result.isGood {
            instances[id].lastFailureAt = wall
            instances[id].lastFailure = outcome
        }
        let suspicionChanged = instances[id].health.isSuspect != before.isSuspect
        if suspicionChanged { instances[id].suspectCause = outcome }
        if status != before.status { noteStatus(id, before.status, result, wall) }
        if result.cause != .ownFault, status != .unknown { instances[id].availability.set(up: status == .up, now: now) }
        instances[id].reckonAvailability(now: now)
        if instances[id].facts != before {
            change(id, now: now)
        } else if instances[id].health != healthBefore {
            // How far a series of failed or good polls has come is no news, and not to be forgotten.
            save(id)
        }
        return Recorded(next: next, statusChanged: status != before.status, suspicionChanged: suspicionChanged)
    }

    /// Returns when the poll began as history shows it: within a chunk its steps are the monotonic clock's.
    private mutating func appendHistory(_ id: Int, _ outcome: PollOutcome, wall: UInt64, began: UInt64) -> UInt64 {
        instances[id].history.append(wall: wall, monotonic: began, outcome: outcome, in: &arena)
        let plan = Int(instances[id].plan)
        let key = historyLog.asksForKey(id, plan: plan) ? historyKey(id) : nil
        let shown = packet(instances[id].history.endSequence - 1, of: id)?.startedAt ?? wall
        historyLog.note(id, plan: plan, key: key, wall: shown, outcome)
        return shown
    }

    /// By what an instance is known in files of history.
    private func historyKey(_ id: Int) -> UInt64 { CounterKey.hash(.instance, serviceName(id), instances[id].url) }

    /// The id of each instance by its key.
    var historyKeys: [UInt64: Int32] {
        var ids: [UInt64: Int32] = [:]
        for id in instances.indices { ids[historyKey(id)] = Int32(truncatingIfNeeded: id) }
        return ids
    }

    /// A poll of a former process. Its clock was another: only the wall clock says when it was.
    mutating func restoreHistory(_ id: Int, wall: UInt64, _ outcome: PollOutcome) {
        instances[id].history.append(wall: wall, monotonic: wall, outcome: outcome, in: &arena)
        // What was saved with the last change may be older.
        instances[id].lastCheckedAt = wall
        instances[id].lastResult = outcome
        if outcome.result.map({ !$0.isGood }) ?? false {
            instances[id].lastFailureAt = wall
            instances[id].lastFailure = outcome
        }
    }

    private mutating func noteStatus(_ id: Int, _ previous: InstanceStatus, _ result: PollResult, _ wall: UInt64) {
        let status = instances[id].health.status
        instances[id].since = wall
        instances[id].statusCause = PollOutcome(result)
        if previous != .unknown { instances[id].changes &+= 1 }
        // That a new instance is up is no news.
        if general.onChange != nil, previous != .unknown || status != .up {
            statusChanges.append(
                StatusChange(
                    service: serviceName(id), instance: instances[id].url, previous: previous, status: status,
                    response: result.response, at: wall))
        }
    }

    /// Takes back what was saved of an instance before this process. `unseen`: milliseconds for which nobody has looked;
    /// after too many its status says nothing, and is polled anew.
    mutating func restore(_ id: Int, _ saved: SavedInstance, elapsed: UInt64, unseen: UInt64, now: UInt64) {
        if unseen <= Limits.statusKeptMilliseconds {
            instances[id].health = Health(
                status: saved.status, isSuspect: saved.isSuspect, failedRetries: saved.failedRetries,
                goodInRow: saved.goodInRow)
            instances[id].restoreAddresses(saved.addresses)
        }
        instances[id].isDraining = saved.isDraining
        instances[id].isDrainAsked = saved.isDraining
        instances[id].drainingSince = saved.drainingSince
        instances[id].firstCheckedAt = saved.firstCheckedAt
        // History has been given back before, and knows each poll; this knows those of the last change, unless it was written at a
        // proper end. `polls` and `changes` are counted from 0 on by each process: what was saved would be less than what was seen.
        if instances[id].history.count == 0 {
            instances[id].lastCheckedAt = saved.lastCheckedAt
            instances[id].lastResult = saved.lastResult
            instances[id].lastFailureAt = saved.lastFailureAt
            instances[id].lastFailure = saved.lastFailure
        } else if instances[id].lastFailureAt == 0 {
            instances[id].lastFailureAt = saved.lastFailureAt
            instances[id].lastFailure = saved.lastFailure
        }
        instances[id].since = saved.since
        instances[id].statusCause = saved.statusCause
        instances[id].suspectCause = saved.suspectCause
        let window = services[Int(instances[id].service)].availabilityWindowMilliseconds
        instances[id].availability = Availability(
            saved.availability, windowMilliseconds: window, elapsed: elapsed, unseen: unseen, now: now)
        instances[id].reckonAvailability(now: now)
    }

    /// For some time nobody has been able to look at the instance: that time is neither up nor down.
    mutating func lookAway(_ id: Int, now: UInt64) { instances[id].availability.set(up: nil, now: now) }

    /// What `on_change` is to be told.
    mutating func takeStatusChanges() -> [StatusChange] {
        defer { statusChanges.removeAll(keepingCapacity: true) }
        return statusChanges
    }

    // MARK: Draining

    /// An operator wants the instance drained, or back: it is to be written, and told when that is done.
    mutating func askDrain(_ id: Int, _ isDraining: Bool, wall: UInt64) {
        instances[id].isDrainAsked = isDraining
        if isDraining, !instances[id].isDraining { instances[id].drainingSince = wall }
        save(id)
    }

    /// What was asked is on the disk: now forwarders are told.
    mutating func publishDrain(_ id: Int, now: UInt64) {
        guard instances[id].isDrainAsked != instances[id].isDraining else { return }
        instances[id].isDraining = instances[id].isDrainAsked
        mark(id, now: now)
    }

    /// It could not be written: nothing has happened.
    mutating func withdrawDrain(_ id: Int) { instances[id].isDrainAsked = instances[id].isDraining }

    // MARK: Changes

    /// The instance's facts have changed. At most ten changes a second of one instance are published: what comes sooner after
    /// another waits, and goes out as it is then.
    private mutating func change(_ id: Int, now: UInt64) {
        save(id)
        guard !marks[id].isChanged, !marks[id].isDeferred else { return }
        let since = UInt32(truncatingIfNeeded: now) &- marks[id].changedAt
        guard marks[id].changedAt == 0 || UInt64(since) >= Limits.changeGapMilliseconds else {
            marks[id].isDeferred = true
            deferred.append((id, now + Limits.changeGapMilliseconds - UInt64(since)))
            return
        }
        mark(id, now: now)
    }

    private mutating func mark(_ id: Int, now: UInt64) {
        guard !marks[id].isChanged else { return }
        marks[id].isChanged = true
        marks[id].changedAt = max(1, UInt32(truncatingIfNeeded: now))
        changed.append(id)
    }

    private mutating func save(_ id: Int) {
        guard !marks[id].isUnsaved else { return }
        marks[id].isUnsaved = true
        unsaved.append(id)
    }

    /// When the next change that waits is due; nil: nothing waits.
    var deferredUntil: UInt64? { deferred.first?.dueAt }

    /// Publishes what has waited long enough.
    mutating func releaseDeferred(now: UInt64) {
        let waiting = deferred
        deferred.removeAll(keepingCapacity: true)
        for entry in waiting {
            if entry.dueAt <= now {
                marks[entry.id].isDeferred = false
                mark(entry.id, now: now)
            } else {
                deferred.append(entry)
            }
        }
    }

    /// The changes since the last call become a new version.
    mutating func takeChanges() -> [Int] {
        guard !changed.isEmpty else { return [] }
        version.number += 1
        for id in changed { marks[id].isChanged = false }
        defer { changed.removeAll(keepingCapacity: true) }
        return changed
    }

    /// The instances that have changed since the last call, for the saved snapshot.
    mutating func takeUnsaved() -> [Int] {
        for id in unsaved { marks[id].isUnsaved = false }
        defer { unsaved.removeAll(keepingCapacity: true) }
        return unsaved
    }

    /// The instance of a service by its address as written.
    func find(service: String, instance: String) -> Int? {
        guard let found = serviceByName[service] else { return nil }
        return services[found].instances.first { instances[$0].url == instance }
    }

    /// Several of one service in the order of their names; what is not there is left out. One pass, however many they are.
    func find(service: String, instances names: [String]) -> [Int] {
        guard let found = serviceByName[service] else { return [] }
        var places: [String: Int] = [:]
        for (place, name) in names.enumerated() { places[name] = place }
        return services[found].instances.compactMap { id in places[instances[id].url].map { ($0, id) } }
            .sorted { $0.0 < $1.0 }.map(\.1)
    }
}
