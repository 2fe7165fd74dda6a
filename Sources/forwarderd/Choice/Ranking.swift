import Shared

/// The instances that a request may go to, in groups, best first. Pure: made from the instances' facts, and again after a fact has changed.
/// `Balancer` picks an instance from the first group with room.
struct Ranking: Equatable {
    /// Instances among which the balance policy picks.
    struct Group: Equatable {
        var slots: [Int32] = []
        /// Round robin: the turns of each instance, its weight in lowest terms.
        var turns: [Int] = []
        var totalTurns = 0
        /// The step from turn to turn: coprime to `totalTurns`, so that every turn comes, and near its golden section, so that the turns
        /// of an instance are spread.
        var stride = 1

        init(_ members: [(slot: Int32, weight: Int)]) {
            slots = members.map(\.slot)
            let divisor = members.reduce(0) { Self.greatestCommonDivisor($0, $1.weight) }
            turns = members.map { $0.weight / max(1, divisor) }
            totalTurns = turns.reduce(0, +)
            stride = max(1, totalTurns * 618 / 1000)
            while stride > 1, Self.greatestCommonDivisor(stride, totalTurns) != 1 { stride -= 1 }
        }

        private static func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int {
            b == 0 ? a : greatestCommonDivisor(b, a % b)
        }
    }

    /// Candidates: for each priority and tier the equals, then the rest.
    var groups: [Group] = []
    /// Used if there is no candidate: instances that were never polled, then those excluded only by this forwarder's own evidence or by
    /// suspicion.
    var lastResort: [Group] = []

    /// What the ranking looks at.
    struct Facts: Equatable {
        var isCandidate: Bool
        var status: InstanceStatus
        var isDraining: Bool
        var isEjected: Bool
        var isSuspect: Bool
        var priority: Priority
        /// Within the priority; the lowest first.
        var tier = 0
        /// Whole points; nil with too little evidence: counts as the tier's median.
        var availability: Int?
        var hasAddress: Bool
        var weight = 1

        var rank: Int { priority.rawValue << 8 | tier }
    }

    static let entersWithin = 5

    init() {}

    /// `byAvailability`: only those of nearly the best availability are equals; otherwise all of a tier.
    init(_ instances: [(slot: Int32, facts: Facts)], byAvailability: Bool = true) {
        func group(_ members: some Sequence<(slot: Int32, facts: Facts)>) -> Group {
            Group(members.map { ($0.slot, $0.facts.weight) })
        }
        let candidates = instances.filter(\.facts.isCandidate)
        for rank in Set(candidates.map(\.facts.rank)).sorted() {
            let tier = candidates.filter { $0.facts.rank == rank }
            guard byAvailability else {
                groups.append(group(tier))
                continue
            }
            let known = tier.compactMap(\.facts.availability).sorted()
            let median = known.isEmpty ? 100 : known[known.count / 2]
            let ranked = tier.sorted { $0.facts.availability ?? median > $1.facts.availability ?? median }
            let best = ranked[0].facts.availability ?? median
            var count = ranked.prefix { $0.facts.availability ?? median >= best - Self.entersWithin }.count
            // Fewer than half of the tier: the next in order join, or the few would carry it all.
            count = max(count, (ranked.count + 1) / 2)
            groups.append(group(ranked[..<count]))
            if count < ranked.count { groups.append(group(ranked[count...])) }
        }
        let unknown = instances.filter {
            $0.facts.status == .unknown && !$0.facts.isDraining && !$0.facts.isEjected && $0.facts.hasAddress
        }
        let doubted = instances.filter {
            $0.facts.status == .up && !$0.facts.isDraining && $0.facts.hasAddress && !$0.facts.isCandidate
        }
        lastResort = [unknown, doubted].filter { !$0.isEmpty }.map(group)
    }
}
