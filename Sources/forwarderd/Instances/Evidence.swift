import Shared

/// Evidence of this forwarder's own requests: collected when a try fails, acted upon here, and reported to discoveryd.
extension Forwarder {
    /// The try on `connection` has failed: closes it and collects the evidence. The returned event is judged by `RetryLaw`.
    mutating func failure(_ exchange: ExchangeIndex, _ fault: InstanceFault, _ connection: ConnectionIndex)
        -> Exchange.Event
    {
        let isReused = pool.connections[connection].isReused
        detach(connection, exchange, keeps: false)
        return failure(exchange, fault, isReused: isReused)
    }

    mutating func fail(_ exchange: ExchangeIndex, _ fault: InstanceFault) -> Exchange.Event {
        guard let connection = exchanges[exchange].place.connection else {
            return failure(exchange, fault, isReused: false)
        }
        return failure(exchange, fault, connection)
    }

    mutating func failure(_ exchange: ExchangeIndex, _ fault: InstanceFault, isReused: Bool) -> Exchange.Event {
        guard let instance = exchanges[exchange].place.instance, let service = exchanges[exchange].place.service else {
            return .clientGone
        }
        let instances = table.instances
        let address = exchanges[exchange].law.address
        let hasForwarded = exchanges[exchange].hasForwarded
        // A failed reused connection accuses nobody: the instance may close it at any time.
        if fault.accuses, !isReused { accuse(instance, address, fault) }
        if fault == .closed, !isReused, !hasForwarded { weakenAddress(instance, address) }
        if fault == .timeout, !hasForwarded {
            // Responses to other requests prove that the instance works, except those that came while this request was being sent: the
            // first tenth of the wait does not count.
            let waited = table.services[service].policy.firstByteTimeoutMilliseconds
            let since = loop.now - min(loop.now, waited - waited / 10)
            let answeredAt =
                address.flatMap {
                    instances[instance].addresses.answeredAt($0, of: instances[instance].state.addresses)
                } ?? instances[instance].answeredAt
            weaken(instance, address, answeredAt < since ? .silence : .timeout)
        }
        ledger.noteFailure(exchanges[exchange].entry.tally, fault)
        return .failed(
            RetryLaw.Failure(
                fault: fault, isReused: isReused, isInBudget: table.services[service].allowsRetry,
                tries: table.services[service].policy.tries, addresses: instances[instance].state.addresses))
    }

    /// The head of a response has come: what that says of the instance.
    @inline(__always)
    mutating func noteHead(_ exchange: ExchangeIndex, _ status: UInt16) {
        exchanges[exchange].entry.record?.status = status
        exchanges[exchange].entry.record?.firstByte()
        ledger.noteHead(&exchanges[exchange].entry.tally, status: status, now: loop.nowNanoseconds)
        guard let instance = exchanges[exchange].place.instance else { return }
        let instances = table.instances
        instances[instance].answeredAt = loop.now
        let isGood = status < 500
        let address = exchanges[exchange].law.address
        if let address {
            instances[instance].addresses.answered(
                address, of: instances[instance].state.addresses, isGood: isGood, now: loop.now)
        }
        if isGood {
            instances[instance].passive.succeeded()
        } else {
            weaken(instance, address, .serverError)
        }
        let sentAt = exchanges[exchange].sentAt
        if sentAt != 0 {
            let microseconds = Double(Clock.monotonicNanoseconds() &- sentAt) / 1000
            instances[instance].latency.observe(microseconds: microseconds, now: loop.now)
        }
    }

    /// Evidence against an instance: it is avoided here at once, and discoveryd is told.
    private mutating func accuse(_ instance: Table.Instance, _ address: SocketAddress?, _ fault: InstanceFault) {
        let instances = table.instances
        observed(instance, fault.words)
        let addresses = instances[instance].state.addresses
        if let address, addresses.count > 1 {
            let outcome = instances[instance].addresses.failed(address, of: addresses, now: loop.now, random: &random)
            noteAvoided(instance, address, outcome, fault.words)
            guard outcome == .allAvoided else { return }
        }
        // That nothing listens there is proof. Anything else ejects no more than half of a service.
        if case .connect = fault { return eject(instance, fault.words) }
        if table.mayEject(instance) { eject(instance, fault.words) }
    }

    /// An instance responds 5xx, or not in time. Enough of that in a row is evidence, too.
    private mutating func weaken(
        _ instance: Table.Instance, _ address: SocketAddress?, _ weakness: PassiveHealth.Weakness
    ) {
        let words =
            switch weakness {
            case .silence: "timed out, and nothing else was answered meanwhile"
            case .timeout: "time-outs in a row"
            case .serverError: "\(Limits.badAnswersInRow) answers of 5xx in a row"
            }
        let instances = table.instances
        let addresses = instances[instance].state.addresses
        if let address, addresses.count > 1 {
            let outcome = instances[instance].addresses.weakened(
                address, weakness, of: addresses, now: loop.now, random: &random)
            if outcome != .nothing { observed(instance, words) }
            return noteAvoided(instance, address, outcome, words)
        }
        guard instances[instance].passive.weakened(weakness), !instances[instance].passive.isEjected else { return }
        observed(instance, words)
        if table.mayEject(instance) { eject(instance, words) }
    }

    /// An address of several closes a new connection without a response: the others may do better.
    private mutating func weakenAddress(_ instance: Table.Instance, _ address: SocketAddress?) {
        let instances = table.instances
        let addresses = instances[instance].state.addresses
        guard let address, addresses.count > 1 else { return }
        let outcome = instances[instance].addresses.weakened(
            address, .timeout, of: addresses, now: loop.now, random: &random)
        noteAvoided(instance, address, outcome, InstanceFault.closed.words)
    }

    private func noteAvoided(
        _ instance: Table.Instance, _ address: SocketAddress, _ outcome: AddressEvidence.Outcome, _ words: String
    ) {
        guard case .avoided(let span) = outcome else { return }
        let (service, url) = (table.instances[instance].service, table.instances[instance].url)
        log.info("\(service) \(url): its address \(address) is avoided for \(span) ms: \(words)")
    }

    private mutating func eject(_ instance: Table.Instance, _ words: String) {
        let instances = table.instances
        guard let span = instances[instance].passive.failed(now: loop.now, random: &random) else { return }
        instances[instance].evidence = (words, loop.now)
        ledger.noteEjection(instances[instance], true)
        log.info("\(instances[instance].service) \(instances[instance].url) ejected for \(span) ms: \(words)")
        _ = loop.schedule(instances.token(EventKind.ejectionEnd.rawValue, instance), after: span)
        table.noteFacts(instance)
    }

    mutating func ejectionEnded(_ instance: Table.Instance) {
        let instances = table.instances
        guard let until = instances[instance].passive.ejectedUntil, until <= loop.now else { return }
        instances[instance].passive.expire()
        ledger.noteEjection(instances[instance], false)
        table.noteFacts(instance)
    }
}
