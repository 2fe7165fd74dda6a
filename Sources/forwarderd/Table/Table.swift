import Shared

/// The services, instances and routes of the present snapshot, and the snapshot that is about to replace it.
struct Table: ~Copyable {
    typealias Instance = Slab<InstanceSlot>.Index

    let instances = Slab<InstanceSlot>(capacity: Limits.instancesInTable)
    var services: [ServiceEntry] = []
    private(set) var routes = RouteTable()
    /// The counters of each API path, as the routes number them.
    var paths: [PathRow] = []
    /// What is the same for all services.
    private(set) var settings = ForwarderSettings()
    /// `settings`, as the parser of heads takes them.
    private(set) var requestBounds = RequestHead.Bounds.standard
    /// Which of how many forwarders this one is.
    private(set) var share = Share(index: 0, of: 1)
    private(set) var version: SnapshotVersion?
    /// When it was applied, milliseconds of the loop's clock.
    private(set) var versionAt: UInt64 = 0
    /// Services whose queued requests may find room.
    private var servicesWithRoom: [Int] = []

    /// Instances by the hash of their service and address.
    private var instanceByKey: [UInt64: Instance] = [:]
    private var serviceByName: [String: Int] = [:]
    /// Places in `services` that hold none.
    private var freeServices: [Int] = []
    private var ids = SnapshotIDs()
    private var build: TableBuild?
    private var buildNumber: UInt32 = 0

    var isBuilding: Bool { build != nil }
    /// The next snapshot must wait until the present one is placed.
    var isPlacing: Bool { if case .placing = build?.phase { true } else { false } }

    // MARK: A snapshot

    /// A snapshot is going to replace the table. It is taken over in slices, so that no request waits for it for long.
    mutating func begin(_ snapshot: Snapshot) {
        buildNumber &+= 1
        build = TableBuild(snapshot, number: buildNumber)
    }

    /// Takes over a slice of the snapshot: instances are given their slots, then the table is swapped, then slots that nobody names any
    /// more are freed. True: the table has been swapped.
    mutating func continueBuild(until end: UInt64, _ pool: inout Pool, _ ledger: inout Ledger, now: UInt64) -> Bool {
        var isSwapped = false
        while build != nil {
            switch build?.phase {
            case .placing:
                if build?.isPlaced == false { placeSome(&pool, &ledger, now: now) }
                if build?.isPlaced == true {
                    swap(now: now)
                    isSwapped = true
                    build?.phase = .retiring(next: 0)
                }
            case .retiring(let next):
                let last = min(next + 64, instances.highWater)
                for position in next..<max(next, last) {
                    if let slot = instances.index(at: position), instances[slot].namedBy != buildNumber {
                        retire(slot, &pool, &ledger)
                    }
                }
                build?.phase = .retiring(next: last)
                if last >= instances.highWater { build = nil }
            case nil: break
            }
            if Clock.monotonicNanoseconds() >= end { break }
        }
        return isSwapped
    }

    /// Places some instances of the next service, and after the last one its paths.
    private mutating func placeSome(_ pool: inout Pool, _ ledger: inout Ledger, now: UInt64) {
        guard var work = build else { return }
        // A single owner, or each write would copy everything.
        build = nil
        defer { build = work }
        let service = work.snapshot.services[work.service]
        if work.instance == 0 { work.begin(serviceByName[service.name] ?? makeService(service.name)) }
        let index = work.lists[work.lists.count - 1].index
        services[index].isGone = false
        let last = min(work.instance + 32, service.instances.count)
        while work.instance < last {
            let slot = place(service.name, service.instances[work.instance], &pool, &ledger, now: now)
            instances[slot].serviceIndex = index
            instances[slot].namedBy = work.number
            work.take(slot, id: service.instances[work.instance].id)
        }
        services[index].isStale = true
        if work.instance == service.instances.count { work.endService() }
    }

    /// From here on requests go by the new table. Instances that it names again keep their slot: evidence, counts and connections.
    private mutating func swap(now: UInt64) {
        guard var work = build else { return }
        build = nil
        take(work.snapshot.settings)
        for index in services.indices {
            services[index].instances = []
            services[index].paths = []
            services[index].isStale = true
            services[index].isGone = true
            noteRoom(index)
        }
        for list in work.lists {
            services[list.index].isGone = false
            services[list.index].policy = list.policy
            services[list.index].instances = list.instances
            services[list.index].paths = list.paths
            services[list.index].take(share)
            noteRoom(list.index)
        }
        for index in services.indices where services[index].isGone { freeService(index) }
        Swift.swap(&ids, &work.ids)
        Swift.swap(&routes, &work.routes)
        Swift.swap(&paths, &work.paths)
        version = work.snapshot.version
        versionAt = now
        build = work
    }

    private mutating func take(_ settings: ForwarderSettings) {
        self.settings = settings
        requestBounds = RequestHead.Bounds(
            bytes: settings.headBytes, targetBytes: min(Limits.targetBytes, settings.headBytes),
            fields: settings.headFields)
    }

