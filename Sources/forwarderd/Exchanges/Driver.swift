import Shared

/// Performs the actions of exchanges. An action returns the event that it leads to, and the exchange turns that into the next action. The
/// loop never recurses: no action is performed from within another.
extension Forwarder {
    mutating func drive(_ exchange: ExchangeIndex, _ first: Exchange.Action) {
        var (exchange, action) = (exchange, first)
        while true {
            if let event = perform(exchange, action) {
                action = exchanges[exchange].receive(event)
            } else {
                if postponed.isEmpty { return }
                (exchange, action) = postponed.removeLast()
            }
        }
    }

    /// Nil: the exchange waits for an event, or has ended.
    @inline(__always)
    private mutating func perform(_ exchange: ExchangeIndex, _ action: Exchange.Action) -> Exchange.Event? {
        switch action {
        case .wait: return nil
        case .choose(let crowdsOut):
            noteRetry(exchange)
            leaveInstance(exchange)
            let (event, isFull) = choose(exchange)
            guard isFull, crowdsOut, let other = halfClosed(service: exchanges[exchange].place.service) else {
                return event
            }
            postponed.append((exchange, .choose(crowdsOut: false)))
            postponed.append((other, exchanges[other].receive(.crowdedOut)))
            return nil
        case .enqueue:
            guard let other = halfClosedInFullQueue(exchange) else { return enqueue(exchange) }
            postponed.append((exchange, action))
            postponed.append((other, exchanges[other].receive(.crowdedOut)))
            return nil
        case .connect, .reconnect:
            if pool.isFull, pool.oldest == nil, let other = halfClosed(service: nil) {
                postponed.append((exchange, action))
                postponed.append((other, exchanges[other].receive(.crowdedOut)))
                return nil
            }
            noteRetry(exchange)
            if case .reconnect = action { return connect(exchange, isFresh: true) }
            return connect(exchange, isFresh: false)
        case .send: return sendRequest(exchange)
        case .fail(let fault): return fail(exchange, fault)
        case .answer(let own): return answer(exchange, own)
        case .refuseQueued: return .refused(queueTimedOut(exchange))
        case .refuseSlowBody:
            return .refused(
                OwnAnswer(
                    408, "The request's body took too long", error: "http_request_error",
                    wasSent: exchanges[exchange].law.wasSent))
        case .refuseHalfClosed:
            return .refused(
                .full("the client has ended its side and others wait", wasSent: exchanges[exchange].law.wasSent))
        case .finish: return finish(exchange)
        case .relayTunnel: return relayTunnel(exchange)
        case .reset(let outcome):
            clients.slab[exchanges[exchange].client].stream.resetOnClose()
            endWithClient(exchange, outcome)
        case .cutTunnel(let outcome):
            resetTunnel(exchange)
            endWithClient(exchange, outcome)
        case .end(let outcome): end(exchange, outcome)
        case .endWithClient(let outcome): endWithClient(exchange, outcome)
        }
        return nil
    }

    // MARK: Responses of our own

    /// Responds to the client, whatever was being done for it.
    private mutating func answer(_ exchange: ExchangeIndex, _ own: OwnAnswer) -> Exchange.Event {
        release(exchange, keepsConnection: false)
        exchanges[exchange].entry.tally.isOwn = true
        exchanges[exchange].entry.tally.status = own.status
        if !exchanges[exchange].request.isComplete || phase.isDraining { exchanges[exchange].keepsClient = false }
        if let record = exchanges[exchange].entry.record {
            record.status = own.status
            if own.error != nil { record.cause = own.cause.isEmpty ? own.words : own.cause }
        }
        identity.refreshDate(now: loop.now)
        memory.outgoing.removeAll()
        exchanges[exchange].clientCodec.write(
            own, requestID: exchanges[exchange].entry.id.text, isHead: exchanges[exchange].isHead,
            keepsClient: exchanges[exchange].keepsClient, identity, to: &memory.outgoing)
        return sendOutgoing(exchange, Span()) ?? .complete
    }

    // MARK: Ends

    /// The response is complete, or was cut: releases the instance, and waits until the client has taken the rest.
    private mutating func finish(_ exchange: ExchangeIndex) -> Exchange.Event? {
        release(exchange, keepsConnection: exchanges[exchange].keepsConnection)
        // A cut is counted when it happens, not when the client has taken the rest.
        if !exchanges[exchange].keepsConnection { close(exchange, .cut) }
        guard clients.slab[exchanges[exchange].client].output.isEmpty else {
            setDeadline(exchange, loop.now + Limits.betweenBytesTimeoutMilliseconds)
            return nil
        }
        return .taken
    }

    /// The exchange gives up its place in the queue, its connection, its instance and its buffers.
    @inline(__always)
    private mutating func release(_ exchange: ExchangeIndex, keepsConnection: Bool) {
        if let connection = exchanges[exchange].place.connection {
            detach(connection, exchange, keeps: keepsConnection)
        }
        leaveInstance(exchange)
        leaveService(exchange)
        exchanges[exchange].request.giveBack(to: &memory.requests)
    }

    /// The exchange no longer occupies its instance.
    @inline(__always)
    mutating func leaveInstance(_ exchange: ExchangeIndex) {
        guard let instance = exchanges[exchange].place.instance else { return }
        exchanges[exchange].place.instance = nil
        table.leave(instance, &ledger)
    }

    /// The exchange no longer counts in its service.
    @inline(__always)
    private mutating func leaveService(_ exchange: ExchangeIndex) {
        guard let service = exchanges[exchange].place.service else { return }
        if exchanges[exchange].place.isQueued { leaveQueue(exchange, service) }
        exchanges[exchange].place.service = nil
        if exchanges[exchange].place.isInRetryBudget { table.services[service].retrying -= 1 }
        table.leaveService(service)
    }

    @inline(__always)
    private mutating func end(_ exchange: ExchangeIndex, _ outcome: Outcome) {
        let client = exchanges[exchange].client
        let (keeps, isRead) = (exchanges[exchange].keepsClient, exchanges[exchange].request.isComplete)
        forget(exchange, outcome)
        exchangeEnded(client, keeps: keeps, isRead: isRead)
    }

    private mutating func endWithClient(_ exchange: ExchangeIndex, _ outcome: Outcome) {
        let client = exchanges[exchange].client
        forget(exchange, outcome)
        closeClient(client)
    }

    /// Ends the exchange: releases what it occupies, counts its outcome, frees its slot.
    @inline(__always)
    mutating func forget(_ exchange: ExchangeIndex, _ outcome: Outcome) {
        release(exchange, keepsConnection: false)
        close(exchange, outcome)
        clients.slab[exchanges[exchange].client].exchanges.remove(exchange)
        exchanges.discard(exchange)
    }

    /// Counts and logs the outcome, once.
    @inline(__always)
    private mutating func close(_ exchange: ExchangeIndex, _ outcome: Outcome) {
        guard !exchanges[exchange].entry.isClosed else { return }
        exchanges[exchange].entry.isClosed = true
        ledger.end(exchanges[exchange].entry, outcome, tries: exchanges[exchange].law.tries)
    }

    /// Ends all exchanges when the process ends: each is counted and logged, and a client with a partial response sees that it is incomplete.
    mutating func cutUnfinished() {
        for client in clients.slab.indices {
            while let exchange = clients.slab[client].exchanges.first {
                let action = exchanges[exchange].receive(.stopped)
                if case .reset = action { clients.slab[client].stream.resetOnClose() }
                forget(exchange, action.outcome ?? .cut)
            }
            closeClient(client)
        }
    }
}
