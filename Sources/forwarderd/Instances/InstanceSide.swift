import Shared

/// What is done on connections to instances: they are taken or established, requests sent, responses received.
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
        exchanges[exchange].record?.connected()
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
        if connections[connection].stream.mayReceive, !connections[connection].isPaused {
            receiveFromInstance(connection, exchange)
        }
        guard readiness.contains(.writable), exchanges.holds(exchange, generation),
            exchanges[exchange].connection == connection
        else { return }
        if exchanges[exchange].stage == .tunnel {
            drive(exchange, .relayTunnel)
        } else if !exchanges[exchange].request.isHandedOver {
            drive(exchange, .send)
        }
    }

    /// The client has taken what it was sent, or a connection has just been established: goes on with what the instance sends.
    mutating func resumeReceiving(_ exchange: ExchangeIndex) {
        guard let connection = exchanges[exchange].connection, pool.connections[connection].phase == .busy else {
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

    // MARK: Connecting

    /// Begins a try at the exchange's instance, on an idle connection if there is one. `isFresh`: on a new connection to the address of
    /// the try before. `isAgain`: the instance has been tried before.
    mutating func connect(_ exchange: ExchangeIndex, isFresh: Bool, isAgain: Bool) -> Exchange.Event {
        let instances = table.instances
        guard let instance = exchanges[exchange].instance else { return .clientGone }
        ledger.noteTry(exchanges[exchange].tally)
        exchanges[exchange].request.rewind(authority: instances[instance].authority)
        let addresses = instances[instance].state.addresses
        let present = exchanges[exchange].law.address ?? (addresses.count == 1 ? addresses[0] : nil)
        let next =
            isFresh && present != nil
            ? present
            : instances[instance].addresses.next(
                addresses, tried: exchanges[exchange].law.triedAddresses, now: loop.now)
        exchanges[exchange].law.begin(at: addresses.count > 1 ? next : nil)
        guard let address = next else { return failure(exchange, .noAddress, isReused: false) }
        if !isFresh, let connection = takeIdle(instance, address, isIdempotent: exchanges[exchange].law.isIdempotent) {
            attach(connection, exchange)
            return .connected
        }
        return open(exchange, instance, address)
    }

    /// The idle connection to an address that was used last and is still good.
    @inline(__always)
    private mutating func takeIdle(
        _ instance: Slab<InstanceSlot>.Index, _ address: SocketAddress, isIdempotent: Bool
    ) -> ConnectionIndex? {
        let instances = table.instances
        while let connection = pool.candidate(
            in: instances[instance].idle, address: address, isIdempotent: isIdempotent, now: loop.now)
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

    /// Whether nothing has come on an idle connection. The events of this turn tell. An end that has come since would fail the request:
    /// where that cannot be repeated, the system is asked.
    @inline(__always)
    private func isGood(_ connection: ConnectionIndex, _ isIdempotent: Bool) -> Bool {
        if isIdempotent, !pool.connections[connection].stream.mayReceive { return true }
        return pool.connections[connection].stream.isQuiet()
    }

    private mutating func open(
        _ exchange: ExchangeIndex, _ instance: Slab<InstanceSlot>.Index, _ address: SocketAddress
    ) -> Exchange.Event {
        let instances = table.instances
        guard let service = exchanges[exchange].service else { return .clientGone }
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
                (descriptor, isConnected) = try Socket.connect(to: address)
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
        exchanges[exchange].connection = connection
    }

    /// The exchange no longer uses the connection, which is kept for another request where that is possible.
    @inline(__always)
    mutating func detach(_ connection: ConnectionIndex, _ exchange: ExchangeIndex, keeps: Bool) {
        let connections = pool.connections
        exchanges[exchange].connection = nil
        connections[connection].exchanges.remove(exchange)
        if keeps, exchanges[exchange].request.isHandedOver, mayKeep(connection) {
            let instance = connections[connection].instance
            pool.keep(connection, in: &table.instances[instance].idle, now: loop.now)
            if pool.isOverIdleLimit { _ = pool.closeOldest(table.instances) }
        } else {
            memory.requests.giveBack(from: &connections[connection].input)
            memory.outputs.giveBack(from: &connections[connection].output)
            connections[connection].stream.close()
            _ = connections.remove(connection)
        }
    }

    @inline(__always)
    private func mayKeep(_ connection: ConnectionIndex) -> Bool {
        let connections = pool.connections
        let instance = table.instances[connections[connection].instance]
        return connections[connection].keepsAlive && !connections[connection].stream.hasEndAhead
            && instance.idle.count < Limits.idleConnectionsPerInstance
            // No request of the next table could go there.
            && instance.serviceIndex >= 0 && !instance.state.draining
            && instance.state.addresses.contains(connections[connection].address)
            // Bytes behind a response are never a response: where the last receive may have left some, look.
            && (!connections[connection].stream.mayReceive || connections[connection].stream.isQuiet())
    }

    // MARK: Sending a request

    /// Hands the request over as far as it is here and the instance takes it, and fetches more of its body.
    mutating func sendRequest(_ exchange: ExchangeIndex) -> Exchange.Event? {
        guard let connection = exchanges[exchange].connection, pool.connections[connection].phase == .busy else {
            return nil
        }
        var budget = Limits.relayBytesPerTurn
        while true {
            guard let moved = handOver(exchange, connection) else {
                // A response may have come before the end: it is worth more than the error.
                pool.connections[connection].stream.noteEnd()
                return receiveResponse(connection, exchange)
            }
            budget -= moved
            if !exchanges[exchange].request.isDrained {
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
            unfinished.append(clients.slab.token(EventKind.client.rawValue, exchanges[exchange].client))
        }
        return nil
    }

    @inline(__always)
    private mutating func handedOver(_ exchange: ExchangeIndex) -> Exchange.Event {
        if let service = exchanges[exchange].service {
            if table.services[service].policy.balance == .peakEWMA {
                exchanges[exchange].sentAt = Clock.monotonicNanoseconds()
            }
            setDeadline(exchange, loop.now + table.services[service].policy.firstByteTimeoutMilliseconds)
        }
        return .handedOver
    }

    /// Sends what is here of the request. Returns how many bytes the instance took; nil: it takes nothing more.
    @inline(__always)
    mutating func handOver(_ exchange: ExchangeIndex, _ connection: ConnectionIndex) -> Int? {
        let connections = pool.connections
        if let bytes = exchanges[exchange].request.unframed {
            if bytes.isEmpty { return 0 }
            switch connections[connection].stream.send(bytes) {
            case .nothing: return 0
            case .failed: return nil
            case .bytes(let count):
                exchanges[exchange].law.noteSent()
                exchanges[exchange].request.noteSent(count)
                return count
            }
        }
        return handOverFramed(exchange, connection)
    }

    /// The same for a body that is sent in chunks: what the instance does not take waits at the connection.
    private mutating func handOverFramed(_ exchange: ExchangeIndex, _ connection: ConnectionIndex) -> Int? {
        let connections = pool.connections
        var moved = 0
        if !connections[connection].output.isEmpty {
            switch connections[connection].stream.send(connections[connection].output.bytes) {
            case .nothing: return 0
            case .failed: return nil
            case .bytes(let count):
                moved = count
                connections[connection].output.consume(count)
            }
            guard connections[connection].output.isEmpty else { return moved }
            memory.outputs.giveBack(from: &connections[connection].output)
            exchanges[exchange].request.hasUnsentFrames = false
        }
        if exchanges[exchange].request.isDrained { return moved }
        memory.outgoing.removeAll()
        exchanges[exchange].request.frame(into: &memory.outgoing)
        var sent = 0
        switch connections[connection].stream.send(memory.outgoing.bytes) {
        case .nothing: break
        case .failed: return nil
        case .bytes(let count):
            exchanges[exchange].law.noteSent()
            sent = count
        }
        if sent < memory.outgoing.count {
            connections[connection].output = memory.outputs.lease()
            guard connections[connection].output.isLeased else {
                ledger.warn("no buffers are left; a request is cut", kind: "buffers", now: loop.now)
                return nil
            }
            connections[connection].output.append(
                memory.outgoing.bytes.extracting(sent..<memory.outgoing.count))
            exchanges[exchange].request.hasUnsentFrames = true
        }
        memory.outgoing.removeAll()
        return moved + sent
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
            case .end, .failed: return Stop(event: .clientGone)
            }
        }
        if !exchanges[exchange].request.makeRoom() { exchanges[exchange].law.noteDropped() }
        do throws(HTTPFault) {
            try takeBody(exchange)
        } catch {
            // The body is not what the head has promised. Where part of a response was forwarded, only a reset can say so.
            let own = OwnAnswer.badRequest(error, wasSent: exchanges[exchange].law.wasSent)
            return Stop(event: exchanges[exchange].hasForwarded ? .brokenOff : .refused(own))
        }
        return nil
    }

    /// The client is to send more of its body; where it waits for 100 (Continue) the instance is to speak.
    private mutating func awaitBody(_ exchange: ExchangeIndex) {
        guard exchanges[exchange].request.isWithheld, let service = exchanges[exchange].service else {
            return awaitBytes(exchange)
        }
        setDeadline(exchange, loop.now + table.services[service].policy.firstByteTimeoutMilliseconds)
    }

    /// The exchange waits for the next piece of a body, in either direction.
    @inline(__always)
    mutating func awaitBytes(_ exchange: ExchangeIndex) {
        guard let service = exchanges[exchange].service else { return }
        setDeadline(exchange, loop.now + table.services[service].policy.idleTimeoutMilliseconds)
    }
}
