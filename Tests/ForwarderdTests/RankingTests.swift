import Shared
import Testing

@testable import forwarderd

@Suite struct RankingTests {
    private func facts(
        _ priority: Priority = .medium, _ availability: Int? = 100, candidate: Bool = true,
        status: InstanceStatus = .up, ejected: Bool = false
    ) -> Ranking.Facts {
        Ranking.Facts(
            isCandidate: candidate, status: status, isDraining: false, isEjected: ejected, isSuspect: false,
            priority: priority,
            availability: availability, hasAddress: true)
    }

    private func rank(_ facts: [Ranking.Facts]) -> Ranking {
        Ranking(facts.enumerated().map { (Int32($0.offset), $0.element) })
    }

    private func rankWhateverTheAvailability(_ facts: [Ranking.Facts]) -> Ranking {
        Ranking(facts.enumerated().map { (Int32($0.offset), $0.element) }, byAvailability: false)
    }

    @Test func theHighestPriorityThatHasACandidateWins() {
        let ranking = rank([facts(.low), facts(.high, candidate: false, status: .down), facts(.medium), facts(.medium)])
        #expect(ranking.groups.first?.slots == [2, 3])
        #expect(ranking.groups.dropFirst().map(\.slots) == [[0]])
        #expect(ranking.lastResort.isEmpty)
    }

    @Test func equalsAreWithinFivePointsOfTheBest() {
        #expect(
            Set(
                rank([facts(.medium, 100), facts(.medium, 95), facts(.medium, 96), facts(.medium, 94)]).groups[0].slots)
                == [
                    0, 1, 2,
                ])
    }

    @Test func fewerThanHalfOfATierDoNotCarryItAlone() {
        #expect(
            Set(
                rank([facts(.medium, 100), facts(.medium, 80), facts(.medium, 70), facts(.medium, 60)]).groups[0].slots)
                == [
                    0, 1,
                ])
    }

    @Test func littleEvidenceCountsAsTheTiersMedian() {
        #expect(
            Set(
                rank([facts(.medium, nil), facts(.medium, 90), facts(.medium, 90), facts(.medium, 50)]).groups[0].slots)
                == [
                    0, 1, 2,
                ])
    }

    @Test func neverPolledAndThenExcludedInstancesAreTheLastResort() {
        let ranking = rank([
            facts(candidate: false, ejected: true), facts(candidate: false, status: .unknown),
            facts(candidate: false, status: .down),
        ])
        #expect(ranking.groups.isEmpty)
        #expect(ranking.lastResort.map(\.slots) == [[1], [0]])
    }
}
