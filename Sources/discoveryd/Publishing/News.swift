import Shared

/// What a subscriber has not been told yet: marks, not messages, so that a slow one gets the newest state and nothing overflows.
struct News {
    /// Instances whose state has changed.
    private(set) var states = MarkSet<RegisteredInstance>()
    /// Services and instances that are new or have changed otherwise.
    private(set) var services = MarkSet<RegisteredService>()
    private(set) var instances = MarkSet<RegisteredInstance>()
    /// Ids that name nothing any more.
    private(set) var goneServices = MarkSet<RegisteredService>()
    private(set) var goneInstances = MarkSet<RegisteredInstance>()
    private(set) var hasSettings = false
    /// A new version has begun since the last was told, even if nothing of it is left to be said.
    private(set) var hasVersion = false

    var hasStates: Bool { !states.isEmpty }
    var hasMembers: Bool {
        hasSettings || !services.isEmpty || !instances.isEmpty || !goneServices.isEmpty || !goneInstances.isEmpty
    }
    /// Services and instances that have come, gone or changed.
    var memberCount: Int { services.count + instances.count + goneServices.count + goneInstances.count }

    mutating func mark(_ changed: [Registry.InstanceID]) {
        for id in changed { states.insert(id) }
        hasVersion = true
    }

    mutating func mark(_ change: MembershipChange) {
        for id in change.goneInstances {
            goneInstances.insert(id)
            states.remove(id)
            instances.remove(id)
        }
        for id in change.goneServices {
            goneServices.insert(id)
            services.remove(id)
        }
        for id in change.services { services.insert(id) }
        for id in change.instances { instances.insert(id) }
        if change.hasOtherSettings { hasSettings = true }
        hasVersion = true
    }

    /// The subscriber has been told the states of these.
    mutating func told(_ ids: [Registry.InstanceID]) { for id in ids { states.remove(id) } }

    mutating func takeStates(_ limit: Int) -> [Registry.InstanceID] {
        defer { hasVersion = !states.isEmpty }
        return states.takeFirst(limit)
    }

    /// What has come, gone or changed. An id that is used again is not gone: who is told of another owner drops the former one.
    mutating func takeMembers() -> MembershipChange {
        var change = MembershipChange()
        change.services = services.takeFirst(.max)
        change.instances = instances.takeFirst(.max)
        for id in change.services { goneServices.remove(id) }
        for id in change.instances {
            goneInstances.remove(id)
            states.remove(id)
        }
        change.goneServices = goneServices.takeFirst(.max)
        change.goneInstances = goneInstances.takeFirst(.max)
        change.hasOtherSettings = hasSettings
        hasSettings = false
        hasVersion = !states.isEmpty
        return change
    }
}
