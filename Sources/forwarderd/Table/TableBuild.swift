import Shared

/// A snapshot on its way to becoming the table, beside the one in use.
struct TableBuild {
    enum Phase {
        /// Instances are given their slots.
        case placing
        /// The table is in use; slots from `next` on are searched for instances that it does not name.
        case retiring(next: Int)
    }

    /// Services that were taken over are freed at once: freeing all of them together would take long, too.
    private(set) var snapshot: Snapshot
    /// Written into each slot that this one names.
    let number: UInt32
    var phase = Phase.placing
    /// The next service and the next of its instances.
    private(set) var service = 0
    private(set) var instance = 0

    /// The services of the new table, by their index in `Table.services`.
    private(set) var lists: [(index: Int, policy: ServicePolicy, instances: [Slab<InstanceSlot>.Index])] = []
    var instanceByID: [Slab<InstanceSlot>.Index] = []
    var routes = RouteTable()
    var paths: [PathRow] = []

    init(_ snapshot: Snapshot, number: UInt32) {
        self.snapshot = snapshot
        self.number = number
    }

    var isPlaced: Bool { service == snapshot.services.count }

    mutating func begin(_ index: Int) {
        lists.append((index, snapshot.services[service].policy, []))
    }

    mutating func take(_ slot: Slab<InstanceSlot>.Index) {
        lists[lists.count - 1].instances.append(slot)
        instanceByID.append(slot)
        instance += 1
    }

    mutating func endService() {
        let (name, paths) = (snapshot.services[service].name, snapshot.services[service].paths)
        routes.add(paths, service: lists[lists.count - 1].index)
        for path in paths { self.paths.append(PathRow(key: CounterKey.hash(.path, name, path))) }
        snapshot.services[service] = SnapshotService(name: "", paths: [], policy: ServicePolicy())
        service += 1
        instance = 0
    }
}
