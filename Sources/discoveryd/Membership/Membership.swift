import Shared

/// Which services and instances there are: what the sources say, merged. The file comes first: it says which services and lines there are
/// and how they are polled; of a line that is a name, the name says which addresses it has; of an address, a record of a service (SRV) says
/// the weight where the line does not. Decides, and tells the registry.
struct Membership {
    /// What is believed of a name.
    private struct Belief {
        var addresses = RemovalGuard()
        var shares: [SocketAddress: NameTarget.ServiceShare] = [:]
        var lines: [Registry.LineID] = []

        var targets: [NameTarget] { addresses.believed.map { NameTarget(address: $0, service: shares[$0]) } }
    }

    private var beliefs: [SourceName: Belief] = [:]

    /// What is held back, in words.
    var doubts: [String] {
        beliefs.keys.compactMap(doubt).sorted()
    }

    /// What is held back of one name, in words.
    func doubt(_ name: SourceName) -> String? {
        guard let belief = beliefs[name], !belief.addresses.held.isEmpty else { return nil }
        return
            "the name \(name.text) has lost \(belief.addresses.held.count) of \(belief.addresses.standing.count) addresses at once: they are kept until \(Limits.lookUpsBelieved) answers in a row say so or their polls fail"
    }

    /// The lines that have a name.
    func lines(of name: SourceName) -> [Registry.LineID] { beliefs[name]?.lines ?? [] }

    // MARK: The file

    /// `order`: the names of all services.
    mutating func receive(
        _ file: SourceChange<Service>, _ general: Configuration.General, order: [String], _ registry: inout Registry,
        now: UInt64
    ) -> MembershipChange {
        var change = MembershipChange()
        change.hasOtherSettings = registry.adopt(general)
        let (wanted, removed): ([Service], [String])
        switch file.content {
        case .reset(let all):
            let names = Set(order)
            (wanted, removed) = (all, registry.serviceNames.filter { !names.contains($0) })
        case .difference(let added, let gone, let changed): (wanted, removed) = (added + changed, gone)
        }
        for service in wanted { adopt(service, &registry, now: now, &change) }
        for name in removed {
            guard let id = registry.service(named: name) else { continue }
            for instance in registry.services[id].instances where registry.instances[instance].line == nil {
                change.goneInstances.append(instance)
            }
            for line in registry.lines(of: id) { end(line, &registry, &change) }
            change.goneServices.append(id)
        }
        for id in change.goneInstances { registry.end(id) }
        for id in change.goneServices { registry.end(id) }
        if registry.arrange(order) { change.hasOtherOrder = true }
        registry.conclude(change)
        return change
    }

    private mutating func adopt(
        _ wanted: Service, _ registry: inout Registry, now: UInt64, _ change: inout MembershipChange
    ) {
        let id: Registry.ServiceID
        if let known = registry.service(named: wanted.name) {
            id = known
            if registry.modify(id, wanted, now: now) { change.services.append(id) }
        } else {
            id = registry.begin(wanted)
            change.services.append(id)
        }
        let before = registry.services[id].instances
        // By their urls: an instance, and of a name the first one.
        var known: [String: Registry.InstanceID] = [:]
        var after: [Registry.InstanceID] = []
        after.reserveCapacity(wanted.instances.count)
        if before.count != wanted.instances.count
            || !before.indices.allSatisfy({ registry.instances[before[$0]].url == wanted.instances[$0].url })
        {
            known.reserveCapacity(before.count)
            for instance in before.reversed() { known[registry.instances[instance].url] = instance }
            for instance in wanted.instances {
                let same = known.removeValue(forKey: instance.url)
                after += adopt(instance, of: id, same, &registry, now: now, &change)
            }
        } else {
            for (place, instance) in wanted.instances.enumerated() {
                after += adopt(instance, of: id, before[place], &registry, now: now, &change)
            }
        }
        for instance in known.values {
            if let line = registry.instances[instance].line {
                end(line, &registry, &change)
            } else {
                change.goneInstances.append(instance)
            }
        }
        guard before != after else { return }
        registry.services[id].instances = after
        change.hasOtherOrder = true
    }

    /// One line of the configuration. `same`: an instance of the line as it was. Returns its instances.
    private mutating func adopt(
        _ wanted: Instance, of service: Registry.ServiceID, _ same: Registry.InstanceID?, _ registry: inout Registry,
        now: UInt64, _ change: inout MembershipChange
    ) -> [Registry.InstanceID] {
        let line: Registry.LineID
        if let same {
            guard let known = registry.instances[same].line else {
                modify(same, wanted, UInt8(clamping: wanted.weight), &registry, &change)
                return [same]
            }
            line = known
            registry.lines[line].weight = UInt8(clamping: wanted.weight)
            let former = registry.lines[line].plan
            registry.lines[line].plan = registry.plans.use(wanted.polling)
            registry.plans.giveBack(former)
            for member in registry.lines[line].members {
                let share = registry.instances[member].address.flatMap {
                    beliefs[registry.lines[line].name]?.shares[$0]
                }
                modify(member, wanted, share?.weight ?? UInt8(clamping: wanted.weight), &registry, &change)
            }
            return registry.lines[line].members
        }
        guard wanted.endpoint.literal == nil else {
            let id = registry.begin(wanted, of: service, now: now)
            change.instances.append(id)
            change.begun.append(id)
            return [id]
        }
        line = registry.lines.insert(NameLine(wanted, of: service, plan: registry.plans.use(wanted.polling)))
        let name = registry.lines[line].name
        if beliefs[name] == nil { change.begunNames.append(name) }
        beliefs[name, default: Belief()].lines.append(line)
        begin(beliefs[name]?.targets ?? [], of: line, &registry, now: now, &change)
        return registry.lines[line].members
    }

