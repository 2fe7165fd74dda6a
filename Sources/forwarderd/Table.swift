import Shared

/// Snapshots and deltas become the present table, between two turns of the loop.
extension Forwarder {
    /// A whole snapshot replaces the table. Instances it names again keep their slot: evidence, counts and connections.
    mutating func apply(_ snapshot: Snapshot) {
        let isFirst = version == nil
        take(snapshot.settings)
        var named = Set<String>()
        slotByID.removeAll(keepingCapacity: true)
        var paths = [[String]](repeating: [], count: services.count)
        for index in services.indices {
            for slot in services[index].instances { instances[Int(slot)].serviceIndex = -1 }
            services[index].instances = []
            services[index].isStale = true
            noteRoom(index)
        }
        for service in snapshot.services {
            let index = serviceByName[service.name] ?? makeService(service.name, &paths)
            paths[index] = service.paths
            services[index].policy = service.policy
            services[index].take(share)
            noteRoom(index)
            services[index].instances = service.instances.map { instance in
                let name = service.name + "\0" + instance.url
                named.insert(name)
                let slot = place(name, service.name, instance)
                instances[slot].serviceIndex = index
                slotByID.append(slot)
                return Int32(truncatingIfNeeded: slot)
            }
        }
        for (name, slot) in slotByName where !named.contains(name) { retire(name, slot) }
        routes = RouteTable(paths)
        pathCounters = zip(services, paths).flatMap { service, paths in
            paths.map { (CounterKey.hash(.path, service.name, $0), Int32(-1)) }
        }
        version = snapshot.version
        versionAt = loop.now
        noteVersion()
        log.debug("snapshot \(snapshot.version): \(snapshot.services.count) services, \(slotByID.count) instances")
        if isFirst {
            startAccepting()
            daemon.notifier.ready("snapshot \(snapshot.version)")
        }
    }

    /// Whichever part of all forwarders together this one is now.
    mutating func take(_ share: Share) {
        self.share = share
        for index in services.indices {
            services[index].take(share)
            noteRoom(index)
        }
    }

    private mutating func take(_ settings: ForwarderSettings) {
        self.settings = settings
        Log.format = settings.logFormat
        requestBounds = RequestHead.Bounds(
            bytes: settings.headBytes, targetBytes: min(Limits.targetBytes, settings.headBytes),
            fields: settings.headFields)
        identity = Identity(name: settings.via ?? Process.hostName())
        accessLog.configure(settings)
    }

    private mutating func makeService(_ name: String, _ paths: inout [[String]]) -> Int {
        services.append(ServiceEntry(name: name))
        paths.append([])
        serviceByName[name] = services.count - 1
        return services.count - 1
    }

    private mutating func place(_ name: String, _ service: String, _ instance: SnapshotInstance) -> Int {
        if let slot = slotByName[name] {
            instances[slot].authority = Array(instance.authority.utf8)
            instances[slot].priority = instance.priority
            instances[slot].weight = instance.weight
            update(slot, instance.state)
            return slot
        }
        let slot = instances.insert(InstanceSlot(service: service, instance))
        slotByName[name] = slot
        return slot
    }

    /// An instance that is no longer named: its kept connections are closed; open exchanges end by themselves, and the slot
    /// is freed with the last of them.
    private mutating func retire(_ name: String, _ slot: Int) {
        while instances[slot].idleHead >= 0 {
            let upstream = Int(instances[slot].idleHead)
            removeIdle(upstream)
            closeUpstream(upstream)
        }
        if instances[slot].outstanding == 0 {
            slotByName[name] = nil
            _ = instances.remove(slot)
        }
    }

    /// A request no longer occupies an instance; the last one frees the slot of an instance that no table names.
    @inline(__always)
    mutating func leaveInstance(_ instance: Int) {
        instances[instance].outstanding -= 1
        countLeave(instance)
        let service = instances[instance].serviceIndex
        if service >= 0 { noteRoom(service) }
        if instances[instance].outstanding == 0, instances[instance].serviceIndex < 0 {
            slotByName[instances[instance].service + "\0" + instances[instance].url] = nil
            _ = instances.remove(instance)
        }
    }

    /// A delta writes into slots and rebuilds nothing.
    mutating func apply(_ version: SnapshotVersion, _ changes: [(id: Int, state: InstanceState)]) {
        for (id, state) in changes where id < slotByID.count {
            update(slotByID[id], state)
            factsChanged(slotByID[id])
        }
        self.version = version
        versionAt = loop.now
    }

    /// All of a version is in use: so the counters say.
    mutating func noteVersion() {
        counters[.epoch] = version?.epoch ?? 0
        counters[.number] = version?.number ?? 0
    }

    private mutating func update(_ slot: Int, _ state: InstanceState) {
        let before = instances[slot].state
        instances[slot].state = state
        if state.status == .up, before.status == .down { instances[slot].returnedAt = max(1, loop.now) }
        if state.status == .up, !state.suspect, before.status != .up || before.suspect {
            // A good poll on a fresh connection came after our own evidence.
            instances[slot].passive.cleared()
        }
        if state.addresses.isEmpty || state.status == .down || state.draining || before.addresses != state.addresses {
            while instances[slot].idleHead >= 0 {
                let upstream = Int(instances[slot].idleHead)
                removeIdle(upstream)
                closeUpstream(upstream)
            }
        }
    }
}
