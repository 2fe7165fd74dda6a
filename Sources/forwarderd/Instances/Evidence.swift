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
        let hasForwarded = exchanges[exchange].hasForwarded
        // A failed reused connection accuses nobody: the instance may close it at any time.
        if fault.accuses, !isReused { accuse(instance, fault) }
        if fault == .closed, !isReused, !hasForwarded { weaken(instance, .closed) }
        if fault == .timeout, !hasForwarded {
            // Responses to other requests prove that the instance works, except those that came while this request was being sent: the
            // first tenth of the wait does not count.
            let waited = table.services[service].policy.firstByteTimeoutMilliseconds
            let since = loop.now - min(loop.now, waited - waited / 10)
            weaken(instance, instances[instance].answeredAt < since ? .silence : .timeout)
        }
        ledger.noteFailure(exchanges[exchange].entry.tally, fault)
        return .failed(
            RetryLaw.Failure(
                fault: fault, isReused: isReused, isInBudget: table.services[service].allowsRetry,
                tries: table.services[service].policy.tries))
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
        if isGood {
            instances[instance].passive.succeeded()
        } else {
            weaken(instance, .serverError)
        }
        let sentAt = exchanges[exchange].sentAt
        if sentAt != 0 {
            let microseconds = Double(Clock.monotonicNanoseconds() &- sentAt) / 1000
            instances[instance].latency.observe(microseconds: microseconds, now: loop.now)
        }
    }

    /// Evidence against an instance: it is avoided here at once, and discoveryd is told.
    private mutating func accuse(_ instance: Table.Instance, _ fault: InstanceFault) {
        observed(instance, fault.words)
        // That nothing listens there is proof. Anything else ejects no more than half of a service.
        if case .connect = fault { return eject(instance, fault.words) }
        if table.mayEject(instance) { eject(instance, fault.words) }
    }

    /// An instance responds 5xx, not in time, or closes new connections without a response. Enough of that in a row is evidence, too.
    private mutating func weaken(_ instance: Table.Instance, _ weakness: PassiveHealth.Weakness) {
        let words =
            switch weakness {
            case .silence: "timed out, and nothing else was answered meanwhile"
            case .timeout: "time-outs in a row"
            case .closed: "closed new connections without a response"
            case .serverError: "\(Limits.badAnswersInRow) answers of 5xx in a row"
            }
        let instances = table.instances
        guard instances[instance].passive.weakened(weakness), !instances[instance].passive.isEjected else { return }
        observed(instance, words)
        if table.mayEject(instance) { eject(instance, words) }
    }

    private mutating func eject(_ instance: Table.Instance, _ words: String) {
        let instances = table.instances
        guard let span = instances[instance].passive.failed(now: loop.now, random: &random) else { return }
        instances[instance].evidence = (words, loop.now)
        ledger.noteEjection(instances[instance], true)
        log.info("\(instances[instance].service) \(instances[instance].label) ejected for \(span) ms: \(words)")
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
