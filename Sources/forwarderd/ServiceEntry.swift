import Shared

/// One service of the present table.
struct ServiceEntry {
    let name: String
    var instances: [Int32]
    var policy = ServicePolicy()
    var ranking = Ranking()
    /// A fact has changed since the ranking was made.
    var isStale = true
    /// Requests in progress, and how many of them are retries: the retry budget.
    var active = 0
    var retrying = 0
    /// For round robin.
    var turn = 0
    /// This forwarder's share of the connections to one instance.
    var connectionsPerInstance = Int.max
    var queue = WaitingQueue()

    init(name: String) {
        self.name = name
        instances = []
    }

    /// Whether one more retry is within the budget: a share of the requests in progress, at least 3.
    var allowsRetry: Bool {
        policy.retryBudgetPercent > 0
            && retrying < max(Limits.retryBudgetMinimum, active * policy.retryBudgetPercent / 100)
    }

    /// The limits are for all forwarders together.
    mutating func take(_ share: Share) {
        connectionsPerInstance = policy.maxConnections.map(share.part(of:)) ?? .max
        queue.capacity = policy.maxConnections == nil || policy.queue == 0 ? 0 : share.part(of: policy.queue)
    }
}

/// Requests that wait for an instance with room, first come first served.
struct WaitingQueue {
    struct Entry: Equatable {
        let slot: Int
        let generation: UInt32
    }

    private var entries: [Entry] = []
    private var head = 0
    var capacity = 0

    var count: Int { entries.count - head }
    var isFull: Bool { count >= capacity }
    var isEmpty: Bool { head == entries.count }
    /// Whoever has waited longest.
    var first: Entry? { entry(0) }

    /// In the order of waiting.
    func entry(_ index: Int) -> Entry? { index < count ? entries[head + index] : nil }

    mutating func append(_ entry: Entry) { entries.append(entry) }

    /// Whoever goes on, or gives up waiting, leaves its place.
    mutating func remove(_ entry: Entry) {
        guard let index = entries[head...].firstIndex(of: entry) else { return }
        if index > head {
            entries.remove(at: index)
            return
        }
        head += 1
        // What has been left is dropped when it is half of the whole.
        if head * 2 >= entries.count {
            entries.removeFirst(head)
            head = 0
        }
    }
}

/// Instances that failed a request: it does not go to them again.
struct ExclusionSet {
    private var slots = InlineArray<8, Int32>(repeating: -1)
    private(set) var count = 0

    mutating func insert(_ slot: Int) {
        if count < 8 {
            slots[count] = Int32(truncatingIfNeeded: slot)
            count &+= 1
        }
    }

    @inline(__always)
    func contains(_ slot: Int32) -> Bool {
        var index = 0
        while index < count {
            if slots[index] == slot { return true }
            index &+= 1
        }
        return false
    }
}