    private mutating func makeService(_ name: String) -> Int {
        let index: Int
        if let free = freeServices.popLast() {
            index = free
            services[index] = ServiceEntry(name: name)
        } else {
            index = services.count
            services.append(ServiceEntry(name: name))
        }
        serviceByName[name] = index
        return index
    }

    /// Frees the place of a service that snapshots name no longer, unless a request of it is in progress.
    private mutating func freeService(_ index: Int) {
        guard services[index].isGone, services[index].active == 0, services[index].queue.isEmpty,
            serviceByName[services[index].name] == index
        else { return }
        serviceByName[services[index].name] = nil
        freeServices.append(index)
    }

    /// A request of the service has ended.
    @inline(__always)
    mutating func leaveService(_ index: Int) {
        services[index].active -= 1
        if services[index].isGone { freeService(index) }
    }

    private mutating func place(
        _ service: String, _ instance: SnapshotInstance, _ pool: inout Pool, _ ledger: inout Ledger, now: UInt64
    ) -> Instance {
        let key = CounterKey.hash(.instance, service, instance.label)
        if let slot = find(key, service, instance) {
            instances[slot].define(instance)
            update(slot, instance.state, &pool, &ledger, now: now)
            return slot
        }
        let slot = instances.insert(InstanceSlot(service: service, instance, key: key))
        var place = key
        while instanceByKey[place] != nil { place &+= 1 }
        instanceByKey[place] = slot
        return slot
    }

    /// The slot of an instance. Instances with equal hashes are at consecutive keys.
    private func find(_ key: UInt64, _ service: String, _ instance: SnapshotInstance) -> Instance? {
        var place = key
        while let slot = instanceByKey[place] {
            if instances[slot].isNamed(by: instance), instances[slot].service == service { return slot }
            place &+= 1
        }
        return nil
    }

    private mutating func free(_ slot: Instance, _ ledger: inout Ledger) {
        var place = instances[slot].key
        while let other = instanceByKey[place] {
            if other == slot {
                instanceByKey[place] = nil
                break
            }
            place &+= 1
        }
        if instances[slot].passive.isEjected { ledger.noteEjection(instances[slot], false) }
        _ = instances.remove(slot)
    }

    /// An instance that no snapshot names any more: its idle connections are closed; exchanges in progress end by themselves, and the
    /// slot is freed with the last of them.
    private mutating func retire(_ slot: Instance, _ pool: inout Pool, _ ledger: inout Ledger) {
        instances[slot].serviceIndex = -1
        pool.closeIdle(in: &instances[slot].idle)
        if instances[slot].outstanding == 0 { free(slot, &ledger) }
    }

    // MARK: Changes

    /// Writes a delta into the slots and rebuilds nothing. False: it names what is not known.
    mutating func apply(
        _ version: SnapshotVersion, _ changes: [(id: Int, state: InstanceState)], _ pool: inout Pool,
        _ ledger: inout Ledger, now: UInt64
    ) -> Bool {
        for (id, state) in changes {
            guard let slot = ids.instance(id) else { return false }
            update(slot, state, &pool, &ledger, now: now)
            noteFacts(slot)
        }
        self.version = version
        versionAt = now
        return true
    }

    /// Services and instances come, go or change, in one turn: there are few. False: it names what is not known.
    mutating func apply(_ change: SnapshotChange, _ pool: inout Pool, _ ledger: inout Ledger, now: UInt64) -> Bool {
        if let settings = change.settings { take(settings) }
        for id in change.goneInstances { removeInstance(id, &pool, &ledger) }
        for id in change.goneServices { removeService(id) }
        // Former owners of ids go before any new one comes: a service or an instance may have come back with another id, and its former
        // id may be somebody else's.
        for service in change.services {
            if let owner = ids.service(service.id), services[owner].name != service.name { removeService(service.id) }
        }
        for service in change.services { define(service) }
        for member in change.instances {
            guard let index = ids.service(member.service) else { return false }
            if let owner = ids.instance(member.instance.id),
                !instances[owner].isNamed(by: member.instance) || instances[owner].service != services[index].name
            {
                removeInstance(member.instance.id, &pool, &ledger)
            }
        }
        for member in change.instances {
            guard let index = ids.service(member.service) else { return false }
            define(member.instance, of: index, &pool, &ledger, now: now)
        }
        version = change.version
        versionAt = now
        return true
    }

    private mutating func removeInstance(_ id: Int, _ pool: inout Pool, _ ledger: inout Ledger) {
        guard let slot = ids.instance(id) else { return }
        ids.name(instance: id, nil)
        let service = instances[slot].serviceIndex
        if service >= 0 {
            services[service].instances.removeAll { $0 == slot }
            services[service].isStale = true
            noteRoom(service)
        }
        retire(slot, &pool, &ledger)
    }

