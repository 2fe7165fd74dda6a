import Shared

/// One service as discoveryd knows it.
struct RegisteredService {
    let name: String
    var paths: [String]
    var policy: ServicePolicy
    var availabilityWindowMilliseconds: UInt64
    /// In the order in which people know them.
    var instances: [Registry.InstanceID] = []

    init(_ service: Service) {
        name = service.name
        paths = service.paths
        policy = service.policy
        availabilityWindowMilliseconds = service.availabilityWindowMilliseconds
    }
}
