import Shared

/// Picks an instance of a group by the service's policy. Pure.
enum Balancer {
    /// What a policy looks at.
    struct Load {
        /// Requests in progress.
        var outstanding: Int
        /// 1 to 100.
        var weight: Int
        /// Its connections are all taken.
        var isFull: Bool
        /// Moving average, microseconds; 0: no response yet.
        var latency: Double
        /// Of its name: the same at every forwarder.
        var hash: UInt64
    }

    enum Pick: Equatable {
        case instance(Int)
        /// Every instance that is not excluded is full.
        case full
        case none
    }

    /// A hashed request goes to its instance while that has at most this percentage of an even share of the requests in flight.
    static let boundedLoadPercent = 125

    /// `key`: what the request is hashed by. `turn`: counts the service's requests.
    @inline(__always)
    static func pick<D: Dice>(
        _ policy: BalancePolicy, _ group: Ranking.Group, excluding excluded: ExclusionSet, key: UInt64,
        turn: inout Int, dice: inout D, load: (Int) -> Load
    ) -> Pick {
        switch policy {
        case .availability, .leastRequests: leastBusy(group.slots, excluded, &dice, load)
        case .roundRobin: inTurn(group, excluded, &turn, &dice, load)
        case .random: byChance(group.slots, excluded, &dice, load)
        case .peakEWMA: leastWait(group.slots, excluded, &dice, load)
        case .hash: byHash(group, excluded, key, &dice, load)
        }
    }

    /// Ties are broken at random.
    @inline(__always)
    private static func leastBusy<D: Dice>(
        _ slots: [Int32], _ excluded: ExclusionSet, _ dice: inout D, _ load: (Int) -> Load
    ) -> Pick {
        var best = -1
        var bestLoad = 0
        var bestWeight = 1
        var ties: UInt64 = 0
        var sawFull = false
        for slot in slots where excluded.count == 0 || !excluded.contains(slot) {
            let one = load(Int(slot))
            if one.isFull {
                sawFull = true
                continue
            }
            // load / weight < bestLoad / bestWeight, without dividing.
            let left = one.outstanding &* bestWeight
            let right = bestLoad &* one.weight
            if best < 0 || left < right {
                best = Int(slot)
                bestLoad = one.outstanding
                bestWeight = one.weight
                ties = 1
                dice.lead(slot)
            } else if left == right {
                ties &+= 1
                if dice.tie(slot, weight: 1, of: ties) {
                    best = Int(slot)
                    bestLoad = one.outstanding
                    bestWeight = one.weight
                }
            }
        }
        return best >= 0 ? .instance(best) : sawFull ? .full : .none
    }

    private static func inTurn<D: Dice>(
        _ group: Ranking.Group, _ excluded: ExclusionSet, _ turn: inout Int, _ dice: inout D, _ load: (Int) -> Load
    ) -> Pick {
        guard group.totalTurns > 0 else { return .none }
        turn = (turn &+ group.stride) % group.totalTurns
        var position = turn
        var index = 0
        while position >= group.turns[index] {
            position -= group.turns[index]
            index += 1
        }
        // If that one cannot take the request: the next in order.
        var sawFull = false
        for offset in 0..<group.slots.count {
            let slot = group.slots[(index + offset) % group.slots.count]
            if excluded.contains(slot) { continue }
            if !load(Int(slot)).isFull {
                dice.lead(slot)
                return .instance(Int(slot))
            }
            sawFull = true
        }
        return sawFull ? .full : .none
    }

    private static func byChance<D: Dice>(
        _ slots: [Int32], _ excluded: ExclusionSet, _ dice: inout D, _ load: (Int) -> Load
    ) -> Pick {
        var pick = Pick.none
        var total: UInt64 = 0
        for slot in slots where !excluded.contains(slot) {
            let one = load(Int(slot))
            if one.isFull {
                if pick == .none { pick = .full }
                continue
            }
            // Each instance replaces the pick with the probability of its share of the weights so far.
            if total == 0 { dice.lead(slot) }
            total += UInt64(one.weight)
            let isFirst = total == UInt64(one.weight)
            if isFirst || dice.tie(slot, weight: UInt64(one.weight), of: total) { pick = .instance(Int(slot)) }
        }
        return pick
    }

