import Shared

/// By what people know services and instances.
extension Registry {
    func name(_ id: InstanceID) -> InstanceName {
        InstanceName(
            service: serviceName(id), url: instances[id].url,
            address: instances[id].line == nil ? nil : instances[id].address)
    }

    /// Whether it is an instance of a name that has several addresses: then people see the address beside the name.
    func isOneOfSeveral(_ id: InstanceID) -> Bool {
        instances[id].line.map { lines[$0].members.count > 1 } ?? false
    }

    /// As logs show it: service, name, and the address where the name has several.
    func shownName(_ id: InstanceID) -> String {
        let address = isOneOfSeveral(id) ? instances[id].address.map { " (\($0))" } ?? "" : ""
        return "\(serviceName(id)) \(instances[id].url)\(address)"
    }

    /// The id of each instance by its name.
    var ids: [InstanceName: InstanceID] {
        var ids: [InstanceName: InstanceID] = [:]
        ids.reserveCapacity(instances.count)
        for id in instances.indices { ids[name(id)] = id }
        return ids
    }

    func count(of status: InstanceStatus) -> Int {
        var count = 0
        for id in instances.indices where instances[id].health.status == status { count += 1 }
        return count
    }

    var serviceNames: [String] { order.map { services[$0].name } }

    /// The instance of a service by its name and, where that has several, by its address.
    func find(service: String, instance: String, address: SocketAddress?) -> InstanceID? {
        members(of: service)?.first {
            instances[$0].url == instance
                && (address == nil || instances[$0].line == nil || instances[$0].address == address)
        }
    }

    /// Several of one service in the order of what people see of them; what is not there is left out. One pass, however many they are.
    func find(service: String, labels: [String]) -> [InstanceID] {
        guard let members = members(of: service) else { return [] }
        var places: [String: Int] = [:]
        for (place, label) in labels.enumerated() { places[label] = place }
        return members.compactMap { id in
            let address = isOneOfSeveral(id) ? instances[id].address : nil
            return places[SnapshotInstance.label(instances[id].url, address)].map { ($0, id) }
        }
        .sorted { $0.0 < $1.0 }.map(\.1)
    }

    /// Those of a service that are meant by what a command says: all that a line stands for, or what is at an address.
    func find(service: String, nameOrAddress text: String) -> [InstanceID] {
        guard let members = members(of: service) else { return [] }
        let named = members.filter { instances[$0].url == text }
        if !named.isEmpty { return named }
        guard let address = SocketAddress(hostPort: text) else { return [] }
        return members.filter { instances[$0].address == address }
    }

    /// `id`: by which the subscriber knows it.
    func snapshotInstance(_ instance: InstanceID, id: Int) -> SnapshotInstance {
        let entry = instances[instance]
        return SnapshotInstance(
            id: id, url: entry.url, address: name(instance).address, isOneOfSeveral: isOneOfSeveral(instance),
            authority: String(authority(instance)),
            priority: entry.priority, tier: Int(entry.tier), weight: Int(entry.weight), state: entry.state)
    }
}
