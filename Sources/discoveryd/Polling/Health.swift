import Shared

/// The poll law of one instance: what its polls make of it and when it is polled next. A value without clock or socket.
///
/// `status` is the poll law alone; `isSuspect` is a forwarder's accusation that a fresh poll confirmed; they are two facts.
struct Health: Equatable, Sendable {
    /// What a poll was for.
    enum Purpose: Sendable {
        case regular
        /// After a failure, `retry_delay` later.
        case retry
        /// A forwarder saw it refuse or reset.
        case accusation
    }

    private(set) var status = InstanceStatus.unknown
    private(set) var isSuspect = false
    /// Failed retries in this series.
    private(set) var failedRetries: UInt16 = 0
    private(set) var goodInRow: UInt16 = 0

    init() {}

    /// As it was saved.
    init(status: InstanceStatus, isSuspect: Bool, failedRetries: UInt16, goodInRow: UInt16) {
        self.status = status
        self.isSuspect = isSuspect
        self.failedRetries = status == .up ? failedRetries : 0
        self.goodInRow = status == .down ? goodInRow : 0
    }

    /// When to poll again, and what for.
    struct Next: Equatable, Sendable {
        var delayMilliseconds: UInt64
        var purpose: Purpose
        /// The delay is the exact one; otherwise it is spread by the schedule.
        var isExact: Bool
    }

    /// Takes a poll's outcome. Nil: the schedule that stands is kept.
    mutating func receive(_ result: PollResult, purpose: Purpose, polling: Polling) -> Next? {
        let polledBefore = status != .unknown
        // Our own fault says nothing of the instance: try again soon.
        if result.cause == .ownFault {
            return purpose == .accusation
                ? nil : Next(delayMilliseconds: Limits.ownFaultDelayMilliseconds, purpose: purpose, isExact: false)
        }
        if result.isGood {
            isSuspect = false
            failedRetries = 0
            switch status {
            case .unknown: status = .up
            case .up: break
            case .down:
                goodInRow = goodInRow &+ 1
                if Int(goodInRow) >= polling.rise { status = .up }
            }
        } else {
            goodInRow = 0
            if purpose == .accusation, status != .unknown {
                // It confirms the suspicion and is no attempt of the law's: the regular poll follows after `retry_delay`, unless retries
                // are under way already.
                confirmSuspicion()
                guard status == .up, failedRetries == 0 else { return nil }
                return Next(delayMilliseconds: polling.retryDelayMilliseconds, purpose: .regular, isExact: true)
            }
            switch status {
            case .unknown: status = .down
            case .up: return fail(polling)
            case .down: break
            }
        }
        if purpose == .accusation, polledBefore { return nil }
        return regular(polling)
    }

    /// A forwarder's accusation and a failed poll came together.
    mutating func confirmSuspicion() { if status == .up { isSuspect = true } }

    private mutating func fail(_ polling: Polling) -> Next {
        if Int(failedRetries) < polling.retries {
            failedRetries = failedRetries &+ 1
            return Next(delayMilliseconds: polling.retryDelayMilliseconds, purpose: .retry, isExact: true)
        }
        failedRetries = 0
        status = .down
        return regular(polling)
    }

    private func regular(_ polling: Polling) -> Next {
        let delay = status == .down ? polling.downFrequencyMilliseconds : polling.frequencyMilliseconds
        return Next(delayMilliseconds: delay, purpose: .regular, isExact: false)
    }
}
