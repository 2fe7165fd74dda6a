import Shared

/// Performs what exchanges ask for. Each action returns the event that it leads to, and that event's action is performed next: no action
/// is performed from within another.
extension Forwarder {
    mutating func drive(_ exchange: ExchangeIndex, _ first: Exchange.Action) {
        var (exchange, action) = (exchange, first)
        // Actions that begin anew when those behind them are done.
        var postponed: [(exchange: ExchangeIndex, action: Exchange.Action)] = []
        while true {
            if let event = perform(exchange, action, &postponed) {
                action = exchanges[exchange].receive(event)
            } else {
                guard let next = postponed.popLast() else { return }
                (exchange, action) = next
            }
        }
    }

    /// Nil: the exchange waits for an event, or has ended.
    @inline(__always)
    private mutating func perform(
        _ exchange: ExchangeIndex, _ action: Exchange.Action,
        _ postponed: inout [(exchange: ExchangeIndex, action: Exchange.Action)]
    ) -> Exchange.Event? {
        switch action {
        case .wait: return nil
        case .choose(let fault, let crowdsOut):
            noteRetry(exchange)
            leaveInstance(exchange)
            let event = choose(exchange, after: fault)
            guard case .noRoom = event, crowdsOut, let other = halfClosed(service: exchanges[exchange].service) else {
                return event
            }
            postponed.append((exchange, .choose(after: fault, crowdsOut: false)))
            postponed.append((other, crowdOut(other)))
            return nil
        case .enqueue:
            guard let other = halfClosedInFullQueue(exchange) else { return enqueue(exchange) }
            postponed.append((exchange, action))
            postponed.append((other, crowdOut(other)))
            return nil
        case .connect, .reconnect:
            if pool.isFull, !pool.closeOldest(table.instances), let other = halfClosed(service: nil) {
                postponed.append((exchange, action))
                postponed.append((other, crowdOut(other)))
                return nil
            }
            noteRetry(exchange)
            if case .reconnect(let isFresh) = action { return connect(exchange, isFresh: isFresh, isAgain: true) }
            return connect(exchange, isFresh: false, isAgain: false)
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
        case .reset:
            clients.slab[exchanges[exchange].client].stream.resetOnClose()
            endWithClient(exchange, .cut)
        case .cutTunnel(let outcome):
            resetTunnel(exchange)
            endWithClient(exchange, outcome)
        case .end(let outcome): end(exchange, outcome)
        case .endWithClient(let outcome): endWithClient(exchange, outcome)
        }
        return nil
    }

    // MARK: Choosing

    /// Finds an instance that may take the request and has room. `fault`: why the last one failed.
    mutating func choose(_ exchange: ExchangeIndex, after fault: InstanceFault?) -> Exchange.Event {
        guard let service = exchanges[exchange].service else { return .clientGone }
        if fault == nil, !table.services[service].queue.isEmpty {
            // Nobody overtakes requests that wait; at the end of the turn they go on in their order.
            table.noteRoom(service)
            return .noRoom
        }
        switch pick(exchange, service) {
        case .instance(let slot):
            occupy(exchange, Table.Instance(slot))
            return .chosen
        case .full: return .noRoom
        case .none: return .refused(.unavailable(after: fault, wasSent: exchanges[exchange].law.wasSent))
        }
    }

    @inline(__always)
    mutating func pick(_ exchange: ExchangeIndex, _ service: Int) -> Balancer.Pick {
        table.rankIfStale(service)
        let instances = table.instances
        let limit = table.services[service].connectionsPerInstance
        let now = loop.now
        let ranking = table.services[service].ranking
        return Chooser.choose(
            table.services[service].policy.balance, ranking, excluding: exchanges[exchange].law.excluded,
            key: exchanges[exchange].key, turn: &table.services[service].turn, dice: &random,
            percent: { instances[Table.Instance($0)].percentWelcome(now: now) },
            load: { instances[Table.Instance($0)].load(limit: limit, now: now, triesFreely: $1) })
    }

