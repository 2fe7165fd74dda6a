import Shared
import Testing

@testable import forwarderd

@Suite struct RetryLawTests {
    private func law(idempotent: Bool, sent: Bool) -> RetryLaw {
        var law = RetryLaw(isIdempotent: idempotent)
        law.begin()
        if sent { law.noteSent() }
        return law
    }

    private func judge(
        _ law: inout RetryLaw, _ fault: InstanceFault, at instance: Int32 = 3, isReused: Bool = false,
        isInBudget: Bool = true, tries: Int = Limits.instancesTriedPerRequest,
        hasForwarded: Bool = false
    ) -> RetryLaw.Verdict {
        law.judge(
            RetryLaw.Failure(
                fault: fault, isReused: isReused, isInBudget: isInBudget, tries: tries),
            at: instance, hasForwarded: hasForwarded)
    }

    @Test func aFailedConnectMovesOnForAnyMethod() {
        var post = law(idempotent: false, sent: false)
        expect(judge(&post, .connect(.connectionRefused), isInBudget: false) == .nextInstance)
        expect(post.excluded.contains(3))
    }

    @Test(arguments: [InstanceFault.closed, .reset], [true, false])
    func aRequestThatMayHaveRunIsNotSentAgain(_ fault: InstanceFault, _ isReused: Bool) {
        var post = law(idempotent: false, sent: true)
        expect(judge(&post, fault, isReused: isReused) == .answer)
        expect(post.wasSent)
    }

    @Test func anIdempotentRequestGoesToAFreshConnectionThenToAnotherInstance() {
        var get = law(idempotent: true, sent: true)
        expect(judge(&get, .closed, isReused: true) == .freshConnection)
        expect(!get.excluded.contains(3), "a failed reused connection accuses nobody")
        get.begin()
        expect(!get.hasSent && get.wasSent)
        get.noteSent()
        expect(judge(&get, .reset) == .nextInstance)
        expect(get.excluded.contains(3))
    }

    @Test func timeOutsAndInvalidResponsesAreNeverRetried() {
        var get = law(idempotent: true, sent: true)
        expect(judge(&get, .timeout) == .answer)
        expect(judge(&get, .malformed("x"), isReused: true) == .answer)
    }

    @Test func anExhaustedResourceOfThisMachineIsNotRetried() {
        for fault in [InstanceFault.ourLimit(3), .connect(.tooManyOpenFiles), .connect(.fileTableFull)] {
            var get = law(idempotent: true, sent: false)
            expect(judge(&get, fault) == .answer)
        }
    }

    @Test func aBodyThatIsNoLongerHereIsNotSentAgain() {
        var put = law(idempotent: true, sent: true)
        put.noteDropped()
        expect(judge(&put, .reset, isReused: true) == .answer)
    }

    @Test func aResponseThatHasBegunIsCutAndNotAnsweredTwice() {
        var get = law(idempotent: true, sent: true)
        expect(judge(&get, .closed, isReused: true, hasForwarded: true) == .cut)
        expect(judge(&get, .timeout, isReused: true, hasForwarded: true) == .cut)
        expect(judge(&get, .connect(.connectionRefused), hasForwarded: true) == .cut)
    }

    @Test func theBudgetEndsRetries() {
        for hasBudget in [false, true] {
            var get = law(idempotent: true, sent: true)
            expect(judge(&get, .reset, isInBudget: false) == .nextInstance, "the first move is free")
            expect(!get.isRetrying)
            get.begin()
            get.noteSent()
            expect(judge(&get, .reset, at: 4, isInBudget: hasBudget) == (hasBudget ? .nextInstance : .answer))
            guard hasBudget else { continue }
            expect(get.isRetrying, "it is counted")
            get.begin()
            get.noteSent()
            expect(judge(&get, .reset, at: 5, isInBudget: false) == .nextInstance, "once counted, it may go on")
        }
    }

    @Test func triesAreBounded() {
        var get = law(idempotent: true, sent: false)
        var tries: Int32 = 0
        while judge(&get, .connect(.connectionRefused), at: 3 + tries) == .nextInstance {
            tries += 1
            get.begin()
        }
        #expect(Int(tries) == Limits.instancesTriedPerRequest - 1)
    }

    @Test func errorsOfOurOwnMakingAccuseNobody() {
        #expect(!InstanceFault.connect(.tooManyOpenFiles).accuses)
        #expect(!InstanceFault.connect(.addressNotAvailable).accuses)
        #expect(InstanceFault.connect(.connectionRefused).accuses)
        #expect(InstanceFault.connectTimeout.accuses)
    }
}