    /// The shorter expected wait of two random instances, so that forwarders with old figures do not all choose the same instance
    /// (Mitzenmacher, The Power of Two Choices, 2001). Of up to three instances: the shortest wait of all.
    private static func leastWait<D: Dice>(
        _ slots: [Int32], _ excluded: ExclusionSet, _ dice: inout D, _ load: (Int) -> Load
    ) -> Pick {
        // Any of them can be one of the two.
        if slots.count > 3, D.showsAll { return byChance(slots, excluded, &dice, load) }
        if slots.count > 3 {
            let first = Int(dice.number(below: UInt64(slots.count)))
            let second = (first + 1 + Int(dice.number(below: UInt64(slots.count - 1)))) % slots.count
            let pick = shortest([slots[first], slots[second]], excluded, &dice, load)
            if case .instance = pick { return pick }
        }
        return shortest(slots, excluded, &dice, load)
    }

    private static func shortest<D: Dice>(
        _ slots: [Int32], _ excluded: ExclusionSet, _ dice: inout D, _ load: (Int) -> Load
    ) -> Pick {
        var pick = Pick.none
        var best = Double.infinity
        var ties: UInt64 = 0
        for slot in slots where !excluded.contains(slot) {
            let one = load(Int(slot))
            if one.isFull {
                if pick == .none { pick = .full }
                continue
            }
            let wait = wait(one)
            if wait < best {
                (best, ties) = (wait, 1)
                dice.lead(slot)
                pick = .instance(Int(slot))
            } else if wait == best {
                ties += 1
                if dice.tie(slot, weight: 1, of: ties) { pick = .instance(Int(slot)) }
            }
        }
        return pick
    }

    /// The expected wait of a request, microseconds.
    static func wait(_ one: Load) -> Double {
        // An instance without a response gets one request. It gets more only if all others have none, either.
        let latency = one.latency == 0 && one.outstanding > 0 ? unknownLatency : one.latency
        return latency * Double(one.outstanding + 1) / Double(one.weight)
    }

    /// Microseconds: longer than anything that was measured.
    private static let unknownLatency = 1e15

    /// Rendezvous hashing (Thaler, Ravishankar, 1998): each instance draws as many numbers as its weight says, the highest
    /// wins; one beyond its bounded load passes.
    private static func byHash<D: Dice>(
        _ group: Ranking.Group, _ excluded: ExclusionSet, _ key: UInt64, _ dice: inout D, _ load: (Int) -> Load
    ) -> Pick {
        let outstanding = group.slots.reduce(1) { $0 + load(Int($1)).outstanding }
        var pick = Pick.none
        var best: UInt64 = 0
        var loaded = Pick.none
        var bestLoaded: UInt64 = 0
        for (index, slot) in group.slots.enumerated() where !excluded.contains(slot) {
            let one = load(Int(slot))
            if one.isFull {
                if pick == .none { pick = .full }
                continue
            }
            var score: UInt64 = 0
            let weight = group.turns[index]
            for draw in 0..<weight {
                var numbers = SplitMix(seed: key ^ one.hash &+ UInt64(draw) &* 0x9e37_79b9_7f4a_7c15)
                score = max(score, numbers.next())
            }
            let whole = 100 * group.totalTurns
            let bound = (boundedLoadPercent * outstanding * weight + whole - 1) / whole
            if one.outstanding >= bound {
                if score >= bestLoaded {
                    bestLoaded = score
                    loaded = .instance(Int(slot))
                }
            } else if score >= best {
                best = score
                pick = .instance(Int(slot))
            }
        }
        if case .instance = pick {} else if loaded != .none { pick = loaded }
        if case .instance(let slot) = pick { dice.lead(Int32(truncatingIfNeeded: slot)) }
        return pick
    }
}
