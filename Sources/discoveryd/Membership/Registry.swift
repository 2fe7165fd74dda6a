import Shared

/// All services and instances, and which of them have changed: the one place where polls become facts. An instance has the same id for as
/// long as it lives, whatever else comes and goes.
struct Registry: ~Copyable {
    typealias InstanceID = Slab<RegisteredInstance>.Index
    typealias ServiceID = Slab<RegisteredService>.Index
    typealias LineID = Slab<NameLine>.Index

    let instances = Slab<RegisteredInstance>(capacity: Limits.registeredInstances)
    let services = Slab<RegisteredService>(capacity: Limits.registeredServices)
    /// Lines of the configuration that are names.
    let lines = Slab<NameLine>(capacity: Limits.registeredInstances)
    /// What records of services (SRV) say of instances.
    private var shares: [InstanceID: NameTarget.ServiceShare] = [:]
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
    var marks = ChangeMarks()
    private var statusChanges: [StatusChange] = []
    private(set) var general: Configuration.General

    init(general: Configuration.General, epoch: UInt64) {
        self.general = general
        version = SnapshotVersion(epoch: epoch, number: 1)
    }

    func polling(_ id: InstanceID) -> Polling { plans[instances[id].plan].polling }

    func plan(of id: InstanceID) -> PollPlan { plans[instances[id].plan] }

    func serviceName(_ id: InstanceID) -> String { services[instances[id].service].name }

    func packet(_ sequence: UInt64, of id: InstanceID) -> (startedAt: UInt64, PollOutcome)? {
        instances[id].history.packet(sequence, in: arena)
    }

    /// Bytes that histories take.
    var historyBytes: Int { arena.bytes }

    // MARK: Members. Which there are is decided by `Membership`.

    /// What is the same for all services is this from now on. True: it is something else for forwarders.
    mutating func adopt(_ general: Configuration.General) -> Bool {
        defer { self.general = general }
        return general.forwarding != self.general.forwarding
    }

    func service(named name: String) -> ServiceID? { serviceByName[name] }

    mutating func begin(_ service: Service) -> ServiceID {
        let id = services.insert(RegisteredService(service))
        serviceByName[service.name] = id
        return id
    }

    /// What the configuration says of a service that it names again. True: it is something else for forwarders.
    mutating func modify(_ id: ServiceID, _ wanted: Service, now: UInt64) -> Bool {
        if services[id].availabilityWindowMilliseconds != wanted.availabilityWindowMilliseconds {
            services[id].availabilityWindowMilliseconds = wanted.availabilityWindowMilliseconds
            for instance in services[id].instances {
                instances[instance].changeWindow(wanted.availabilityWindowMilliseconds, now: now)
            }
        }
        guard services[id].paths != wanted.paths || services[id].policy != wanted.policy else { return false }
        services[id].paths = wanted.paths
        services[id].policy = wanted.policy
        return true
    }

    /// All its instances have ended.
    mutating func end(_ id: ServiceID) {
        serviceByName[services[id].name] = nil
        services.discard(id)
    }

    /// The services stand in this order. True: in another one than before.
    mutating func arrange(_ names: [String]) -> Bool {
        let before = order
        order = names.compactMap { serviceByName[$0] }
        return order != before
    }

    /// An instance at an address that is written.
    mutating func begin(_ instance: Instance, of service: ServiceID, now: UInt64) -> InstanceID {
        let plan = plans.use(instance.polling)
        return begin(
            RegisteredInstance(
                service: service, instance, plan: plan, packetLimit: instance.polling.packetLimit,
                window: services[service].availabilityWindowMilliseconds, now: now))
    }

    /// An instance of a line that is a name. `target` nil: the name has no address.
    mutating func begin(_ target: NameTarget?, of line: LineID, now: UInt64) -> InstanceID {
        let (service, plan) = (lines[line].service, lines[line].plan)
        plans.use(plan)
        let id = begin(
            RegisteredInstance(
                of: line, lines[line], target.map { lines[line].address($0) },
                priority: plans[plan].polling.priority, packetLimit: plans[plan].polling.packetLimit,
                window: services[service].availabilityWindowMilliseconds, now: now))
        if let share = target?.service { _ = modify(id, share) }
        return id
    }