    private mutating func removeService(_ id: Int) {
        guard let index = ids.service(id) else { return }
        ids.name(service: id, nil)
        removePaths(index)
        // Instances that are left have come back under other ids; each is told with the service that it belongs to now.
        for slot in services[index].instances { instances[slot].serviceIndex = -1 }
        services[index].instances = []
        services[index].isGone = true
        noteRoom(index)
        freeService(index)
    }

    private mutating func removePaths(_ index: Int) {
        for number in services[index].paths { routes.remove(number) }
        services[index].paths = []
    }

    private mutating func define(_ service: SnapshotService) {
        let index = serviceByName[service.name] ?? makeService(service.name)
        ids.name(service: service.id, index)
        services[index].isGone = false
        services[index].policy = service.policy
        services[index].isStale = true
        services[index].take(share)
        removePaths(index)
        for path in service.paths {
            let number = routes.add(path, service: index)
            let row = PathRow(key: CounterKey.hash(.path, service.name, path))
            if number < paths.count { paths[number] = row } else { paths.append(row) }
            services[index].paths.append(number)
        }
        noteRoom(index)
    }

    private mutating func define(
        _ instance: SnapshotInstance, of service: Int, _ pool: inout Pool, _ ledger: inout Ledger, now: UInt64
    ) {
        let slot = place(services[service].name, instance, &pool, &ledger, now: now)
        ids.name(instance: instance.id, slot)
        if instances[slot].serviceIndex != service { services[service].instances.append(slot) }
        instances[slot].serviceIndex = service
        instances[slot].namedBy = buildNumber
        services[service].isStale = true
        noteRoom(service)
    }

    /// The number of forwarders, or the place among them, has changed.
    mutating func take(_ share: Share) {
        self.share = share
        for index in services.indices {
            services[index].take(share)
            noteRoom(index)
        }
    }

    private func update(
        _ slot: Instance, _ state: InstanceState, _ pool: inout Pool, _ ledger: inout Ledger, now: UInt64
    ) {
        let before = instances[slot].state
        instances[slot].state = state
        if state.status == .up, before.status == .down { instances[slot].returnedAt = max(1, now) }
        if state.status == .up, !state.suspect, before.status != .up || before.suspect {
            // A good poll on a new connection is newer than this forwarder's own evidence.
            if instances[slot].passive.isEjected { ledger.noteEjection(instances[slot], false) }
            instances[slot].passive.cleared()
        }
        if state.address == nil || state.status == .down || state.draining || before.address != state.address {
            pool.closeIdle(in: &instances[slot].idle)
        }
    }

    /// A fact that the choice depends on has changed.
    mutating func noteFacts(_ slot: Instance) {
        let service = instances[slot].serviceIndex
        guard service >= 0 else { return }
        services[service].isStale = true
        noteRoom(service)
    }

    // MARK: Requests

    /// A request no longer occupies an instance. The last one frees the slot of an instance that no snapshot names.
    @inline(__always)
    mutating func leave(_ slot: Instance, _ ledger: inout Ledger) {
        instances[slot].outstanding -= 1
        ledger.leave(instances[slot])
        let service = instances[slot].serviceIndex
        if service >= 0 { noteRoom(service) } else if instances[slot].outstanding == 0 { free(slot, &ledger) }
    }

    /// An instance of this service may have room now.
    @inline(__always)
    mutating func noteRoom(_ service: Int) {
        if !services[service].queue.isEmpty { servicesWithRoom.append(service) }
    }

    var hasServicesWithRoom: Bool { !servicesWithRoom.isEmpty }

    mutating func takeServicesWithRoom() -> [Int] {
        defer { servicesWithRoom.removeAll(keepingCapacity: true) }
        return servicesWithRoom
    }

    /// Whether at most half of the service's usable instances are ejected when this one is, too.
    func mayEject(_ slot: Instance) -> Bool {
        let service = instances[slot].serviceIndex
        guard service >= 0 else { return true }
        var (usable, ejected) = (0, 0)
        for one in services[service].instances {
            let state = instances[one].state
            guard state.status == .up, !state.draining else { continue }
            usable += 1
            if instances[one].passive.isEjected { ejected += 1 }
        }
        return (ejected + 1) * 2 <= usable
    }

    /// The ranking of a service's instances, made again after a fact has changed.
    @inline(__always)
    mutating func rankIfStale(_ service: Int) {
        if services[service].isStale { rank(service) }
    }

    private mutating func rank(_ service: Int) {
        services[service].ranking = Ranking(
            services[service].instances.map { ($0.rawValue, instances[$0].facts) },
            byAvailability: services[service].policy.balance == .availability)
        services[service].isStale = false
    }

    /// The Host of a request that has none (HTTP/1.0).
    func defaultAuthority(_ service: Int) -> [UInt8] {
        services[service].instances.first.map { instances[$0].authority } ?? Array("localhost".utf8)
    }
}
