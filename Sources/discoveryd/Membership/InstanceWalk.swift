import Shared

/// A way through all instances, service by service in their order, for answers that are made in pieces. An instance that comes or goes
/// meanwhile may move the next one by a place.
struct InstanceWalk {
    private var service = 0
    private var member = 0

    /// The present instance; nil at the end.
    mutating func current(_ registry: borrowing Registry) -> Registry.InstanceID? {
        while service < registry.order.count {
            let members = registry.services[registry.order[service]].instances
            if member < members.count { return members[member] }
            service += 1
            member = 0
        }
        return nil
    }

    mutating func advance() { member += 1 }
}