    private mutating func begin(_ instance: consuming RegisteredInstance) -> InstanceID {
        let id = instances.insert(instance)
        marks.begin(id)
        let plan = plans[instances[id].plan]
        historyLog.begin(id, plan.spanClass, limit: plan.polling.packetLimit)
        return id
    }

    /// What a record of a service says of an instance. True: it is something else for forwarders.
    mutating func modify(_ id: InstanceID, _ share: NameTarget.ServiceShare) -> Bool {
        let isOther = shares[id] != share
        instances[id].tier = share.tier
        instances[id].weight = share.weight
        shares[id] = share
        return isOther
    }

    /// What a record of a service says of an instance; nil: none does.
    func share(of id: InstanceID) -> NameTarget.ServiceShare? { shares[id] }

    /// An instance is polled by another plan. Returns how it was polled before; nil: in the same way.
    mutating func modify(_ id: InstanceID, _ polling: Polling) -> Polling? {
        let former = instances[id].plan
        let before = plans[former].polling
        guard before != polling else { return nil }
        instances[id].plan = plans.use(polling)
        instances[id].priority = polling.priority
        historyLog.end(plans[former].spanClass, limit: before.packetLimit)
        historyLog.begin(id, plans[instances[id].plan].spanClass, limit: polling.packetLimit)
        instances[id].history.limit = polling.packetLimit
        plans.giveBack(former)
        return before
    }

    /// The value for a Host field.
    func authority(_ id: InstanceID) -> Substring {
        guard let share = shares[id] else { return instances[id].authority }
        return Substring(share.host + (instances[id].address.map { ":\($0.port)" } ?? ""))
    }

    mutating func end(_ id: InstanceID) {
        let plan = instances[id].plan
        historyLog.end(plans[plan].spanClass, limit: plans[plan].polling.packetLimit)
        plans.giveBack(plan)
        marks.end(id, remembered: instances[id].isRemembered ? name(id) : nil)
        instances[id].history.clear(in: &arena)
        shares[id] = nil
        instances.discard(id)
    }

    /// The lines of a service that are names.
    func lines(of service: ServiceID) -> [LineID] {
        var found: [LineID] = []
        for id in services[service].instances {
            if let line = instances[id].line, found.last != line { found.append(line) }
        }
        return found
    }

    /// Other instances stand where these stood, one behind the other.
    func replace(_ before: [InstanceID], by after: [InstanceID], of service: ServiceID) {
        guard let first = before.first, let place = services[service].instances.firstIndex(of: first) else { return }
        services[service].instances.replaceSubrange(place..<place + before.count, with: after)
    }

    /// Sorted by family and address, so that the order of answers is no news.
    func inOrderOfAddress(_ ids: [InstanceID]) -> [InstanceID] {
        guard ids.count > 1 else { return ids }
        return ids.sorted {
            guard let a = instances[$0].address, let b = instances[$1].address else { return false }
            return (a.family.rawValue, a.high, a.low, a.port) < (b.family.rawValue, b.high, b.low, b.port)
        }
    }

    /// What has come and gone becomes a version, if forwarders have to learn anything of it.
    mutating func conclude(_ change: MembershipChange) {
        if !change.goneInstances.isEmpty { marks.dropEnded() }
        if !change.isEmpty { version.number += 1 }
    }

    /// The first version is the one of the start.
    mutating func restartVersions() { version.number = 1 }

    // MARK: Polls

    /// What a poll has led to.
    struct Recorded {
        /// When to poll next; nil: the present schedule stands.
        let next: Health.Next?
        let statusChanged: Bool
        let suspicionChanged: Bool
    }