    private func modify(
        _ id: Registry.InstanceID, _ wanted: Instance, _ weight: UInt8, _ registry: inout Registry,
        _ change: inout MembershipChange
    ) {
        let priority = registry.instances[id].priority
        if priority != wanted.polling.priority || registry.instances[id].weight != weight {
            registry.instances[id].weight = weight
            change.instances.append(id)
        }
        if let before = registry.modify(id, wanted.polling) { change.repolled.append((id, before)) }
    }

    /// The configuration names the line no longer. Its instances are ended by the caller.
    private mutating func end(_ line: Registry.LineID, _ registry: inout Registry, _ change: inout MembershipChange) {
        let name = registry.lines[line].name
        change.goneInstances += registry.lines[line].members
        registry.plans.giveBack(registry.lines[line].plan)
        registry.lines.discard(line)
        beliefs[name]?.lines.removeAll { $0 == line }
        if beliefs[name]?.lines.isEmpty ?? false {
            beliefs[name] = nil
            change.goneNames.append(name)
        }
    }

    // MARK: Names

    /// A name says where it leads. Returns what has come and gone, and whether addresses are held back that were not before.
    mutating func receive(
        _ change: SourceChange<NameTarget>, of name: SourceName, _ registry: inout Registry, now: UInt64
    ) -> (MembershipChange, beginsToHold: Bool) {
        guard beliefs[name] != nil, case .reset(let targets) = change.content else {
            return (MembershipChange(), false)
        }
        var shares: [SocketAddress: NameTarget.ServiceShare] = [:]
        for target in targets { shares[target.address] = target.service }
        for (address, share) in beliefs[name]?.shares ?? [:] where shares[address] == nil { shares[address] = share }
        let beginsToHold = beliefs[name]?.addresses.receive(targets.map(\.address)) ?? false
        let believed = Set(beliefs[name]?.addresses.believed ?? [])
        beliefs[name]?.shares = shares.filter { believed.contains($0.key) }
        return (apply(name, &registry, now: now), beginsToHold)
    }

    /// The addresses that a name had before a restart. Nil: something is known of it already.
    mutating func restore(
        _ targets: [NameTarget], of name: SourceName, _ registry: inout Registry, now: UInt64
    ) -> MembershipChange? {
        guard let belief = beliefs[name], belief.addresses.believed.isEmpty else { return nil }
        _ = beliefs[name]?.addresses.receive(targets.map(\.address))
        for target in targets { beliefs[name]?.shares[target.address] = target.service }
        return apply(name, &registry, now: now)
    }

    /// A poll of this instance has failed: an address that is only held goes.
    mutating func pollFailed(_ id: Registry.InstanceID, _ registry: inout Registry, now: UInt64) -> MembershipChange? {
        guard let line = registry.instances[id].line, var address = registry.instances[id].address else { return nil }
        if registry.lines[line].port != nil { address.port = 0 }
        let name = registry.lines[line].name
        guard beliefs[name]?.addresses.failed(address) ?? false else { return nil }
        return apply(name, &registry, now: now)
    }

    /// Gives each line of a name the instances that are believed.
    private mutating func apply(_ name: SourceName, _ registry: inout Registry, now: UInt64) -> MembershipChange {
        var change = MembershipChange()
        let targets = beliefs[name]?.targets ?? []
        for line in beliefs[name]?.lines ?? [] {
            let before = registry.lines[line].members
            let wanted = Set(targets.map { registry.lines[line].address($0) })
            let gone = before.filter { id in
                registry.instances[id].address.map { !wanted.contains($0) } ?? !targets.isEmpty
            }
            for target in targets {
                guard let share = target.service,
                    let id = before.first(where: { registry.instances[$0].address == target.address })
                else { continue }
                if registry.modify(id, share) { change.instances.append(id) }
            }
            let present = Set(before.compactMap { registry.instances[$0].address })
            let new = targets.filter { !present.contains(registry.lines[line].address($0)) }
            guard !gone.isEmpty || !new.isEmpty else { continue }
            begin(new, of: line, leaving: gone, &registry, now: now, &change)
            change.goneInstances += gone
            // The first of them says where the line stands.
            registry.replace(before, by: registry.lines[line].members, of: registry.lines[line].service)
            change.hasOtherOrder = true
        }
        for id in change.goneInstances { registry.end(id) }
        registry.conclude(change)
        return change
    }

    /// Begins instances of a line; without any target and without any other instance, one that has no address. New ones are drained where
    /// all others are.
    private func begin(
        _ targets: [NameTarget], of line: Registry.LineID, leaving gone: [Registry.InstanceID] = [],
        _ registry: inout Registry, now: UInt64, _ change: inout MembershipChange
    ) {
        let before = registry.lines[line].members
        let isDrained = !before.isEmpty && before.allSatisfy { registry.instances[$0].isDraining }
        let since = before.first.map { registry.instances[$0].drainingSince } ?? 0
        let gone = Set(gone)
        var members = before.filter { !gone.contains($0) }
        var wanted = targets.map(Optional.some)
        if members.isEmpty, wanted.isEmpty { wanted = [nil] }
        for target in wanted {
            guard members.isEmpty || registry.instances.count < Limits.configuredInstances else { break }
            let id = registry.begin(target, of: line, now: now)
            if isDrained { registry.inheritDrain(id, since: since) }
            members.append(id)
            change.instances.append(id)
            change.begun.append(id)
        }
        // Whether people see their addresses is something else for forwarders.
        if (before.count > 1) != (members.count > 1) { change.instances += before.filter { !gone.contains($0) } }
        registry.lines[line].members = registry.inOrderOfAddress(members)
    }
}
