import Shared

/// All services and instances, and which of them have changed: the one place where polls become facts. An instance has the same id for as
/// long as it lives, whatever else comes and goes.
struct Registry: ~Copyable {
    typealias InstanceID = Slab<RegisteredInstance>.Index
    typealias ServiceID = Slab<RegisteredService>.Index

    let instances = Slab<RegisteredInstance>(capacity: Limits.registeredInstances)
    let services = Slab<RegisteredService>(capacity: Limits.registeredServices)
    /// The services in the order in which people know them.
    private(set) var order: [ServiceID] = []
    private var serviceByName: [String: ServiceID] = [:]
    var plans = PollPlans()
    private(set) var arena = HistoryArena()
    /// What of it goes to the disk.
    var historyLog = HistoryLog()
    private(set) var version: SnapshotVersion
    /// Polls recorded, of all instances.
    private(set) var polls: UInt64 = 0
    /// Instances whose published state differs from the last published one.
    private var changed: [InstanceID] = []
    /// Instances of which something is to be saved.
    private var unsaved: [InstanceID] = []
    /// Instances that were saved and are gone.
    private var forgotten: [InstanceName] = []
    private var marks = InstanceTable(Marks())
    /// Changes that came too soon after another of the same instance, oldest first.
    private var deferred: [(id: InstanceID, dueAt: UInt64)] = []
    private var statusChanges: [StatusChange] = []
    private(set) var general: Configuration.General

    /// What is noted of an instance between two versions.
    private struct Marks {
        var isChanged = false
        var isUnsaved = false
        var isDeferred = false
        /// Milliseconds of the monotonic clock, cut to 32 bits; 0 for never.
        var changedAt: UInt32 = 0
    }

    init(_ configuration: Configuration, epoch: UInt64, now: UInt64) {
        general = configuration.general
        version = SnapshotVersion(epoch: epoch, number: 1)
        _ = adopt(configuration, now: now)
        version.number = 1
    }

    func polling(_ id: InstanceID) -> Polling { plans[instances[id].plan].polling }

    func serviceName(_ id: InstanceID) -> String { services[instances[id].service].name }

    func packet(_ sequence: UInt64, of id: InstanceID) -> (startedAt: UInt64, PollOutcome)? {
        instances[id].history.packet(sequence, in: arena)
    }

    /// Bytes that histories take.
    var historyBytes: Int { arena.bytes }

    // MARK: Members

    /// The services and instances are these from now on. What is named again keeps its id and all that is known of it.
    mutating func adopt(_ configuration: Configuration, now: UInt64) -> MembershipChange {
        let hasOtherSettings = general.forwarding != configuration.general.forwarding
        general = configuration.general
        var change = MembershipChange()
        change.hasOtherSettings = hasOtherSettings
        var wanted = Set<ServiceID>()
        let formerOrder = order
        order.removeAll(keepingCapacity: true)
        order.reserveCapacity(configuration.services.count)
        for service in configuration.services {
            let id = adopt(service, now: now, &change)
            wanted.insert(id)
            order.append(id)
        }
        for id in services.indices where !wanted.contains(id) {
            change.goneInstances += services[id].instances
            change.goneServices.append(id)
        }
        for id in change.goneInstances { end(id) }
        for id in change.goneServices {
            serviceByName[services[id].name] = nil
            services.discard(id)
        }
        if order != formerOrder { change.hasOtherOrder = true }
        if !change.goneInstances.isEmpty { dropMarksOfGone() }
        if !change.isEmpty { version.number += 1 }
        return change
    }

