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
        /// Slow start: the percentage of its requests that it gets.
        var percent: UInt64 = 100

        /// As the chooser sees it: an instance on trial with a request in flight has no room.
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
    /// The instances that the request may go to: several if chance decides.
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

    /// Runs the chooser itself, with dice that show every outcome.
    private mutating func decide(_ bySlot: [Int32: Subject]) -> Deciding? {
        var dice = AllOutcomes()
        let pick = choose(bySlot, &dice)
        isFull = pick == .full
        guard case .instance(let slot) = pick else { return nil }
        choice = dice.contenders
        let first = Int32(truncatingIfNeeded: slot)
        // Slow start: requests that a returned instance does not get go to the next best.
        for newcomer in dice.contenders where bySlot[newcomer]?.percent ?? 100 < 100 {
            var others = AllOutcomes(preferred: newcomer, welcomesNewcomers: false)
            _ = choose(bySlot, &others)
            for slot in others.contenders where !choice.contains(slot) { choice.append(slot) }
        }
        if let group = ranking.groups.first(where: { $0.slots.contains(first) }) {
            let isOnTrial = bySlot[first]?.load(triesFreely: false).isFull ?? false
            return Deciding(group: group, isLastResort: false, triesFreely: isOnTrial)
        }
        return ranking.lastResort.first { $0.slots.contains(first) }.map {
            Deciding(group: $0, isLastResort: true, triesFreely: true)
        }
    }

    private func choose(_ bySlot: [Int32: Subject], _ dice: inout AllOutcomes) -> Balancer.Pick {
        var turn = turn
        return Chooser.choose(
            policy, ranking, excluding: ExclusionSet(), key: key, turn: &turn, dice: &dice,
            percent: { bySlot[Int32(truncatingIfNeeded: $0)]?.percent ?? 100 },
            load: { bySlot[Int32(truncatingIfNeeded: $0)]?.load(triesFreely: $1) ?? Balancer.Load.none })
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
        if facts.priority == best.facts.priority, facts.tier != best.facts.tier {
            return say(.passed, "the priority of its record in DNS comes after that of others")
        }
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
