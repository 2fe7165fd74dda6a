import Shared

/// One request, from its head to its one outcome. It only decides: `receive` takes what has happened and returns what is to be done, and
/// `Driver` performs it.
struct Exchange: ~Copyable {
    /// What the exchange occupies. `Driver` gives it back.
    struct Place {
        /// The service; nil when the request no longer counts in its `active`.
        var service: Int?
        /// It is in the service's queue.
        var isQueued = false
        /// It counts among the service's retries.
        var isInRetryBudget = false
        var instance: Slab<InstanceSlot>.Index?
        var connection: Slab<InstanceConnection>.Index?
    }

    let client: Slab<Client>.Index
    private(set) var stage = Stage.begun
    /// The request was HEAD: its response has no body.
    let isHead: Bool
    /// The client's connection stays open for another request.
    var keepsClient: Bool
    var place = Place()
    var law: RetryLaw
    var request: PendingRequest
    var clientCodec: ClientCodec
    var instanceCodec: InstanceCodec
    var tunnel = Tunnel()
    private var outcome = Outcome.answered
    /// When the present wait ends, milliseconds of the loop's clock; `.max`: no wait has begun.
    var deadline: UInt64 = .max
    /// What the request is hashed by, where its service balances by hash.
    var key: UInt64 = 0
    /// When the whole request had been sent, nanoseconds of the monotonic clock; 0: the service's policy does not need it.
    var sentAt: UInt64 = 0
    var entry: LedgerEntry

    init(
        client: Slab<Client>.Index, isHead: Bool, keepsClient: Bool, isIdempotent: Bool,
        request: consuming PendingRequest, clientCodec: consuming ClientCodec, instanceCodec: consuming InstanceCodec,
        entry: consuming LedgerEntry
    ) {
        self.client = client
        self.isHead = isHead
        self.keepsClient = keepsClient
        law = RetryLaw(isIdempotent: isIdempotent)
        self.request = request
        self.clientCodec = clientCodec
        self.instanceCodec = instanceCodec
        self.entry = entry
    }

    /// A response has begun, whoever's, or the exchange has ended: nothing may be tried again.
    var hasForwarded: Bool {
        switch stage {
        case .begun, .queued, .connecting, .sending, .awaitingHead: false
        case .relaying, .flushing, .tunnel, .ended: true
        }
    }

    /// The response was not cut: its connection may serve another request.
    var keepsConnection: Bool { outcome == .answered }

    /// More of the request's body is to be read from the client, for the instance.
    var wantsBody: Bool {
        switch stage {
        case .sending, .relaying: !request.isComplete
        case .begun, .queued, .connecting, .awaitingHead, .flushing, .tunnel, .ended: false
        }
    }

    // MARK: Every stage with every event

    mutating func receive(_ event: borrowing Event) -> Action {
        switch event {
        case .refused(let answer): onRefused(answer)
        case .chosen: onChosen()
        case .noRoom: move(from: .begun, to: .queued, .enqueue)
        case .connecting: move(from: .begun, to: .connecting, .wait)
        case .connected: onConnected()
        case .handedOver: onHandedOver()
        case .forwarding: onForwarding()
        case .switched: onSwitched()
        case .complete: onComplete()
        case .taken: stage == .flushing ? end(outcome) : .wait
        case .failed(let failure): onFailed(failure)
        case .brokenOff: onBrokenOff()
        case .starved: onStarved()
        case .tunnelOver: stage == .tunnel ? endWithClient(.answered) : .wait
        case .overdue: onOverdue()
        case .untaken: onUntaken()
        case .crowdedOut: onCrowdedOut()
        case .clientGone: onClientGone()
        case .stopped: onStopped()
        }
    }

    /// If no part of the instance's response was forwarded, this forwarder sends its own.
    private mutating func onRefused(_ answer: OwnAnswer) -> Action {
        switch stage {
        case .begun, .queued, .connecting, .sending, .awaitingHead: .answer(answer)
        case .relaying: cut()
        case .flushing, .tunnel, .ended: .wait
        }
    }

    private mutating func onChosen() -> Action {
        switch stage {
        case .begun, .queued:
            stage = .begun
            return .connect
        // An instance is chosen already, or no longer needed.
        case .connecting, .sending, .awaitingHead, .relaying, .flushing, .tunnel, .ended: return .wait
        }
    }

    private mutating func move(from present: Stage, to next: Stage, _ action: Action) -> Action {
        guard stage == present else { return .wait }
        stage = next
        return action
    }

    private mutating func onConnected() -> Action {
        switch stage {
        case .begun, .connecting:
            stage = .sending
            return .send
        case .queued, .sending, .awaitingHead, .relaying, .flushing, .tunnel, .ended: return .wait
        }
    }

    private mutating func onHandedOver() -> Action {
        switch stage {
        case .sending: stage = .awaitingHead
        // The response, or the switch of protocols, came before the end of the request.
        case .relaying, .tunnel: break
        case .begun, .queued, .connecting, .awaitingHead, .flushing, .ended: break
        }
        return .wait
    }

    private mutating func onForwarding() -> Action {
        switch stage {
        case .sending, .awaitingHead: stage = .relaying
        case .begun, .queued, .connecting, .relaying, .flushing, .tunnel, .ended: break
        }
        return .wait
    }

