import Shared

/// What the ids of snapshots, changes and deltas name in the table.
struct SnapshotIDs {
    /// By the ids, which are small numbers.
    private var instances: [Slab<InstanceSlot>.Index?] = []
    private var services: [Int?] = []

    func instance(_ id: Int) -> Slab<InstanceSlot>.Index? { id < instances.count ? instances[id] : nil }
    func service(_ id: Int) -> Int? { id < services.count ? services[id] : nil }

    /// `slot` nil: the id names nothing any more.
    mutating func name(instance id: Int, _ slot: Slab<InstanceSlot>.Index?) {
        if instances.count <= id {
            if slot == nil { return }
            instances += Array(repeating: nil, count: id + 1 - instances.count)
        }
        instances[id] = slot
    }

    /// `index` nil: the id names nothing any more.
    mutating func name(service id: Int, _ index: Int?) {
        if services.count <= id {
            if index == nil { return }
            services += Array(repeating: nil, count: id + 1 - services.count)
        }
        services[id] = index
    }
}
