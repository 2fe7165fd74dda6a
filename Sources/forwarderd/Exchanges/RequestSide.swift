import Shared

/// A request's way from the client to an instance.
extension Forwarder {
    /// Sends the received part of the request while the instance takes it, and receives more of the body from the client.
    mutating func sendRequest(_ exchange: ExchangeIndex) -> Exchange.Event? {
        guard let connection = exchanges[exchange].place.connection, pool.connections[connection].phase == .busy else {
            return nil
        }
        var budget = Limits.relayBytesPerTurn
        // The deadline of the connect, or of an earlier wait, ends here: a body that keeps coming is never late.
        if !exchanges[exchange].request.isComplete { awaitBytes(exchange) }
        while true {
            switch handOver(exchange, connection) {
            case .starved: return .starved
            case .failed:
                // The instance may have responded before it closed the connection: read that response first.
                pool.connections[connection].stream.noteEnd()
                return receiveResponse(connection, exchange)
            case .bytes(let moved):
                budget -= moved
                if exchanges[exchange].request.isDrained { break }
                if moved == 0 { awaitBytes(exchange) }
                if moved == 0 || budget <= 0 { return stopSending(exchange, budget) }
                continue
            }
            if exchanges[exchange].request.isComplete { return handedOver(exchange) }
            if budget <= 0 { return stopSending(exchange, budget) }
            if let event = fetchBody(exchange) { return event.event }
        }
    }

    private mutating func stopSending(_ exchange: ExchangeIndex, _ budget: Int) -> Exchange.Event? {
        if budget <= 0 {
            awaitBytes(exchange)
            resumeLater(exchanges[exchange].client)
        }
        return nil
    }

    @inline(__always)
    private mutating func handedOver(_ exchange: ExchangeIndex) -> Exchange.Event {
        if let service = exchanges[exchange].place.service {
            if table.services[service].policy.balance == .peakEWMA {
                exchanges[exchange].sentAt = Clock.monotonicNanoseconds()
            }
            setDeadline(exchange, loop.now + table.services[service].policy.firstByteTimeoutMilliseconds)
        }
        return .handedOver
    }

    /// What a send to an instance has done.
    enum HandedOver {
        /// The instance took this many bytes; 0: it takes none now.
        case bytes(Int)
        /// The instance takes nothing more.
        case failed
        /// No buffer is free for bytes that the instance does not take now.
        case starved
    }

    /// Sends bytes of the request. The one place where the instance gets a byte of it.
    @inline(__always)
    private func send(_ bytes: Span<UInt8>, _ exchange: ExchangeIndex, _ connection: ConnectionIndex) -> HandedOver {
        switch pool.connections[connection].stream.send(bytes) {
        case .nothing: return .bytes(0)
        case .failed: return .failed
        case .bytes(let count):
            if count > 0 { exchanges[exchange].law.noteSent() }
            return .bytes(count)
        }
    }

    /// Sends the received part of the request.
    @inline(__always)
    mutating func handOver(_ exchange: ExchangeIndex, _ connection: ConnectionIndex) -> HandedOver {
        guard exchanges[exchange].instanceCodec.isTransparent else { return handOverFramed(exchange, connection) }
        if exchanges[exchange].request.unsent.isEmpty { return .bytes(0) }
        let result = send(exchanges[exchange].request.unsent, exchange, connection)
        if case .bytes(let count) = result { exchanges[exchange].request.noteSent(count) }
        return result
    }

    /// The same for a body that the codec frames. Framed bytes that the instance does not take now wait at the connection.
    private mutating func handOverFramed(_ exchange: ExchangeIndex, _ connection: ConnectionIndex) -> HandedOver {
        let connections = pool.connections
        var moved = 0
        if !connections[connection].output.isEmpty {
            let result = send(connections[connection].output.bytes, exchange, connection)
            guard case .bytes(let count) = result else { return result }
            connections[connection].output.consume(count)
            guard connections[connection].output.isEmpty else { return result }
            moved = count
            memory.outputs.giveBack(from: &connections[connection].output)
            exchanges[exchange].request.hasUnsentFrames = false
        }
        if exchanges[exchange].request.isDrained { return .bytes(moved) }
        memory.outgoing.removeAll()
        exchanges[exchange].instanceCodec.write(&exchanges[exchange].request, to: &memory.outgoing)
        let result = send(memory.outgoing.bytes, exchange, connection)
        guard case .bytes(let sent) = result else { return result }
        if sent < memory.outgoing.count {
            connections[connection].output = memory.outputs.lease()
            guard connections[connection].output.isLeased else {
                ledger.warn("no buffers are left; a request is cut", kind: "buffers", now: loop.now)
                return .starved
            }
            connections[connection].output.append(
                memory.outgoing.bytes.extracting(sent..<memory.outgoing.count))
            exchanges[exchange].request.hasUnsentFrames = true
        }
        memory.outgoing.removeAll()
        return .bytes(moved + sent)
    }

    /// Why sending stops.
    private struct Stop {
        let event: Exchange.Event?
    }

    /// Fetches more of the request's body from the client. Nil: there is more to send.
    private mutating func fetchBody(_ exchange: ExchangeIndex) -> Stop? {
        let clients = clients.slab
        let client = exchanges[exchange].client
        if clients[client].input.isEmpty {
            switch receive(client) {
            case .bytes: exchanges[exchange].request.noteContinue()
            case .nothing:
                awaitBody(exchange)
                return Stop(event: nil)
            case .failed(.outOfMemory): return Stop(event: .starved)
            case .end, .failed: return Stop(event: .clientGone)
            }
        }
        if exchanges[exchange].request.dropSentIfFull() { exchanges[exchange].law.noteDropped() }
        do throws(HTTPFault) {
            try takeBody(exchange)
        } catch {
            // The body is not what the head has promised. Where part of a response was forwarded, only a reset can say so.
            let own = OwnAnswer.badRequest(error, wasSent: exchanges[exchange].law.wasSent)
            return Stop(event: exchanges[exchange].hasForwarded ? .brokenOff : .refused(own))
        }
        return nil
    }

    /// Waits for more of the client's body, or for the instance's 100 (Continue) if the client waits for that.
    private mutating func awaitBody(_ exchange: ExchangeIndex) {
        guard exchanges[exchange].request.isWithheld, let service = exchanges[exchange].place.service else {
            return awaitBytes(exchange)
        }
        setDeadline(exchange, loop.now + table.services[service].policy.firstByteTimeoutMilliseconds)
    }

    /// The exchange waits for the next piece of a body, in either direction.
    @inline(__always)
    mutating func awaitBytes(_ exchange: ExchangeIndex) {
        guard let service = exchanges[exchange].place.service else { return }
        setDeadline(exchange, loop.now + table.services[service].policy.idleTimeoutMilliseconds)
    }
}
