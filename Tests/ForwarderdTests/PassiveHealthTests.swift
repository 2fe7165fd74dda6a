import Shared
import Testing

@testable import forwarderd

@Suite struct PassiveHealthTests {
    @Test func ejectionsGetLongerUntilASuccess() {
        var random = SplitMix(seed: 3)
        var passive = PassiveHealth()
        var spans: [UInt64] = []
        for _ in 0..<9 {
            spans.append(passive.failed(now: 0, random: &random) ?? 0)
            #expect(passive.failed(now: 0, random: &random) == nil, "already ejected")
            passive.expire()
        }
        for (span, expected) in zip(spans, [1, 2, 4, 8, 16, 32, 60, 60, 60] as [Double]) {
            #expect(abs(Double(span) - expected * 1000) <= expected * 51)
        }
        passive.succeeded()
        #expect(passive.ejections == 0)
    }

    @Test func fiveBadAnswersInARowOrThreeTimeOutsAreEnough() {
        var passive = PassiveHealth()
        let errors = (0..<5).map { _ in passive.weakened(.serverError) }
        #expect(errors == [false, false, false, false, true])
        passive = PassiveHealth()
        let timeouts = (0..<3).map { _ in passive.weakened(.timeout) }
        #expect(timeouts == [false, false, true])
        passive = PassiveHealth()
        for _ in 0..<20 {
            let verdicts = [passive.weakened(.serverError), passive.weakened(.serverError)]
            #expect(verdicts == [false, false])
            passive.succeeded()
        }
    }

    @Test func afterAnEjectionOneRequestAtATimeTries() {
        var random = SplitMix(seed: 3)
        var slot = InstanceSlot(
            service: "s",
            SnapshotInstance(
                id: 0, url: "h:1", authority: "h:1", priority: .medium, weight: 1,
                state: InstanceState(status: .up, suspect: false, draining: false, availability: 100, address: nil)),
            key: 0)
        func isFull(_ triesFreely: Bool) -> Bool { slot.load(limit: 10, now: 0, triesFreely: triesFreely).isFull }
        _ = slot.passive.failed(now: 0, random: &random)
        slot.passive.expire()
        #expect(!isFull(false))
        slot.outstanding = 1
        #expect(isFull(false) && !isFull(true), "one is on its way; where nobody else has room that does not matter")
        let isOut = slot.passive.weakened(.serverError)
        #expect(isOut, "a trial that fails ejects again at once")
        slot.passive.succeeded()
        #expect(!isFull(false) && !slot.passive.isOnTrial)
    }

    @Test func aReturnedInstanceStartsSlowly() {
        var slot = InstanceSlot(
            service: "s",
            SnapshotInstance(
                id: 0, url: "h:1", authority: "h:1", priority: .medium, weight: 1,
                state: InstanceState(status: .up, suspect: false, draining: false, availability: 100, address: nil)),
            key: 0)
        #expect(slot.percentWelcome(now: 5_000) == 100, "it has never been away")
        slot.returnedAt = 5_000
        #expect([5_000, 5_500, 10_000, 14_999, 15_000].map { slot.percentWelcome(now: $0) } == [10, 10, 50, 99, 100])
    }
}
