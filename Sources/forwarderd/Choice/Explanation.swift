import Shared

/// What `Chooser` would do with a request now, and why not otherwise. Pure: the facts of the instances go in.
struct Explanation {
    /// An instance as the chooser sees it.
    struct Subject {
        var slot: Int32
        var facts: Ranking.Facts
        var load: Balancer.Load
        /// Its ejection is over and nothing has come of it yet: it takes one request at a time.
        var isOnTrial = false
        /// Slow start: of a hundred requests, those that it gets.
        var percent: UInt64 = 100

        /// The chooser's view: with a request under way, one on trial has no room.
        func load(triesFreely: Bool) -> Balancer.Load {
            var load = load
            if isOnTrial, load.outstanding > 0, !triesFreely { load.isFull = true }
            return load
        }
    }

    enum Standing: String {
        /// The request may go there now.
        case chosen
        /// It could take the request; another is better.
        case passed
        /// It gets none.
        case excluded
    }

    struct Verdict {
        var slot: Int32
        var standing: Standing
        var reason: String
        /// Microseconds, where that is what counts and something is known of it.
        var expectedWait: Double?
    }

    /// In the order of the service's instances.
    private(set) var verdicts: [Verdict] = []
    /// Those that the request may go to: several where chance decides.
    private(set) var choice: [Int32] = []
    /// Nobody has room, though some could have.
    private(set) var isFull = false

    private let policy: BalancePolicy
    private let ranking: Ranking
    private let subjects: [Subject]
    private let key: UInt64
    /// What the key is the hash of, in words.
    private let hashed: String?
    private let turn: Int

    init(
        _ policy: BalancePolicy, _ ranking: Ranking, _ subjects: [Subject], key: UInt64, hashed: String? = nil,
        turn: Int
    ) {
        self.policy = policy
        self.ranking = ranking
        self.subjects = subjects
        self.key = key
        self.hashed = hashed
        self.turn = turn
        let bySlot = Dictionary(subjects.map { ($0.slot, $0) }) { first, _ in first }
        let deciding = decide(bySlot)
        verdicts = subjects.map { verdict($0, deciding, bySlot) }
    }

    // MARK: The choice

    /// The group that the choice comes from, and whether it is one of the last resort.
    private struct Deciding {
        let group: Ranking.Group
        let isLastResort: Bool
        /// It takes more than one request at a time to those on trial.
        let triesFreely: Bool
    }

    private mutating func decide(_ bySlot: [Int32: Subject]) -> Deciding? {
        func roomy(_ group: Ranking.Group, _ triesFreely: Bool) -> [Int32] {
            group.slots.filter { !(bySlot[$0]?.load(triesFreely: triesFreely).isFull ?? true) }
        }
        let stages: [(groups: [Ranking.Group], triesFreely: Bool)] = [
            (ranking.groups, false), (ranking.groups, true), (ranking.lastResort, true),
        ]
        for (number, stage) in stages.enumerated() {
            for group in stage.groups {
                if !group.slots.isEmpty { isFull = true }
                let roomy = roomy(group, stage.triesFreely)
                if roomy.isEmpty { continue }
                isFull = false
                let deciding = Deciding(group: group, isLastResort: number == 2, triesFreely: stage.triesFreely)
                choice = leavesNothingToChance ? asked(bySlot) : picked(deciding, roomy, bySlot)
                if number == 0, !leavesNothingToChance { addThoseThatStandIn(bySlot) }
                return deciding
            }
            // Only where all are full is an instance on trial asked further, or the last resort.
            if number == 1, isFull { return nil }
        }
        return nil
    }

    private var leavesNothingToChance: Bool {
        switch policy {
        case .roundRobin, .hash: true
        case .availability, .leastRequests, .random, .peakEWMA: false
        }
    }

    /// Without dice the chooser itself says which: with slow start for the one that its turn or hash names, and against it.
    private func asked(_ bySlot: [Int32: Subject]) -> [Int32] {
        func ask(_ welcome: UInt64) -> Int32? {
            var (turn, random) = (turn, SplitMix(seed: 0))
            let pick = Chooser.choose(
                policy, ranking, excluding: ExclusionSet(), key: key, turn: &turn, random: &random,
                percent: { bySlot[Int32(truncatingIfNeeded: $0)]?.percent ?? 100 < 100 ? welcome : 100 },
                load: {
                    bySlot[Int32(truncatingIfNeeded: $0)]?.load(triesFreely: $1) ?? Balancer.Load.none
                })
            if case .instance(let slot) = pick { return Int32(truncatingIfNeeded: slot) }
            return nil
        }
        let picks = [ask(100), ask(0)].compactMap { $0 }
        return picks.count == 2 && picks[0] == picks[1] ? [picks[0]] : picks
    }

