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
    private(set) var lists: [List] = []
    var ids = SnapshotIDs()
    var routes = RouteTable()
    var paths: [PathRow] = []

    struct List {
        let index: Int
        let policy: ServicePolicy
        var instances: [Slab<InstanceSlot>.Index] = []
        var paths: [Int] = []
    }

    init(_ snapshot: Snapshot, number: UInt32) {
        self.snapshot = snapshot
        self.number = number
    }

    var isPlaced: Bool { service == snapshot.services.count }

    mutating func begin(_ index: Int) {
        lists.append(List(index: index, policy: snapshot.services[service].policy))
        ids.name(service: snapshot.services[service].id, index)
    }

    mutating func take(_ slot: Slab<InstanceSlot>.Index, id: Int) {
        lists[lists.count - 1].instances.append(slot)
        ids.name(instance: id, slot)
        instance += 1
    }

    mutating func endService() {
        let (name, paths) = (snapshot.services[service].name, snapshot.services[service].paths)
        let last = lists.count - 1
        for path in paths {
            lists[last].paths.append(routes.add(path, service: lists[last].index))
            self.paths.append(PathRow(key: CounterKey.hash(.path, name, path)))
        }
        snapshot.services[service] = SnapshotService(name: "", paths: [], policy: ServicePolicy())
        service += 1
        instance = 0
    }
}
