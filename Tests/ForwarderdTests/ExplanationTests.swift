import Shared
import Testing

@testable import forwarderd

@Suite struct ExplanationTests {
    private static let policies: [BalancePolicy] = [
        .availability, .leastRequests, .roundRobin, .random, .peakEWMA, .hash(.clientAddress),
    ]

    /// A service in some state: few instances, so that every kind of emptiness and fullness comes.
    private func subjects(_ random: inout SplitMix) -> [Explanation.Subject] {
        func chance(_ percent: UInt64) -> Bool { random.next() % 100 < percent }
        return (0..<Int32(random.next() % 7)).map { slot in
            let status: InstanceStatus = chance(75) ? .up : chance(50) ? .down : .unknown
            let (suspect, draining, ejected) = (chance(12), chance(12), chance(12))
            let hasAddress = chance(95)
            let weight = 1 + Int(random.next() % 4)
            return Explanation.Subject(
                slot: slot,
                facts: Ranking.Facts(
                    isCandidate: status == .up && !suspect && !draining && !ejected && hasAddress, status: status,
                    isDraining: draining, isEjected: ejected, isSuspect: suspect,
                    priority: Priority.allCases[Int(random.next() % 3)],
                    availability: chance(80) ? 80 + Int(random.next() % 21) : nil, hasAddress: hasAddress,
                    weight: weight),
                load: Balancer.Load(
                    outstanding: Int(random.next() % 4), weight: weight, isFull: chance(20),
                    latency: chance(20) ? 0 : Double(random.next() % 5) * 1000, hash: random.next()),
                isOnTrial: chance(15), percent: chance(20) ? random.next() % 100 : 100)
        }
    }

    /// What `explain` says and what a request does are one: over a hundred thousand states, whatever the dice show.
    @Test func theChooserAgreesWithTheExplanation() {
        var random = SplitMix(seed: 20_261_125)
        var (forwarded, full, none) = (0, 0, 0)
        for _ in 0..<100_000 {
            let policy = Self.policies[Int(random.next() % 6)]
            let subjects = subjects(&random)
            let ranking = Ranking(subjects.map { ($0.slot, $0.facts) }, byAvailability: policy == .availability)
            let (key, turn) = (random.next(), Int(random.next() % 50))
            let explanation = Explanation(policy, ranking, subjects, key: key, turn: turn)
            for _ in 0..<3 {
                var itsTurn = turn
                let pick = Chooser.choose(
                    policy, ranking, excluding: ExclusionSet(), key: key, turn: &itsTurn, dice: &random,
                    percent: { subjects[$0].percent }, load: { subjects[$0].load(triesFreely: $1) })
                switch pick {
                case .instance(let slot):
                    forwarded += 1
                    if !explanation.choice.contains(Int32(slot)) {
                        Issue.record("\(policy): \(slot) is not in \(explanation.choice) of \(subjects)")
                        return
                    }
                case .full:
                    full += 1
                    #expect(explanation.choice.isEmpty && explanation.isFull)
                case .none:
                    none += 1
                    #expect(explanation.choice.isEmpty && !explanation.isFull)
                }
            }
            #expect(
                explanation.verdicts.filter { $0.standing == .chosen }.map(\.slot).sorted()
                    == explanation.choice.sorted())
        }
        // The states were no easy ones.
        #expect(forwarded > 100_000 && full > 1000 && none > 1000)
    }

    /// The law itself, said anew: who may be chosen while a candidate has room.
    @Test func theChosenAreCandidatesOfTheHighestPriorityWithRoom() {
        var random = SplitMix(seed: 7)
        for _ in 0..<20_000 {
            let subjects = subjects(&random)
            let ranking = Ranking(subjects.map { ($0.slot, $0.facts) })
            let explanation = Explanation(.availability, ranking, subjects, key: 0, turn: 0)
            let able = subjects.filter { $0.facts.isCandidate && !$0.load(triesFreely: false).isFull }
            guard let best = able.map(\.facts.priority.rawValue).min() else { continue }
            let chosen = subjects.filter { explanation.choice.contains($0.slot) }
            #expect(!chosen.isEmpty)
            #expect(chosen.allSatisfy { $0.facts.isCandidate })
            #expect(chosen.contains { $0.facts.priority.rawValue == best })
            let nobodyIsSlow = chosen.allSatisfy { $0.percent == 100 }
            if nobodyIsSlow {
                #expect(chosen.allSatisfy { $0.facts.priority.rawValue == best })
            }
            for verdict in explanation.verdicts where verdict.standing == .excluded {
                #expect(!able.contains { $0.slot == verdict.slot }, "\(verdict) of \(subjects)")
            }
        }
    }
}