    /// Slow start: what is not for one that has just come back goes to the next best.
    private mutating func addThoseThatStandIn(_ bySlot: [Int32: Subject]) {
        for newcomer in choice where bySlot[newcomer]?.percent ?? 100 < 100 {
            for group in ranking.groups {
                let roomy = group.slots.filter {
                    $0 != newcomer && !(bySlot[$0]?.load(triesFreely: false).isFull ?? true)
                }
                if roomy.isEmpty { continue }
                let deciding = Deciding(group: group, isLastResort: false, triesFreely: false)
                for slot in picked(deciding, roomy, bySlot) where !choice.contains(slot) { choice.append(slot) }
                break
            }
        }
    }

    /// All that the policy may pick of a group's instances with room, whatever the dice say.
    private func picked(_ deciding: Deciding, _ roomy: [Int32], _ bySlot: [Int32: Subject]) -> [Int32] {
        func load(_ slot: Int32) -> Balancer.Load {
            bySlot[slot]?.load(triesFreely: deciding.triesFreely) ?? Balancer.Load.none
        }
        switch policy {
        case .availability, .leastRequests:
            let least = roomy.map(load).min { $0.outstanding * $1.weight < $1.outstanding * $0.weight } ?? .none
            return roomy.filter { load($0).outstanding * least.weight == least.outstanding * load($0).weight }
        case .peakEWMA where deciding.group.slots.count <= 3:
            let least = roomy.map { Balancer.wait(load($0)) }.min() ?? 0
            return roomy.filter { Balancer.wait(load($0)) == least }
        case .peakEWMA, .random, .roundRobin, .hash: return roomy
        }
    }

    // MARK: The reasons

    private func verdict(_ subject: Subject, _ deciding: Deciding?, _ bySlot: [Int32: Subject]) -> Verdict {
        func say(_ standing: Standing, _ reason: String) -> Verdict {
            Verdict(slot: subject.slot, standing: standing, reason: reason, expectedWait: expectedWait(subject))
        }
        let facts = subject.facts
        if choice.contains(subject.slot) {
            if deciding?.isLastResort == true {
                return say(.chosen, "last resort: " + (Self.exclusion(facts) ?? "nobody is left"))
            }
            let slow = subject.percent < 100 ? "; slow start, \(subject.percent) %" : ""
            return say(.chosen, words + slow)
        }
        if let reason = Self.exclusion(facts) { return say(.excluded, reason) }
        if subject.load.isFull { return say(.excluded, "full: \(subject.load.outstanding) requests under way") }
        if subject.load(triesFreely: deciding?.triesFreely ?? false).isFull {
            return say(.excluded, "on trial after an ejection, with a request under way")
        }
        guard let deciding, let first = deciding.group.slots.first, let best = bySlot[first] else {
            return say(.passed, "not asked")
        }
        if deciding.group.slots.contains(subject.slot) { return say(.passed, "behind: " + words) }
        if facts.priority != best.facts.priority {
            return say(.passed, "priority \(facts.priority.name) comes after \(best.facts.priority.name)")
        }
        return say(
            .passed,
            "availability \(facts.availability.map { "\($0)" } ?? "unknown") is more than \(Ranking.entersWithin) points below the best"
        )
    }

    private func expectedWait(_ subject: Subject) -> Double? {
        guard policy == .peakEWMA, subject.load.latency > 0 else { return nil }
        let wait = Balancer.wait(subject.load)
        return wait.isFinite ? min(max(0, wait), 1e15) : nil
    }

    /// Why polls, evidence or an operator keep requests from an instance; nil: nothing does.
    private static func exclusion(_ facts: Ranking.Facts) -> String? {
        if facts.isDraining { return "draining" }
        if facts.status == .down { return "down" }
        if facts.status == .unknown { return "never polled yet" }
        if facts.isSuspect { return "suspect" }
        if facts.isEjected { return "ejected" }
        if !facts.hasAddress { return "no address has answered a poll" }
        return nil
    }

    /// What the policy looks at.
    private var words: String {
        switch policy {
        case .availability, .leastRequests: "fewest requests under way for its weight"
        case .roundRobin: "its turn"
        case .random: "by chance"
        case .peakEWMA: "shortest expected wait"
        case .hash(let by): hashed ?? "hash of \(by.text)"
        }
    }
}

extension Balancer.Load {
    static let none = Balancer.Load(outstanding: 0, weight: 1, isFull: true, latency: 0, hash: 0)
}
