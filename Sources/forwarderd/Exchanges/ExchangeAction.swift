extension Exchange {
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
        /// Connect to the present instance again, on a new connection.
        case reconnect
        /// Send the received part of the request, and receive more of it.
        case send
        /// The present try has failed with this fault: collect the evidence and judge it.
        indirect case fail(InstanceFault)
        /// Abandon what was being done, and send this forwarder's own response.
        indirect case answer(OwnAnswer)
        /// 503: no instance had room in time.
        case refuseQueued
        /// 408: the rest of the request's body did not come in time.
        case refuseSlowBody
        /// 503: the client has half-closed its connection, and is taken to have given up.
        case refuseHalfClosed
        /// Release the instance and its connection. Wait until the client has taken the rest of the response.
        case finish
        /// Reset the client's connection: only a reset shows that the response is incomplete, or that there is none.
        case reset(Outcome)
        /// Relay the bytes of a tunnel in both directions.
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
        case .end(let outcome), .endWithClient(let outcome), .cutTunnel(let outcome), .reset(let outcome): outcome
        case .wait, .choose, .enqueue, .connect, .reconnect, .send, .fail, .answer, .refuseQueued, .refuseSlowBody,
            .refuseHalfClosed, .finish, .relayTunnel:
            nil
        }
    }
}
