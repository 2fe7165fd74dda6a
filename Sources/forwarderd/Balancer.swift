import Shared

/// Which instance a request goes to. Pure: the facts of the instances go in, a ranking comes out; the ranking is made
/// again when a fact changes, and a request only looks for the least busy of the equals.
struct Ranking: Equatable {
    /// The best: candidates of the highest priority that has any, of nearly the best availability.
    var equals: [Int32] = []
    /// All other candidates of any priority, best first.
    var others: [Int32] = []
    /// When no candidate is left: never polled yet, then those that only this forwarder's own evidence excludes.
    var lastResort: [Int32] = []

    /// What the ranking looks at.
    struct Facts: Equatable {
        var isCandidate: Bool
        var status: InstanceStatus
        var isDraining: Bool
        var isEjected: Bool
        var isSuspect: Bool
        var priority: Priority
        /// Whole points; nil with too little evidence: counts as the tier's median.
        var availability: Int?
        var hasAddress: Bool
    }

    static let entersWithin = 5

    init() {}

    init(_ instances: [(slot: Int32, facts: Facts)]) {
        for priority in Priority.allCases {
            let tier = instances.filter { $0.facts.priority == priority && $0.facts.isCandidate }
            if tier.isEmpty { continue }
            let known = tier.compactMap(\.facts.availability).sorted()
            let median = known.isEmpty ? 100 : known[known.count / 2]
            let ranked = tier.map { (slot: $0.slot, points: $0.facts.availability ?? median) }.sorted {
                $0.points > $1.points
            }
            let best = ranked[0].points
            var count = ranked.prefix { $0.points >= best - Self.entersWithin }.count
            // Fewer than half of the tier: the next in order join, or the few would carry it all.
            count = max(count, (ranked.count + 1) / 2)
            if equals.isEmpty {
                equals = ranked[..<count].map(\.slot)
                others = ranked[count...].map(\.slot)
            } else {
                others += ranked.map(\.slot)
            }
        }
        let unknown = instances.filter {
            $0.facts.status == .unknown && !$0.facts.isDraining && !$0.facts.isEjected && $0.facts.hasAddress
        }
        let doubted = instances.filter {
            $0.facts.status == .up && !$0.facts.isDraining && $0.facts.hasAddress && !$0.facts.isCandidate
        }
        lastResort = (unknown + doubted).map(\.slot)
    }
}

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

    /// Whether one more retry is within the budget: 20 % of the requests in progress, at least 3.
    var allowsRetry: Bool {
        retrying < max(Limits.retryBudgetMinimum, active * Limits.retryBudgetPercent / 100)
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

    func contains(_ slot: Int32) -> Bool {
        var index = 0
        while index < count {
            if slots[index] == slot { return true }
            index &+= 1
        }
        return false
    }

    mutating func removeAll() { count = 0 }
}
