import Shared
import Testing

@testable import forwarderd

@Suite struct BalancerTests {
    private struct One {
        var outstanding = 0
        var weight = 1
        var isFull = false
        var latency = 0.0
    }

    /// Picks `count` times; how often each was picked. Requests stay in progress where `keeps` says so.
    private func picks(
        _ policy: BalancePolicy, _ ones: [One], _ count: Int, keeps: Bool = false, excluding: [Int] = [],
        key: (Int) -> UInt64 = { UInt64($0) &* 0x9e37_79b9_7f4a_7c15 }
    ) -> [Int] {
        let group = Ranking.Group(ones.enumerated().map { (Int32($0.offset), $0.element.weight) })
        var ones = ones
        var excluded = ExclusionSet()
        for slot in excluding { excluded.insert(slot) }
        var turn = 0
        var random = SplitMix(seed: 11)
        var counts = [Int](repeating: 0, count: ones.count)
        for number in 0..<count {
            let now = ones
            let pick = Balancer.pick(
                policy, group, excluding: excluded, key: key(number), turn: &turn, dice: &random
            ) {
                Balancer.Load(
                    outstanding: now[$0].outstanding, weight: now[$0].weight, isFull: now[$0].isFull,
                    latency: now[$0].latency, hash: UInt64($0 + 1) &* 0xbf58_476d_1ce4_e5b9)
            }
            guard case .instance(let slot) = pick else { continue }
            counts[slot] += 1
            if keeps { ones[slot].outstanding += 1 }
        }
        return counts
    }

    private static let policies: [BalancePolicy] = [
        .availability, .leastRequests, .roundRobin, .random, .peakEWMA, .hash(.clientAddress),
    ]

    @Test(arguments: policies) func theExcludedAndTheFullAreNeverPicked(_ policy: BalancePolicy) {
        let ones = [One(), One(isFull: true), One(), One(weight: 50)]
        let counts = picks(policy, ones, 200, excluding: [0])
        #expect(counts[0] == 0)
        #expect(counts[1] == 0)
        #expect(counts[2] + counts[3] == 200)
    }

    @Test(arguments: policies) func aFullGroupIsToldFromAnEmptyOne(_ policy: BalancePolicy) {
        var turn = 0
        var random = SplitMix(seed: 1)
        func pick(_ members: [(slot: Int32, weight: Int)], _ excluded: ExclusionSet) -> Balancer.Pick {
            Balancer.pick(
                policy, Ranking.Group(members), excluding: excluded, key: 5, turn: &turn, dice: &random
            ) { _ in Balancer.Load(outstanding: 3, weight: 1, isFull: true, latency: 1, hash: 2) }
        }
        var both = ExclusionSet()
        both.insert(0)
        both.insert(1)
        #expect(pick([(0, 1), (1, 1)], ExclusionSet()) == .full)
        #expect(pick([(0, 1), (1, 1)], both) == .none)
        #expect(pick([], ExclusionSet()) == .none)
    }

    @Test func theLeastBusyForItsWeightIsPicked() {
        #expect(picks(.leastRequests, [One(weight: 1), One(weight: 3)], 400, keeps: true) == [100, 300])
        let counts = picks(.availability, [One(), One(), One(outstanding: 1)], 900)
        #expect(counts[2] == 0)
        #expect(counts[0] > 350 && counts[1] > 350, "ties are broken at random: \(counts)")
    }

    @Test func turnsFollowTheWeightsAndAreSpread() {
        #expect(picks(.roundRobin, [One(weight: 2), One(weight: 4), One(weight: 6)], 600) == [100, 200, 300])
        #expect(picks(.roundRobin, [One(), One(), One()], 3) == [1, 1, 1])
        // In any five turns in a row of weights 3 and 2 both are there.
        #expect(picks(.roundRobin, [One(weight: 3), One(weight: 2)], 5) == [3, 2])
    }

    @Test func chanceFollowsTheWeights() {
        let counts = picks(.random, [One(weight: 1), One(weight: 3)], 4000)
        #expect(abs(counts[1] - 3000) < 150, "\(counts)")
    }

    @Test func theShorterWaitIsPicked() {
        #expect(picks(.peakEWMA, [One(latency: 900), One(latency: 100)], 100) == [0, 100])
        #expect(picks(.peakEWMA, [One(latency: 900), One(outstanding: 99, latency: 100)], 10) == [10, 0])
        #expect(picks(.peakEWMA, [One(), One(latency: 100)], 1) == [1, 0], "who has never answered is tried")
        #expect(
            picks(.peakEWMA, [One(outstanding: 1), One(latency: 100)], 5) == [0, 5], "but not twice before it does")
        let many = picks(.peakEWMA, (0..<10).map { One(latency: $0 == 4 ? 100_000 : 100) }, 1000)
        #expect(many[4] == 0)
        #expect(many.filter { $0 > 0 }.count == 9, "the others share: \(many)")
    }

    @Test func aKeyStaysWithItsInstanceWhenOthersComeAndGo() {
        let before = (0..<500).map { key in
            picks(.hash(.clientAddress), [One(), One(), One(), One()], 1) { _ in UInt64(key) &* 77 }
        }
        let after = (0..<500).map { key in
            picks(.hash(.clientAddress), [One(), One(), One(), One()], 1, excluding: [3]) { _ in UInt64(key) &* 77 }
        }
        for (old, new) in zip(before, after) where old[3] == 0 { #expect(old == new) }
        let shares = before.reduce([0, 0, 0, 0]) { sums, one in zip(sums, one).map(+) }
        #expect(shares.allSatisfy { $0 > 80 && $0 < 170 }, "\(shares)")
    }

    @Test func aPopularKeyDoesNotOverloadItsInstance() {
        let counts = picks(.hash(.clientAddress), [One(), One(), One(), One()], 400, keeps: true) { _ in 42 }
        #expect((counts.max() ?? 400) <= 126, "at most a quarter above its share: \(counts)")
    }

    @Test func latencyTakesAPeakAtOnceAndForgetsItSlowly() {
        var latency = LatencyAverage()
        #expect(latency.value(now: 5) == 0, "no answer yet")
        latency.observe(microseconds: 100, now: 1000)
        latency.observe(microseconds: 5000, now: 1001)
        #expect(latency.value(now: 1001) == 5000)
        latency.observe(microseconds: 100, now: 2001)
        #expect(latency.value(now: 2001) > 4000 && latency.value(now: 2001) < 5000)
        #expect(latency.value(now: 200_000) < 500, "by time alone, or nobody would try again")
        latency.observe(microseconds: 100, now: 1_000_000)
        #expect(latency.value(now: 1_000_000) < 200)
    }

    @Test func partsOfALimitAddUpToIt() {
        for (limit, forwarders) in [(10, 3), (3, 3), (100, 7), (1, 1)] {
            let parts = (0..<forwarders).map { Share(index: $0, of: forwarders).part(of: limit) }
            #expect(parts.reduce(0, +) == limit)
        }
        #expect((0..<4).map { Share(index: $0, of: 4).part(of: 2) } == [1, 1, 1, 1], "none goes without")
    }
}