    private mutating func onSwitched() -> Action {
        switch stage {
        case .sending, .awaitingHead:
            stage = .tunnel
            keepsClient = false
            return .relayTunnel
        case .begun, .queued, .connecting, .relaying, .flushing, .tunnel, .ended: return .wait
        }
    }

    private mutating func onComplete() -> Action {
        switch stage {
        // An own response is complete at once: every stage before `.flushing` is allowed.
        case .begun, .queued, .connecting, .sending, .awaitingHead, .relaying:
            // What is left of the request's body is not read as the next request.
            if !request.isComplete { keepsClient = false }
            stage = .flushing
            return .finish
        case .flushing, .tunnel, .ended: return .wait
        }
    }

    private mutating func onFailed(_ failure: RetryLaw.Failure) -> Action {
        switch stage {
        case .begun, .connecting, .sending, .awaitingHead, .relaying: break
        // No instance is being tried.
        case .queued, .flushing, .tunnel, .ended: return .wait
        }
        let verdict = law.judge(failure, at: place.instance?.rawValue ?? -1, hasForwarded: hasForwarded)
        switch verdict {
        case .freshConnection:
            stage = .begun
            return .reconnect
        case .nextInstance:
            stage = .begun
            return .choose(crowdsOut: true)
        case .answer: return .answer(.failed(failure.fault, wasSent: law.wasSent))
        case .cut:
            entry.record?.cause = failure.fault.words
            return cut()
        }
    }

    private mutating func onBrokenOff() -> Action {
        switch stage {
        case .tunnel:
            stage = .ended
            return .cutTunnel(.cut)
        case .relaying:
            stage = .ended
            return .reset(.cut)
        case .begun, .queued, .connecting, .sending, .awaitingHead, .flushing, .ended: return .wait
        }
    }

    private mutating func onStarved() -> Action {
        switch stage {
        case .begun, .queued, .connecting, .sending, .awaitingHead, .relaying, .flushing:
            stage = .ended
            return .reset(.cut)
        case .tunnel:
            stage = .ended
            return .cutTunnel(.cut)
        case .ended: return .wait
        }
    }

    private mutating func onOverdue() -> Action {
        switch stage {
        case .queued: return .refuseQueued
        case .connecting: return .fail(.connectTimeout)
        case .sending:
            // If the instance has every byte received so far, the client is late.
            return request.isDrained && !request.isWithheld ? .refuseSlowBody : .fail(.timeout)
        case .awaitingHead, .relaying: return .fail(.timeout)
        case .flushing: return endWithClient(outcome == .answered ? .clientGone : outcome)
        case .tunnel:
            stage = .ended
            entry.record?.cause = "nothing came for the time of a tunnel"
            return .cutTunnel(.cut)
        // Nothing is waited for.
        case .begun, .ended: return .wait
        }
    }

    /// The client is late, not the instance. Only a reset shows that something is missing, and gives back what waits in the system.
    private mutating func onUntaken() -> Action {
        switch stage {
        case .relaying, .flushing:
            let end = outcome == .answered ? Outcome.clientGone : outcome
            stage = .ended
            if entry.record?.cause.isEmpty ?? false { entry.record?.cause = "the client did not take the response" }
            return .reset(end)
        case .begun, .queued, .connecting, .sending, .awaitingHead, .tunnel, .ended: return onOverdue()
        }
    }

    private mutating func onCrowdedOut() -> Action {
        switch stage {
        case .queued, .connecting, .sending, .awaitingHead: .refuseHalfClosed
        case .relaying: endWithClient(.clientGone)
        case .begun, .flushing, .tunnel, .ended: .wait
        }
    }

    private mutating func onClientGone() -> Action {
        switch stage {
        case .begun, .queued, .connecting, .sending, .awaitingHead, .relaying: return endWithClient(.clientGone)
        case .flushing: return endWithClient(outcome == .answered ? .clientGone : outcome)
        case .tunnel:
            stage = .ended
            return .cutTunnel(.clientGone)
        case .ended: return .wait
        }
    }

    private mutating func onStopped() -> Action {
        switch stage {
        case .begun, .queued, .connecting, .sending, .awaitingHead, .relaying, .flushing, .tunnel:
            let isSeen = stage != .tunnel && !endsWithConnection
            stage = .ended
            return isSeen ? .end(.cut) : .reset(.cut)
        case .ended: return .wait
        }
    }

    /// The rest of a response will not come. If the response ends with the connection, only a reset shows that. Otherwise the client gets
    /// the received part, which a reset would destroy.
    private mutating func cut() -> Action {
        outcome = .cut
        keepsClient = false
        stage = endsWithConnection ? .ended : .flushing
        return endsWithConnection ? .reset(.cut) : .finish
    }

    /// The response to the client is delimited by the end of the connection.
    private var endsWithConnection: Bool { clientCodec.endsWithConnection }

    private mutating func end(_ outcome: Outcome) -> Action {
        stage = .ended
        return .end(outcome)
    }

    private mutating func endWithClient(_ outcome: Outcome) -> Action {
        stage = .ended
        return .endWithClient(outcome)
    }
}
