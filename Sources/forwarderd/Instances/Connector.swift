import Shared

/// Gives exchanges a connection: an idle one or a new one. After use, connections are kept idle or closed.
extension Forwarder {
    /// Begins a try at the exchange's instance, on an idle connection if there is one. `isFresh`: on a new connection.
    mutating func connect(_ exchange: ExchangeIndex, isFresh: Bool) -> Exchange.Event {
        let instances = table.instances
        guard let instance = exchanges[exchange].place.instance else { return .clientGone }
        ledger.noteTry(exchanges[exchange].entry.tally)
        exchanges[exchange].request.rewind(authority: instances[instance].authority)
        exchanges[exchange].law.begin()
        guard let address = instances[instance].state.address else {
            return failure(exchange, .noAddress, isReused: false)
        }
        if !isFresh, let connection = takeIdle(instance, isIdempotent: exchanges[exchange].law.isIdempotent) {
            attach(connection, exchange)
            return .connected
        }
        return open(exchange, instance, address)
    }

    /// The idle connection that was used last and is still good.
    @inline(__always)
    private mutating func takeIdle(
        _ instance: Slab<InstanceSlot>.Index, isIdempotent: Bool
    ) -> ConnectionIndex? {
        let instances = table.instances
        while let connection = pool.candidate(
            in: instances[instance].idle, isIdempotent: isIdempotent, now: loop.now)
        {
            guard isGood(connection, isIdempotent) else {
                pool.closeIdle(connection, in: &instances[instance].idle)
                continue
            }
            pool.remove(connection, from: &instances[instance].idle)
            pool.connections[connection].phase = .busy
            return connection
        }
        return nil
    }

    /// Whether an idle connection has received nothing. For an idempotent request this turn's events suffice. Any other request could not be
    /// retried if the instance has closed the connection since, so the system is asked.
    @inline(__always)
    private func isGood(_ connection: ConnectionIndex, _ isIdempotent: Bool) -> Bool {
        if isIdempotent, !pool.connections[connection].stream.mayReceive, !loop.isTurnFull { return true }
        return pool.connections[connection].stream.isQuiet()
    }

    private mutating func open(
        _ exchange: ExchangeIndex, _ instance: Slab<InstanceSlot>.Index, _ address: SocketAddress
    ) -> Exchange.Event {
        let instances = table.instances
        guard let service = exchanges[exchange].place.service else { return .clientGone }
        // Idle connections count, too, where the number of connections is limited.
        let limit = table.services[service].connectionsPerInstance
        while let newest = instances[instance].idle.newest,
            instances[instance].idle.count + instances[instance].outstanding > limit
        {
            pool.closeIdle(newest, in: &instances[instance].idle)
        }
        if pool.isFull, !pool.closeOldest(instances) {
            return neverConnected(exchange, .ourLimit(pool.connections.capacity))
        }
        let descriptor: Descriptor
        let isConnected: Bool
        while true {
            do {
                (descriptor, isConnected) = try Socket.connect(to: address, sendsFirst: true)
                break
            } catch {
                if error == .tooManyOpenFiles || error == .fileTableFull, pool.closeOldest(instances) { continue }
                return neverConnected(exchange, .connect(error))
            }
        }
        let connections = pool.connections
        let connection = connections.insert(InstanceConnection(descriptor, instance: instance, address: address))
        attach(connection, exchange)
        do {
            try loop.add(
                descriptor, connections.token(EventKind.connection.rawValue, connection),
                [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            detach(connection, exchange, keeps: false)
            return failure(exchange, .connect(error), isReused: false)
        }
        if isConnected {
            connections[connection].phase = .busy
            return .connected
        }
        setDeadline(exchange, loop.now + table.services[service].policy.connectTimeoutMilliseconds)
        return .connecting
    }

    private mutating func neverConnected(_ exchange: ExchangeIndex, _ fault: InstanceFault) -> Exchange.Event {
        if fault.isOurOwn {
            ledger.warn(
                "no further connection to an instance is possible: \(fault.words)", kind: "connections", now: loop.now)
        }
        return failure(exchange, fault, isReused: false)
    }

    @inline(__always)
    private func attach(_ connection: ConnectionIndex, _ exchange: ExchangeIndex) {
        pool.connections[connection].exchanges.add(exchange)
        exchanges[exchange].place.connection = connection
    }

    /// The exchange no longer uses the connection, which is kept for another request where that is possible.
    @inline(__always)
    mutating func detach(_ connection: ConnectionIndex, _ exchange: ExchangeIndex, keeps: Bool) {
        let connections = pool.connections
        exchanges[exchange].place.connection = nil
        connections[connection].exchanges.remove(exchange)
        if keeps, exchanges[exchange].request.isHandedOver, mayKeep(connection) {
            let instance = connections[connection].instance
            pool.keep(connection, in: &table.instances[instance].idle, now: loop.now)
            if pool.isOverIdleLimit { _ = pool.closeOldest(table.instances) }
        } else {
            memory.requests.giveBack(from: &connections[connection].input)
            memory.outputs.giveBack(from: &connections[connection].output)
            connections[connection].stream.close()
            connections.discard(connection)
        }
    }

    @inline(__always)
    private func mayKeep(_ connection: ConnectionIndex) -> Bool {
        let connections = pool.connections
        let instance = table.instances[connections[connection].instance]
        return connections[connection].keepsAlive && !connections[connection].stream.hasEndAhead
            && instance.idle.count < Limits.idleConnectionsPerInstance
            // Its instance or address must still be in the table and in use.
            && instance.serviceIndex >= 0 && !instance.state.draining
            && instance.state.address == connections[connection].address
            // Bytes after a response are never a response: ask the system if the last receive may have left some.
            && (!connections[connection].stream.mayReceive || connections[connection].stream.isQuiet())
    }
}
