import Shared

/// One service of the present table.
struct ServiceEntry {
    let name: String
    var instances: [Slab<InstanceSlot>.Index]
    /// The numbers of its API paths.
    var paths: [Int] = []
    /// Snapshots name it no longer; it stays until its last request has ended.
    var isGone = false
    var policy = ServicePolicy()
    var ranking = Ranking()
    /// A fact has changed since the ranking was made.
    var isStale = true
    /// Requests in progress, and how many of them have been moved more than once: the retry budget.
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
