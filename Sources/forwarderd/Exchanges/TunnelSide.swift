import Shared

/// The bytes of a tunnel, in both directions until both have ended, each at its own time.
extension Forwarder {
    mutating func touchTunnel(_ exchange: ExchangeIndex) {
        guard let service = exchanges[exchange].place.service else { return }
        setDeadline(exchange, loop.now + table.services[service].policy.tunnelTimeoutMilliseconds)
    }

    /// Relays what has come from both sides. Nil: both wait.
    mutating func relayTunnel(_ exchange: ExchangeIndex) -> Exchange.Event? {
        guard let connection = exchanges[exchange].place.connection else { return .brokenOff }
        touchTunnel(exchange)
        return relayToInstance(exchange, connection) ?? relayToClient(exchange, connection)
    }

    private mutating func relayToInstance(_ exchange: ExchangeIndex, _ connection: ConnectionIndex)
        -> Exchange.Event?
    {
        let clients = clients.slab
        let connections = pool.connections
        let client = exchanges[exchange].client
        var budget = Limits.relayBytesPerTurn
        while exchanges[exchange].tunnel.fromClient != .passedOn {
            // An instance may switch the protocol before it has the whole request: the rest of that is still framed.
            if exchanges[exchange].request.isHandedOver {
                exchanges[exchange].request.giveBack(to: &memory.requests)
            }
            if !exchanges[exchange].request.isHandedOver {
                switch handOver(exchange, connection) {
                case .starved: return .starved
                case .failed: return instanceTakesNoMore(exchange, connection)
                case .bytes(let moved):
                    budget -= moved
                    if exchanges[exchange].request.isDrained { break }
                    if moved == 0 { return nil }
                    continue
                }
                if exchanges[exchange].request.isComplete { continue }
                _ = exchanges[exchange].request.dropSentIfFull()
                do throws(HTTPFault) {
                    try takeBody(exchange)
                } catch {
                    exchanges[exchange].entry.record?.cause = "the request's body: \(error.reason)"
                    return .brokenOff
                }
                if !exchanges[exchange].request.isDrained || exchanges[exchange].request.isComplete { continue }
            } else if !clients[client].input.isEmpty {
                switch connections[connection].stream.send(clients[client].input.bytes) {
                // The next event says when there is room.
                case .nothing: return nil
                case .failed: return instanceTakesNoMore(exchange, connection)
                case .bytes(let count):
                    clients[client].input.consume(count)
                    exchanges[exchange].entry.record?.received(count)
                    exchanges[exchange].entry.tally.bytesReceived &+= UInt64(count)
                    budget -= count
                    touchTunnel(exchange)
                    continue
                }
            }
            if exchanges[exchange].tunnel.fromClient == .ended {
                memory.requests.giveBack(from: &clients[client].input)
                exchanges[exchange].tunnel.passOn(from: .client)
                connections[connection].stream.endSending()
                return exchanges[exchange].tunnel.isOver ? .tunnelOver : nil
            }
            if budget <= 0 {
                resumeLater(client)
                return nil
            }
            switch receive(client) {
            case .bytes: break
            case .nothing:
                // A tunnel at rest holds no buffer.
                if clients[client].input.isEmpty { memory.requests.giveBack(from: &clients[client].input) }
                return nil
            case .end: exchanges[exchange].tunnel.end(from: .client)
            case .failed: return brokenOff(exchange)
            }
        }
        return nil
    }

    /// The instance takes nothing more; what it sent before is still to be received.
    private mutating func instanceTakesNoMore(_ exchange: ExchangeIndex, _ connection: ConnectionIndex)
        -> Exchange.Event?
    {
        exchanges[exchange].tunnel.passOn(from: .client)
        memory.requests.giveBack(from: &clients.slab[exchanges[exchange].client].input)
        exchanges[exchange].request.giveBack(to: &memory.requests)
        pool.connections[connection].stream.noteEnd()
        return exchanges[exchange].tunnel.isOver ? .tunnelOver : nil
    }

    mutating func relayToClient(_ exchange: ExchangeIndex, _ connection: ConnectionIndex) -> Exchange.Event? {
        let connections = pool.connections
        let client = exchanges[exchange].client
        var budget = Limits.relayBytesPerTurn
        while exchanges[exchange].tunnel.fromInstance != .passedOn {
            if !clients.slab[client].output.isEmpty {
                connections[connection].isPaused = true
                return nil
            }
            if exchanges[exchange].tunnel.fromInstance == .ended {
                exchanges[exchange].tunnel.passOn(from: .instance)
                clients.slab[client].stream.endSending()
                return exchanges[exchange].tunnel.isOver ? .tunnelOver : nil
            }
            guard connections[connection].stream.mayReceive else { return nil }
            if budget <= 0 {
                unfinished.append(connections.token(EventKind.connection.rawValue, connection))
                return nil
            }
            memory.received.removeAll()
            switch connections[connection].stream.receive(into: &memory.received) {
            case .nothing: return nil
            case .end: exchanges[exchange].tunnel.end(from: .instance)
            case .failed: return brokenOff(exchange)
            case .bytes(let count):
                budget -= count
                touchTunnel(exchange)
                memory.outgoing.removeAll()
                var bytes = Buffer.none
                swap(&bytes, &memory.received)
                let event = sendOutgoing(exchange, bytes.bytes)
                swap(&bytes, &memory.received)
                if let event { return event }
            }
        }
        return nil
    }

    private func brokenOff(_ exchange: ExchangeIndex) -> Exchange.Event {
        exchanges[exchange].entry.record?.cause = "one side of the tunnel has broken off"
        return .brokenOff
    }

    /// Neither side may take the end of a broken tunnel for a proper one. A reset would destroy what is still on its way, so a side where
    /// something is gets an end.
    mutating func resetTunnel(_ exchange: ExchangeIndex) {
        let client = exchanges[exchange].client
        if clients.slab[client].stream.isDelivered { clients.slab[client].stream.resetOnClose() }
        guard let connection = exchanges[exchange].place.connection else { return }
        if pool.connections[connection].stream.isDelivered { pool.connections[connection].stream.resetOnClose() }
    }
}
