import Shared

/// A line of the configuration that is a name: as many instances as the name has addresses, and while it has none, one without an address.
struct NameLine {
    let service: Registry.ServiceID
    /// As it is written: the name by which people know it.
    let url: String
    let name: SourceName
    /// The port of its addresses; nil: each address has its own (SRV).
    let port: UInt16?
    /// The port is written: a ping means this port.
    let hasExplicitPort: Bool
    /// Where in `url` the value for a Host field stands.
    let authorityPlace: (start: UInt8, count: UInt16)
    /// How its instances are polled.
    var plan: PollPlans.Index
    /// What the line says; a record of a service (SRV) may say something else of an address.
    var weight: UInt8
    var members: [Registry.InstanceID] = []

    init(_ instance: Instance, of service: Registry.ServiceID, plan: PollPlans.Index) {
        self.service = service
        url = instance.url
        name = SourceName(instance.endpoint.host, instance.endpoint.isService ? .service : .host)
        port = instance.endpoint.isService ? nil : instance.endpoint.port
        hasExplicitPort = instance.endpoint.hasExplicitPort
        authorityPlace = instance.endpoint.authorityPlace(in: instance.url)
        self.plan = plan
        weight = UInt8(clamping: instance.weight)
    }

    /// An address with the line's port.
    func address(_ target: NameTarget) -> SocketAddress {
        var address = target.address
        if let port { address.port = port }
        return address
    }
}
