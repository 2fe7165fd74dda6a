import Shared

/// By what people know services and instances.
extension Registry {
    func name(_ id: InstanceID) -> InstanceName { InstanceName(service: serviceName(id), url: instances[id].url) }

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

    /// The instance of a service by its address as written.
    func find(service: String, instance: String) -> InstanceID? {
        members(of: service)?.first { instances[$0].url == instance }
    }

    /// Several of one service in the order of their names; what is not there is left out. One pass, however many they are.
    func find(service: String, instances names: [String]) -> [InstanceID] {
        guard let members = members(of: service) else { return [] }
        var places: [String: Int] = [:]
        for (place, name) in names.enumerated() { places[name] = place }
        return members.compactMap { id in places[instances[id].url].map { ($0, id) } }
            .sorted { $0.0 < $1.0 }.map(\.1)
    }
}