    @inline(__always)
    private mutating func occupy(_ exchange: ExchangeIndex, _ instance: Table.Instance) {
        let instances = table.instances
        exchanges[exchange].instance = instance
        instances[instance].outstanding += 1
        ledger.enter(&instances[instance], &exchanges[exchange].tally)
        guard let record = exchanges[exchange].record else { return }
        record.chosen()
        record.instance = instances[instance].url
    }

    /// A request that is moved more than once counts in the retry budget of its service.
    @inline(__always)
    private mutating func noteRetry(_ exchange: ExchangeIndex) {
        guard exchanges[exchange].law.isRetrying, !exchanges[exchange].isInRetryBudget,
            let service = exchanges[exchange].service
        else { return }
        exchanges[exchange].isInRetryBudget = true
        table.services[service].retrying += 1
    }

    // MARK: Waiting for room

    /// The request waits for an instance with room, or is refused where too many wait already.
    private mutating func enqueue(_ exchange: ExchangeIndex) -> Exchange.Event? {
        guard let service = exchanges[exchange].service else { return .clientGone }
        guard !table.services[service].queue.isFull else {
            let count = table.services[service].queue.count
            return .refused(
                .full(
                    "all instances are full and \(count) requests wait already",
                    wasSent: exchanges[exchange].law.wasSent))
        }
        exchanges[exchange].isQueued = true
        table.services[service].queue.append(exchange)
        setDeadline(exchange, loop.now + table.services[service].policy.queueTimeoutMilliseconds)
        return nil
    }

    private mutating func leaveQueue(_ exchange: ExchangeIndex, _ service: Int) {
        exchanges[exchange].isQueued = false
        table.services[service].queue.remove(exchange)
    }

    private func queueTimedOut(_ exchange: ExchangeIndex) -> OwnAnswer {
        let time = exchanges[exchange].service.map { table.services[$0].policy.queueTimeoutMilliseconds } ?? 0
        return .full("no instance had room for \(time) ms", wasSent: exchanges[exchange].law.wasSent)
    }

    /// Requests that have waited longest go on, as far as there is room.
    mutating func serveQueues() {
        guard table.hasServicesWithRoom else { return }
        for service in table.takeServicesWithRoom() {
            var index = 0
            while let exchange = table.services[service].queue.entry(index) {
                switch pick(exchange, service) {
                case .full:
                    // A request that has failed at an instance is choosy: those behind it may find room where it cannot go.
                    guard exchanges[exchange].law.excluded.count > 0 else { break }
                    index += 1
                    continue
                case .instance(let slot):
                    leaveQueue(exchange, service)
                    occupy(exchange, Table.Instance(slot))
                    drive(exchange, exchanges[exchange].receive(.chosen))
                    continue
                case .none:
                    leaveQueue(exchange, service)
                    let own = OwnAnswer.unavailable(after: nil, wasSent: exchanges[exchange].law.wasSent)
                    drive(exchange, exchanges[exchange].receive(.refused(own)))
                    continue
                }
                break
            }
        }
    }

    // MARK: Half-closed clients

    // A client that has ended its side may still want its response, but more likely it has given up. Under pressure its place goes to a
    // request whose client has not.

    /// A half-closed exchange in the queue that this exchange finds full.
    private func halfClosedInFullQueue(_ exchange: ExchangeIndex) -> ExchangeIndex? {
        guard let service = exchanges[exchange].service, table.services[service].queue.isFull else { return nil }
        for index in 0..<table.services[service].queue.count {
            guard let other = table.services[service].queue.entry(index) else { continue }
            if clients.slab[exchanges[other].client].stream.hasEndAhead { return other }
        }
        return nil
    }