    private mutating func adopt(_ wanted: Service, now: UInt64, _ change: inout MembershipChange) -> ServiceID {
        let id: ServiceID
        if let known = serviceByName[wanted.name] {
            id = known
            if services[id].paths != wanted.paths || services[id].policy != wanted.policy {
                services[id].paths = wanted.paths
                services[id].policy = wanted.policy
                change.services.append(id)
            }
            if services[id].availabilityWindowMilliseconds != wanted.availabilityWindowMilliseconds {
                services[id].availabilityWindowMilliseconds = wanted.availabilityWindowMilliseconds
                for instance in services[id].instances {
                    instances[instance].changeWindow(wanted.availabilityWindowMilliseconds, now: now)
                }
            }
        } else {
            id = services.insert(RegisteredService(wanted))
            serviceByName[wanted.name] = id
            change.services.append(id)
        }
        let before = services[id].instances
        if before.count == wanted.instances.count,
            before.indices.allSatisfy({ instances[before[$0]].url == wanted.instances[$0].url })
        {
            for (place, instance) in wanted.instances.enumerated() { modify(before[place], instance, &change) }
            return id
        }
        var known: [String: InstanceID] = [:]
        known.reserveCapacity(before.count)
        for instance in before { known[instances[instance].url] = instance }
        var after: [InstanceID] = []
        after.reserveCapacity(wanted.instances.count)
        for instance in wanted.instances {
            if let same = known.removeValue(forKey: instance.url) {
                modify(same, instance, &change)
                after.append(same)
            } else {
                after.append(begin(instance, of: id, now: now, &change))
            }
        }
        services[id].instances = after
        if before != after { change.hasOtherOrder = true }
        for instance in before where known[instances[instance].url] == instance {
            change.goneInstances.append(instance)
        }
        return id
    }

    private mutating func begin(
        _ instance: Instance, of service: ServiceID, now: UInt64, _ change: inout MembershipChange
    ) -> InstanceID {
        let plan = plans.take(instance.polling)
        let id = instances.insert(
            RegisteredInstance(
                service: service, instance, plan: plan, window: services[service].availabilityWindowMilliseconds,
                now: now))
        marks.begin(id)
        historyLog.begin(id, plans[plan].spanClass, limit: instance.polling.packetLimit)
        change.instances.append(id)
        change.begun.append(id)
        return id
    }

    /// What the configuration says of an instance that it names again.
    private mutating func modify(_ id: InstanceID, _ wanted: Instance, _ change: inout MembershipChange) {
        let before = plans[instances[id].plan].polling
        let weight = UInt8(clamping: wanted.weight)
        guard before != wanted.polling || instances[id].weight != weight else { return }
        if before.priority != wanted.polling.priority || instances[id].weight != weight { change.instances.append(id) }
        instances[id].weight = weight
        guard before != wanted.polling else { return }
        let former = instances[id].plan
        instances[id].plan = plans.take(wanted.polling)
        instances[id].priority = wanted.polling.priority
        historyLog.end(plans[former].spanClass, limit: before.packetLimit)
        historyLog.begin(id, plans[instances[id].plan].spanClass, limit: wanted.polling.packetLimit)
        instances[id].history.limit = wanted.polling.packetLimit
        plans.giveBack(former)
        change.repolled.append((id, before))
    }

    private mutating func end(_ id: InstanceID) {
        let plan = instances[id].plan
        historyLog.end(plans[plan].spanClass, limit: plans[plan].polling.packetLimit)
        plans.giveBack(plan)
        if instances[id].isRemembered { forgotten.append(name(id)) }
        instances[id].history.clear(in: &arena)
        marks[id] = Marks()
        instances.discard(id)
    }

    private mutating func dropMarksOfGone() {
        changed.removeAll { !marks[$0].isChanged }
        unsaved.removeAll { !marks[$0].isUnsaved }
        deferred.removeAll { !marks[$0.id].isDeferred }
    }

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
        _ id: InstanceID, _ result: PollResult, purpose: Health.Purpose, wasAccused: Bool, answering: [SocketAddress]?,
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
    private mutating func appendHistory(_ id: InstanceID, _ outcome: PollOutcome, wall: UInt64, began: UInt64) -> UInt64
    {
        instances[id].history.append(wall: wall, monotonic: began, outcome: outcome, in: &arena)
        let spanClass = plans[instances[id].plan].spanClass
        let key = historyLog.asksForKey(id, spanClass) ? historyKey(id) : nil
        let shown = packet(instances[id].history.endSequence - 1, of: id)?.startedAt ?? wall
        historyLog.note(id, spanClass, key: key, wall: shown, outcome)
        return shown
    }

    /// By what an instance is known in files of history.
    private func historyKey(_ id: InstanceID) -> UInt64 {
        CounterKey.hash(.instance, serviceName(id), instances[id].url)
    }

