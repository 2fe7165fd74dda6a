import Shared

/// Snapshots and deltas become the present table, between two turns of the loop.
extension Forwarder {
    /// A whole snapshot is going to replace the table: it is taken over in slices (TableBuild), so that requests wait for none
    /// of it for longer than a millisecond.
    mutating func apply(_ snapshot: Snapshot) {
        buildNumber &+= 1
        build = TableBuild(snapshot, number: buildNumber)
    }

    /// One slice: instances are given their slots, then the table is swapped, then slots that nobody names any more are freed.
    mutating func continueBuild() {
        guard build != nil else { return }
        let end = Clock.monotonicNanoseconds() + Limits.sliceNanoseconds
        repeat {
            switch build?.phase {
            case .placing:
                if build?.isPlaced == false { placeSome() }
                if build?.isPlaced == true {
                    swapTable()
                    build?.phase = .retiring(next: 0)
                }
            case .retiring(let next):
                var slot = next
                let last = min(next + 64, instances.highWater)
                while slot < last {
                    if instances.isInUse(slot), instances[slot].namedBy != buildNumber { retire(slot) }
                    slot += 1
                }
                build?.phase = .retiring(next: slot)
                if slot >= instances.highWater { build = nil }
            case nil: return
            }
        } while Clock.monotonicNanoseconds() < end
    }

    /// Some instances of the next service; behind its last one, its paths.
    private mutating func placeSome() {
        guard var work = build else { return }
        // One owner, or each write would copy it all.
        build = nil
        defer { build = work }
        let service = work.snapshot.services[work.service]
        if work.instance == 0 { work.begin(serviceByName[service.name] ?? makeService(service.name)) }
        let index = work.lists[work.lists.count - 1].index
        let last = min(work.instance + 32, service.instances.count)
        while work.instance < last {
            let slot = place(service.name, service.instances[work.instance])
            instances[slot].serviceIndex = index
            instances[slot].namedBy = work.number
            work.take(slot)
        }
        services[index].isStale = true
        if work.instance == service.instances.count { work.endService() }
    }

    /// From here on requests go by the new table. Instances it names again keep their slot: evidence, counts and connections.
    private mutating func swapTable() {
        guard var work = build else { return }
        build = nil
        let isFirst = version == nil
        take(work.snapshot.settings)
        for index in services.indices {
            services[index].instances = []
            services[index].isStale = true
            noteRoom(index)
        }
        for list in work.lists {
            services[list.index].policy = list.policy
            services[list.index].instances = list.instances
            services[list.index].take(share)
            noteRoom(list.index)
        }
        swap(&slotByID, &work.slotByID)
        swap(&routes, &work.routes)
        swap(&pathCounters, &work.pathCounters)
        version = work.snapshot.version
        versionAt = loop.now
        noteVersion()
        log.debug(
            "snapshot \(work.snapshot.version): \(work.lists.count) services, \(slotByID.count) instances")
        build = work
        if isFirst {
            startAccepting()
            daemon.notifier.ready("snapshot \(work.snapshot.version)")
        }
        snapshotApplied(work.snapshot.version)
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

    private mutating func makeService(_ name: String) -> Int {
        services.append(ServiceEntry(name: name))
        serviceByName[name] = services.count - 1
        return services.count - 1
    }

    private mutating func place(_ service: String, _ instance: SnapshotInstance) -> Int {
        let key = CounterKey.hash(.instance, service, instance.url)
        if let slot = find(key, service, instance.url) {
            instances[slot].authority = Array(instance.authority.utf8)
            instances[slot].priority = instance.priority
            instances[slot].weight = instance.weight
            update(slot, instance.state)
            return slot
        }
        let slot = instances.insert(InstanceSlot(service: service, instance, key: key))
        var place = key
        while slotByKey[place] != nil { place &+= 1 }
        slotByKey[place] = Int32(truncatingIfNeeded: slot)
        return slot
    }

    /// The slot of an instance. Two names of one hash, should there ever be such, stand behind each other.
    private func find(_ key: UInt64, _ service: String, _ url: String) -> Int? {
        var place = key
        while let slot = slotByKey[place] {
            if instances[Int(slot)].url == url, instances[Int(slot)].service == service { return Int(slot) }
            place &+= 1
        }
        return nil
    }

    private mutating func free(_ slot: Int) {
        var place = instances[slot].key
        while let other = slotByKey[place] {
            if Int(other) == slot {
                slotByKey[place] = nil
                break
            }
            place &+= 1
        }
        if instances[slot].passive.isEjected { countEjection(slot, false) }
        _ = instances.remove(slot)
    }

    /// An instance that is no longer named: its kept connections are closed; open exchanges end by themselves, and the slot
    /// is freed with the last of them.
    private mutating func retire(_ slot: Int) {
        instances[slot].serviceIndex = -1
        closeIdle(slot) { _ in true }
        if instances[slot].outstanding == 0 { free(slot) }
    }

    /// A request no longer occupies an instance; the last one frees the slot of an instance that no table names.
    @inline(__always)
    mutating func leaveInstance(_ instance: Int) {
        instances[instance].outstanding -= 1
        countLeave(instance)
        let service = instances[instance].serviceIndex
        if service >= 0 { noteRoom(service) }
        if instances[instance].outstanding == 0, instances[instance].serviceIndex < 0 {
            free(instance)
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
            if instances[slot].passive.isEjected { countEjection(slot, false) }
            instances[slot].passive.cleared()
            instances[slot].addresses.clear()
        }
        if state.addresses.isEmpty || state.status == .down || state.draining {
            closeIdle(slot) { _ in true }
        } else if before.addresses != state.addresses {
            instances[slot].addresses.keep(state.addresses)
            closeIdle(slot) { !state.addresses.contains($0) }
        }
    }

    /// Closes the kept connections of an instance to some of its addresses.
    private mutating func closeIdle(_ slot: Int, _ isOver: (SocketAddress) -> Bool) {
        var candidate = instances[slot].idleHead
        while candidate >= 0 {
            let upstream = Int(candidate)
            candidate = upstreams[upstream].next
            guard isOver(upstreams[upstream].address) else { continue }
            removeIdle(upstream)
            closeUpstream(upstream)
        }
    }
}