    /// A half-closed exchange that occupies an instance, of one service or of any.
    private mutating func halfClosed(service: Int?) -> ExchangeIndex? {
        // A search through all is not repeated within a millisecond.
        guard clients.nothingHalfClosedAt != loop.now else { return nil }
        for exchange in exchanges.indices
        where exchanges[exchange].connection != nil && exchanges[exchange].request.isComplete
            && exchanges[exchange].stage != .tunnel && (service == nil || exchanges[exchange].service == service)
            && clients.slab[exchanges[exchange].client].stream.hasEndAhead
        {
            return exchange
        }
        clients.nothingHalfClosedAt = loop.now
        return nil
    }

    private mutating func crowdOut(_ exchange: ExchangeIndex) -> Exchange.Action {
        exchanges[exchange].receive(.crowdedOut)
    }

    // MARK: Responses of our own

    /// Responds to the client, whatever was being done for it.
    private mutating func answer(_ exchange: ExchangeIndex, _ own: OwnAnswer) -> Exchange.Event {
        release(exchange, keepsConnection: false)
        exchanges[exchange].tally.isOwn = true
        exchanges[exchange].tally.status = own.status
        if !exchanges[exchange].request.isComplete || phase.isDraining { exchanges[exchange].keepsClient = false }
        if let record = exchanges[exchange].record {
            record.status = own.status
            if own.error != nil { record.cause = own.cause.isEmpty ? own.words : own.cause }
        }
        identity.refreshDate(now: loop.now)
        memory.outgoing.removeAll()
        own.write(
            requestID: exchanges[exchange].id.text, isHead: exchanges[exchange].isHead,
            keepsClient: exchanges[exchange].keepsClient, clientIsHTTP10: exchanges[exchange].clientIsHTTP10,
            identity: identity, to: &memory.outgoing)
        return sendOutgoing(exchange, Span()) ?? .complete
    }

    // MARK: Ends

    /// The response is complete: the instance is free for others. What the client has not taken yet is waited for.
    private mutating func finish(_ exchange: ExchangeIndex) -> Exchange.Event? {
        release(exchange, keepsConnection: true)
        guard clients.slab[exchanges[exchange].client].output.isEmpty else {
            setDeadline(exchange, loop.now + Limits.betweenBytesTimeoutMilliseconds)
            return nil
        }
        return .taken
    }

    /// The exchange gives up its place in the queue, its connection, its instance and its buffers.
    @inline(__always)
    private mutating func release(_ exchange: ExchangeIndex, keepsConnection: Bool) {
        if let connection = exchanges[exchange].connection { detach(connection, exchange, keeps: keepsConnection) }
        leaveInstance(exchange)
        leaveService(exchange)
        exchanges[exchange].request.giveBack(to: &memory.requests)
    }

    /// The exchange no longer occupies its instance.
    @inline(__always)
    mutating func leaveInstance(_ exchange: ExchangeIndex) {
        guard let instance = exchanges[exchange].instance else { return }
        exchanges[exchange].instance = nil
        table.leave(instance, &ledger)
    }

    /// The exchange no longer counts in its service.
    @inline(__always)
    private mutating func leaveService(_ exchange: ExchangeIndex) {
        guard let service = exchanges[exchange].service else { return }
        if exchanges[exchange].isQueued { leaveQueue(exchange, service) }
        exchanges[exchange].service = nil
        guard service < table.services.count else { return }
        table.services[service].active -= 1
        if exchanges[exchange].isInRetryBudget { table.services[service].retrying -= 1 }
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

    /// The exchange's one end: it is counted, gives everything back, and its place is free.
    @inline(__always)
    mutating func forget(_ exchange: ExchangeIndex, _ outcome: Outcome) {
        release(exchange, keepsConnection: false)
        ledger.end(
            exchanges[exchange].tally, outcome, exchanges[exchange].record, id: exchanges[exchange].id,
            tries: exchanges[exchange].law.tries)
        clients.slab[exchanges[exchange].client].exchanges.remove(exchange)
        _ = exchanges.remove(exchange)
    }

    /// The process ends while exchanges are in progress: each is counted and logged, and no client takes a part of a response for the
    /// whole.
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
