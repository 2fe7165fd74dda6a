import Shared

/// What has come, gone or changed among services and instances.
struct MembershipChange {
    /// Services whose paths or policy are new or others.
    var services: [Registry.ServiceID] = []
    /// Instances that are new, or have another weight or priority.
    var instances: [Registry.InstanceID] = []
    /// Ids that name nothing any more, or something else from the next change on.
    var goneServices: [Registry.ServiceID] = []
    var goneInstances: [Registry.InstanceID] = []
    /// Instances that are new.
    var begun: [Registry.InstanceID] = []
    /// Instances that are polled in another way, with the way before.
    var repolled: [(id: Registry.InstanceID, before: Polling)] = []
    /// Names that are looked up from now on, and names that are not looked up any more.
    var begunNames: [SourceName] = []
    var goneNames: [SourceName] = []
    /// What is the same for all services is another.
    var hasOtherSettings = false
    /// Services or instances stand in another order, by which the first version of the protocol counts them.
    var hasOtherOrder = false

    /// Forwarders have nothing to learn from it.
    var isEmpty: Bool {
        services.isEmpty && instances.isEmpty && goneServices.isEmpty && goneInstances.isEmpty && !hasOtherSettings
    }
}

/// By what an instance is known outside this process.
struct InstanceName: Hashable, Sendable {
    let service: String
    /// As it is written.
    let url: String
    /// Of a name: which of its addresses.
    var address: SocketAddress?

    /// Within the service.
    var label: String { SnapshotInstance.label(url, address) }
}
