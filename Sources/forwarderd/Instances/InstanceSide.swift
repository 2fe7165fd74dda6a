import Shared

/// Takes what the event loop says of connections to instances to the exchange that each serves.
extension Forwarder {
    typealias ConnectionIndex = Slab<InstanceConnection>.Index

    mutating func connectionReady(_ connection: ConnectionIndex, _ readiness: Readiness) {
        let connections = pool.connections
        let exchange = connections[connection].exchanges.first
        switch connections[connection].phase {
        case .idle:
            // Bytes or an end that nobody asked for: the connection cannot serve another request.
            guard !readiness.isDisjoint(with: .receivingSide), !connections[connection].stream.isQuiet() else { return }
            pool.closeIdle(connection, in: &table.instances[connections[connection].instance].idle)
        case .connecting: if let exchange { connectingReady(connection, exchange, readiness) }
        case .busy: if let exchange { busyReady(connection, exchange, readiness) }
        }
    }

    private mutating func connectingReady(
        _ connection: ConnectionIndex, _ exchange: ExchangeIndex, _ readiness: Readiness
    ) {
        let connections = pool.connections
        let descriptor = connections[connection].stream.descriptor
        if !readiness.isDisjoint(with: [.error, .hangUp]) {
            let error = Socket.pendingError(descriptor) ?? .connectionRefused
            return drive(exchange, .fail(error == .timedOut ? .connectTimeout : .connect(error)))
        }
        guard readiness.contains(.writable) else { return }
        if Socket.isConnectedToItself(descriptor, connections[connection].address) {
            return drive(exchange, .fail(.connect(.connectionRefused)))
        }
        connections[connection].phase = .busy
        exchanges[exchange].entry.record?.connected()
        let generation = exchanges.generation(exchange)
        drive(exchange, exchanges[exchange].receive(.connected))
        // An instance may speak first, and the event does not come again.
        if exchanges.holds(exchange, generation) { resumeReceiving(exchange) }
    }

    private mutating func busyReady(
        _ connection: ConnectionIndex, _ exchange: ExchangeIndex, _ readiness: Readiness
    ) {
        let connections = pool.connections
        let generation = exchanges.generation(exchange)
        if readiness.contains(.error), exchanges[exchange].tunnel.fromInstance == .passedOn {
            // Nothing is received from that side any more, so no receive would return the error.
            return drive(exchange, exchanges[exchange].receive(.brokenOff))
        }
        if connections[connection].stream.mayReceive, !connections[connection].isPaused {
            receiveFromInstance(connection, exchange)
        }
        guard readiness.contains(.writable), exchanges.holds(exchange, generation),
            exchanges[exchange].place.connection == connection
        else { return }
        if exchanges[exchange].stage == .tunnel {
            drive(exchange, .relayTunnel)
        } else if !exchanges[exchange].request.isHandedOver {
            drive(exchange, .send)
        }
    }

    /// The client has taken what it was sent, or a connection has just been established: goes on with what the instance sends.
    mutating func resumeReceiving(_ exchange: ExchangeIndex) {
        guard let connection = exchanges[exchange].place.connection, pool.connections[connection].phase == .busy else {
            return
        }
        pool.connections[connection].isPaused = false
        if pool.connections[connection].stream.mayReceive || exchanges[exchange].stage == .tunnel {
            receiveFromInstance(connection, exchange)
        }
    }

    mutating func receiveFromInstance(_ connection: ConnectionIndex, _ exchange: ExchangeIndex) {
        let event =
            exchanges[exchange].stage == .tunnel
            ? relayToClient(exchange, connection) : receiveResponse(connection, exchange)
        if let event { drive(exchange, exchanges[exchange].receive(event)) }
    }
}