    /// Records a poll that began at `wall` (wall clock) and `began` (monotonic), milliseconds.
    mutating func record(
        _ id: InstanceID, _ result: PollResult, purpose: Health.Purpose, wasAccused: Bool, wall: UInt64, began: UInt64,
        now: UInt64
    ) -> Recorded {
        let before = instances[id].state
        let healthBefore = instances[id].health
        let outcome = PollOutcome(result)
        let next = instances[id].health.receive(result, purpose: purpose, polling: polling(id))
        if wasAccused, !result.isGood, result.cause != .ownFault { instances[id].health.confirmSuspicion() }
        let status = instances[id].health.status
        if result.isGood { instances[id].hasAnswered = true }
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
        let suspicionChanged = instances[id].health.isSuspect != before.suspect
        if suspicionChanged { instances[id].suspectCause = outcome }
        if status != before.status { recordStatus(id, before.status, result, wall) }
        if result.cause != .ownFault, status != .unknown { instances[id].availability.set(up: status == .up, now: now) }
        instances[id].reckonAvailability(now: now)
        if instances[id].state != before {
            marks.change(id, now: now)
        } else if instances[id].health != healthBefore {
            // How far a series of failed or good polls has come is no news, and not to be forgotten.
            marks.save(id)
        }
        return Recorded(next: next, statusChanged: status != before.status, suspicionChanged: suspicionChanged)
    }

    /// Returns when the poll began as history shows it: within a chunk its steps are the monotonic clock's.
    private mutating func appendHistory(_ id: InstanceID, _ outcome: PollOutcome, wall: UInt64, began: UInt64) -> UInt64
    {
        instances[id].history.append(wall: wall, monotonic: began, outcome: outcome, in: &arena)
        let spanClass = plans[instances[id].plan].spanClass
        let key = historyLog.asksForKey(id, spanClass) ? self.key(id) : nil
        let shown = packet(instances[id].history.endSequence - 1, of: id)?.startedAt ?? wall
        historyLog.record(id, spanClass, key: key, wall: shown, outcome)
        return shown
    }

    /// By what an instance is known in files of history, and in the counters of forwarders.
    func key(_ id: InstanceID) -> UInt64 { CounterKey.hash(.instance, serviceName(id), name(id).label) }

    /// The id of each instance by its key.
    var idByKey: [UInt64: InstanceID] {
        var ids: [UInt64: InstanceID] = [:]
        for id in instances.indices {
            ids[key(id)] = id
            // Earlier programs kept the polls of a name, not of its addresses.
            if instances[id].line != nil, !isOneOfSeveral(id) {
                ids[CounterKey.hash(.instance, serviceName(id), instances[id].url)] = id
            }
        }
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

    private mutating func recordStatus(
        _ id: InstanceID, _ previous: InstanceStatus, _ result: PollResult, _ wall: UInt64
    ) {
        let status = instances[id].health.status
        instances[id].since = wall
        instances[id].statusCause = PollOutcome(result)
        if previous != .unknown { instances[id].changes &+= 1 }
        // That a new instance is up is no news.
        if general.onChange != nil, previous != .unknown || status != .up {
            statusChanges.append(
                StatusChange(
                    service: serviceName(id), instance: instances[id].url,
                    address: isOneOfSeveral(id) ? instances[id].address : nil, previous: previous, status: status,
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
            instances[id].hasAnswered = saved.hasAnswered
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
        marks.save(id)
    }

    /// It takes over the drain of the others of its line, which are all drained.
    mutating func inheritDrain(_ id: InstanceID, since: UInt64) {
        instances[id].isDrainAsked = true
        instances[id].isDraining = true
        instances[id].drainingSince = since
        marks.save(id)
    }

    /// What was asked is on the disk: now forwarders are told.
    mutating func publishDrain(_ id: InstanceID, now: UInt64) {
        guard instances[id].isDrainAsked != instances[id].isDraining else { return }
        instances[id].isDraining = instances[id].isDrainAsked
        marks.publish(id, now: now)
    }

    /// It could not be written: nothing has happened.
    mutating func withdrawDrain(_ id: InstanceID) { instances[id].isDrainAsked = instances[id].isDraining }

    /// The changes since the last call become a new version.
    mutating func takeChanges() -> [InstanceID] {
        guard marks.hasChanged else { return [] }
        version.number += 1
        return marks.takeChanged()
    }

    /// The instances of a service; nil: there is no such service.
    func members(of service: String) -> [InstanceID]? { serviceByName[service].map { services[$0].instances } }
}