    /// The id of each instance by its key.
    var historyKeys: [UInt64: InstanceID] {
        var ids: [UInt64: InstanceID] = [:]
        for id in instances.indices { ids[historyKey(id)] = id }
        return ids
    }

    /// A poll of a former process. Its clock was another: only the wall clock says when it was.
    mutating func restoreHistory(_ id: InstanceID, wall: UInt64, _ outcome: PollOutcome) {
        instances[id].history.append(wall: wall, monotonic: wall, outcome: outcome, in: &arena)
        // What was saved with the last change may be older.
        instances[id].lastCheckedAt = wall
        instances[id].lastResult = outcome
        if outcome.result.map({ !$0.isGood }) ?? false {
            instances[id].lastFailureAt = wall
            instances[id].lastFailure = outcome
        }
    }

    private mutating func noteStatus(_ id: InstanceID, _ previous: InstanceStatus, _ result: PollResult, _ wall: UInt64)
    {
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
    mutating func restore(_ id: InstanceID, _ saved: SavedInstance, elapsed: UInt64, unseen: UInt64, now: UInt64) {
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
        let window = services[instances[id].service].availabilityWindowMilliseconds
        instances[id].availability = Availability(
            saved.availability, windowMilliseconds: window, elapsed: elapsed, unseen: unseen, now: now)
        instances[id].reckonAvailability(now: now)
    }

    /// For some time nobody has been able to look at the instance: that time is neither up nor down.
    mutating func lookAway(_ id: InstanceID, now: UInt64) { instances[id].availability.set(up: nil, now: now) }

    /// What `on_change` is to be told.
    mutating func takeStatusChanges() -> [StatusChange] {
        defer { statusChanges.removeAll(keepingCapacity: true) }
        return statusChanges
    }

    // MARK: Draining

    /// An operator wants the instance drained, or back: it is to be written, and told when that is done.
    mutating func askDrain(_ id: InstanceID, _ isDraining: Bool, wall: UInt64) {
        instances[id].isDrainAsked = isDraining
        if isDraining, !instances[id].isDraining { instances[id].drainingSince = wall }
        save(id)
    }

    /// What was asked is on the disk: now forwarders are told.
    mutating func publishDrain(_ id: InstanceID, now: UInt64) {
        guard instances[id].isDrainAsked != instances[id].isDraining else { return }
        instances[id].isDraining = instances[id].isDrainAsked
        mark(id, now: now)
    }

    /// It could not be written: nothing has happened.
    mutating func withdrawDrain(_ id: InstanceID) { instances[id].isDrainAsked = instances[id].isDraining }

    // MARK: Changes

    /// The instance's facts have changed. At most ten changes a second of one instance are published: what comes sooner after
    /// another waits, and goes out as it is then.
    private mutating func change(_ id: InstanceID, now: UInt64) {
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

    private mutating func mark(_ id: InstanceID, now: UInt64) {
        guard !marks[id].isChanged else { return }
        marks[id].isChanged = true
        marks[id].changedAt = max(1, UInt32(truncatingIfNeeded: now))
        changed.append(id)
    }

    private mutating func save(_ id: InstanceID) {
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

    var hasChanges: Bool { !changed.isEmpty }

    /// The changes since the last call become a new version.
    mutating func takeChanges() -> [InstanceID] {
        guard !changed.isEmpty else { return [] }
        version.number += 1
        for id in changed { marks[id].isChanged = false }
        defer { changed.removeAll(keepingCapacity: true) }
        return changed
    }

    /// The instances that have changed since the last call, for the saved snapshot.
    mutating func takeUnsaved() -> [InstanceID] {
        for id in unsaved { marks[id].isUnsaved = false }
        defer { unsaved.removeAll(keepingCapacity: true) }
        return unsaved
    }

    /// The names of instances that were saved and are gone since the last call.
    mutating func takeForgotten() -> [InstanceName] {
        defer { forgotten = [] }
        return forgotten
    }

    /// Something is to be written to the disk.
    var hasUnsaved: Bool { !unsaved.isEmpty || !forgotten.isEmpty }

    /// The instances of a service; nil: there is no such service.
    func members(of service: String) -> [InstanceID]? { serviceByName[service].map { services[$0].instances } }
}
