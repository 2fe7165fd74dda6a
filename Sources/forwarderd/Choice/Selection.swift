import Shared

/// Finds an instance for an exchange: chooses one, queues the request, or ends the exchange of a half-closed client for its place.
extension Forwarder {
    /// Finds an instance that may take the request and has room. `isFull`: all instances that may take it are full.
    mutating func choose(_ exchange: ExchangeIndex) -> (event: Exchange.Event, isFull: Bool) {
        guard let service = exchanges[exchange].place.service else { return (.clientGone, false) }
        let fault = exchanges[exchange].law.lastFault
        if fault == nil, !table.services[service].queue.isEmpty {
            // A new request does not overtake queued ones; they are served at the end of the turn.
            table.noteRoom(service)
            return (.noRoom, false)
        }
        switch pick(exchange, service) {
        case .instance(let slot):
            occupy(exchange, Table.Instance(slot))
            return (.chosen, false)
        case .full: return (.noRoom, true)
        case .none: return (.refused(.unavailable(after: fault, wasSent: exchanges[exchange].law.wasSent)), false)
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
        exchanges[exchange].place.instance = instance
        instances[instance].outstanding += 1
        ledger.enter(&instances[instance], &exchanges[exchange].entry.tally)
        guard let record = exchanges[exchange].entry.record else { return }
        record.chosen()
        record.instance = instances[instance].url
        record.address = instances[instance].isOneOfSeveral ? instances[instance].address : nil
    }

    /// A request that is moved more than once counts in the retry budget of its service.
    @inline(__always)
    mutating func noteRetry(_ exchange: ExchangeIndex) {
        guard exchanges[exchange].law.isRetrying, !exchanges[exchange].place.isInRetryBudget,
            let service = exchanges[exchange].place.service
        else { return }
        exchanges[exchange].place.isInRetryBudget = true
        table.services[service].retrying += 1
    }

    // MARK: Waiting for room

    /// The request waits for an instance with room, or is refused where too many wait already.
    mutating func enqueue(_ exchange: ExchangeIndex) -> Exchange.Event? {
        guard let service = exchanges[exchange].place.service else { return .clientGone }
        guard !table.services[service].queue.isFull else {
            let count = table.services[service].queue.count
            return .refused(
                .full(
                    "all instances are full and \(count) requests wait already",
                    wasSent: exchanges[exchange].law.wasSent))
        }
        exchanges[exchange].place.isQueued = true
        table.services[service].queue.append(exchange)
        setDeadline(exchange, loop.now + table.services[service].policy.queueTimeoutMilliseconds)
        return nil
    }

    mutating func leaveQueue(_ exchange: ExchangeIndex, _ service: Int) {
        exchanges[exchange].place.isQueued = false
        table.services[service].queue.remove(exchange)
    }

    func queueTimedOut(_ exchange: ExchangeIndex) -> OwnAnswer {
        let time = exchanges[exchange].place.service.map { table.services[$0].policy.queueTimeoutMilliseconds } ?? 0
        return .full("no instance had room for \(time) ms", wasSent: exchanges[exchange].law.wasSent)
    }

    /// Queued requests go to instances with room, in the order of their coming.
    mutating func serveQueues() {
        guard table.hasServicesWithRoom else { return }
        for service in table.takeServicesWithRoom() {
            var index = 0
            while let exchange = table.services[service].queue.entry(index) {
                switch pick(exchange, service) {
                case .full:
                    // A retried request may not go everywhere: later requests may find room where it must not go.
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

    /// A half-closed exchange in this exchange's queue, if that is full.
    func halfClosedInFullQueue(_ exchange: ExchangeIndex) -> ExchangeIndex? {
        guard let service = exchanges[exchange].place.service, table.services[service].queue.isFull else { return nil }
        for index in 0..<table.services[service].queue.count {
            guard let other = table.services[service].queue.entry(index) else { continue }
            if clients.slab[exchanges[other].client].stream.hasEndAhead { return other }
        }
        return nil
    }

    /// A half-closed exchange that occupies an instance, of one service or of any.
    mutating func halfClosed(service: Int?) -> ExchangeIndex? {
        // A search through all is not repeated within a millisecond.
        guard clients.nothingHalfClosedAt != loop.now else { return nil }
        for exchange in exchanges.indices
        where exchanges[exchange].place.connection != nil && exchanges[exchange].request.isComplete
            && exchanges[exchange].stage != .tunnel && (service == nil || exchanges[exchange].place.service == service)
            && clients.slab[exchanges[exchange].client].stream.hasEndAhead
        {
            return exchange
        }
        clients.nothingHalfClosedAt = loop.now
        return nil
    }
}
