import Shared

/// Chooses an instance for one request: from the best group that has one with room. Pure; requests and explanations go
/// through it alike.
enum Chooser {
    /// `percent`: of a hundred requests that would be an instance's, those that it gets (slow start). `load`: with whether an
    /// instance on trial takes more than one request at a time.
    @inline(__always)
    static func choose<D: Dice>(
        _ policy: BalancePolicy, _ ranking: Ranking, excluding excluded: ExclusionSet, key: UInt64, turn: inout Int,
        dice: inout D, percent: (Int) -> UInt64, load: (Int, _ triesFreely: Bool) -> Balancer.Load
    ) -> Balancer.Pick {
        var result = pick(policy, ranking.groups, excluded, key, &turn, &dice) { load($0, false) }
        if case .instance(let instance) = result {
            let percent = percent(instance)
            guard percent < 100, !dice.welcomes(percent: percent) else { return result }
            // One that has just come back gets a growing share of what would be its; the rest goes on to another.
            var others = excluded
            others.insert(instance)
            let other = pick(policy, ranking.groups, others, key, &turn, &dice) { load($0, false) }
            if case .instance = other { return other }
            return result
        }
        // Nobody waits for the trial of an instance while no other has room.
        if result == .full {
            result = pick(policy, ranking.groups, excluded, key, &turn, &dice) { load($0, true) }
            if result != .none { return result }
        }
        let last = pick(policy, ranking.lastResort, excluded, key, &turn, &dice) { load($0, true) }
        return last == .none ? result : last
    }

    /// From the first group that has one with room.
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
