import Shared

/// Chooses an instance for a request, from the best group with room. Pure: requests and `explain` use it.
enum Chooser {
    /// `percent`: slow start, the percentage of its requests that an instance gets. `load`: called with whether an instance on trial takes
    /// more than one request at a time.
    @inline(__always)
    static func choose<D: Dice>(
        _ policy: BalancePolicy, _ ranking: Ranking, excluding excluded: ExclusionSet, key: UInt64, turn: inout Int,
        dice: inout D, percent: (Int) -> UInt64, load: (Int, _ triesFreely: Bool) -> Balancer.Load
    ) -> Balancer.Pick {
        var result = pick(policy, ranking.groups, excluded, key, &turn, &dice) { load($0, false) }
        if case .instance(let instance) = result {
            let percent = percent(instance)
            guard percent < 100, !dice.welcomes(percent: percent) else { return result }
            // A returned instance gets a growing share of its requests; the rest goes to another one.
            var others = excluded
            others.insert(instance)
            let other = pick(policy, ranking.groups, others, key, &turn, &dice) { load($0, false) }
            if case .instance = other { return other }
            return result
        }
        // If no other instance has room, an instance on trial takes more than one request.
        if result == .full {
            result = pick(policy, ranking.groups, excluded, key, &turn, &dice) { load($0, true) }
            if result != .none { return result }
        }
        let last = pick(policy, ranking.lastResort, excluded, key, &turn, &dice) { load($0, true) }
        return last == .none ? result : last
    }

    /// Picks from the first group with room.
    @inline(__always)
    private static func pick<D: Dice>(
        _ policy: BalancePolicy, _ groups: [Ranking.Group], _ excluded: ExclusionSet, _ key: UInt64, _ turn: inout Int,
        _ dice: inout D, load: (Int) -> Balancer.Load
    ) -> Balancer.Pick {
        var result = Balancer.Pick.none
        for index in groups.indices {
            let one = Balancer.pick(
                policy, groups[index], excluding: excluded, key: key, turn: &turn, dice: &dice, load: load)
            if case .instance = one { return one }
            if one == .full { result = .full }
        }
        return result
    }
}
