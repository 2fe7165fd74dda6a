extension Exchange {
    /// What can happen to an exchange.
    enum Event {
        /// This forwarder responds by itself.
        indirect case refused(OwnAnswer)
        /// An instance with room was chosen.
        case chosen
        /// All instances that could take the request are full.
        case noRoom
        /// A connection is being established.
        case connecting
        /// The connection is established.
        case connected
        /// The instance has the whole request.
        case handedOver
        /// Part of a final response is about to be forwarded.
        case head
        /// A response 101 is about to be forwarded.
        case switched
        /// The response is complete.
        case complete
        /// The client has taken everything it was sent.
        case taken
        /// A try at an instance failed.
        indirect case failed(RetryLaw.Failure)
        /// The request's body is not valid, or one side of a tunnel broke off.
        case brokenOff
        /// There is no buffer for bytes that a peer does not take now.
        case starved
        /// Both directions of a tunnel have ended.
        case tunnelOver
        /// The deadline has passed.
        case overdue
        /// The client is half-closed, and others need the place.
        case crowdedOut
        /// The client's connection is closed.
        case clientGone
        /// The process ends.
        case stopped
    }

    /// What an exchange asks for.
    enum Action {
        /// Wait for the next event.
        case wait
        /// Choose an instance. `crowdsOut`: a half-closed exchange may have to give up its place.
        case choose(crowdsOut: Bool)
        /// Join the service's queue.
        case enqueue
        /// Connect to the chosen instance, on a kept connection if there is one.
        case connect
        /// Connect to the present instance again: on a new connection to the same address, or to another address.
        case reconnect(fresh: Bool)
        /// Send the received part of the request, and receive more of it.
        case send
        /// The present try has failed with this fault: collect the evidence and judge it.
        indirect case fail(InstanceFault)
        /// Respond to the client, whatever was being done for it.
        indirect case answer(OwnAnswer)
        /// 503: no instance had room in time.
        case refuseQueued
        /// 408: the rest of the request's body did not come in time.
        case refuseSlowBody
        /// 503: the client has given up, as it seems.
        case refuseHalfClosed
        /// Give the instance connection back, and wait until the client has taken what there is of the response.
        case finish
        /// Reset the client's connection: nothing else tells it that the response is not whole.
        case reset
        /// Relay the bytes of a tunnel, which has just begun.
        case relayTunnel
        /// Reset both sides of the tunnel.
        case cutTunnel(Outcome)
        /// The outcome is known: count it and forget the exchange.
        case end(Outcome)
        /// The same, and the client's connection is closed.
        case endWithClient(Outcome)
    }
}

extension Exchange.Action {
    /// The outcome, if this action ends the exchange.
    var outcome: Outcome? {
        switch self {
        case .end(let outcome), .endWithClient(let outcome), .cutTunnel(let outcome): outcome
        case .reset: .cut
        case .wait, .choose, .enqueue, .connect, .reconnect, .send, .fail, .answer, .refuseQueued, .refuseSlowBody,
            .refuseHalfClosed, .finish, .relayTunnel:
            nil
        }
    }
}
