import Shared

/// Performs the actions of clients: receives bytes, begins requests, sends responses.
extension Forwarder {
    typealias ClientIndex = Clients.Index
    typealias ExchangeIndex = Slab<Exchange>.Index

    mutating func clientReady(_ client: ClientIndex, _ readiness: Readiness) {
        let clients = clients.slab
        let generation = clients.generation(client)
        // An error, or both directions are closed: whatever is being done for this client is cancelled. Only a tunnel still relays
        // what came before.
        if !readiness.isDisjoint(with: [.error, .hangUp]) {
            guard let exchange = tunnel(client) else { return closeClient(client) }
            if readiness.contains(.error), exchanges[exchange].tunnel.fromClient == .passedOn {
                // Nothing is received from that side any more, so no receive would return the error.
                return drive(exchange, exchanges[exchange].receive(.brokenOff))
            }
        }
        clients[client].stream.note(readiness)
        if readiness.contains(.writable), !clients[client].output.isEmpty {
            flush(client)
            guard clients.holds(client, generation) else { return }
        }
        if clients[client].stream.mayReceive { readClient(client) }
    }

    /// Reads what the client has sent, for whatever stage its connection is in.
    mutating func readClient(_ client: ClientIndex) {
        let clients = clients.slab
        switch clients[client].phase {
        case .idle, .head: serve(client)
        case .serving:
            guard let exchange = clients[client].exchanges.first else { return }
            if exchanges[exchange].wantsBody {
                drive(exchange, .send)
            } else if exchanges[exchange].stage == .tunnel {
                drive(exchange, .relayTunnel)
            }
        case .lingering: linger(client)
        }
    }

    /// The exchange of a connection that is a tunnel.
    private func tunnel(_ client: ClientIndex) -> ExchangeIndex? {
        guard let exchange = clients.slab[client].exchanges.first else { return nil }
        return exchanges[exchange].stage == .tunnel ? exchange : nil
    }

    // MARK: Sending

    /// Sends the output buffer. When it is empty, the exchange goes on.
    private mutating func flush(_ client: ClientIndex) {
        let clients = clients.slab
        switch clients[client].stream.send(clients[client].output.bytes) {
        case .nothing: return
        case .failed: return closeClient(client)
        case .bytes(let count): clients[client].output.consume(count)
        }
        guard let exchange = clients[client].exchanges.first else {
            return setDeadline(client, loop.now + Limits.betweenBytesTimeoutMilliseconds)
        }
        switch exchanges[exchange].stage {
        case .tunnel: touchTunnel(exchange)
        case .relaying: awaitBytes(exchange)
        case .flushing: setDeadline(exchange, loop.now + Limits.betweenBytesTimeoutMilliseconds)
        case .begun, .queued, .connecting, .sending, .awaitingHead, .ended: break
        }
        guard clients[client].output.isEmpty else { return }
        memory.outputs.giveBack(from: &clients[client].output)
        let generation = exchanges.generation(exchange)
        drive(exchange, exchanges[exchange].receive(.taken))
        if exchanges.holds(exchange, generation) { resumeReceiving(exchange) }
    }

    /// Sends `memory.outgoing` and then `body`. What the client does not take now is kept in its output buffer. Nil: success.
    @inline(__always)
    mutating func sendOutgoing(_ exchange: ExchangeIndex, _ body: borrowing Span<UInt8>) -> Exchange.Event? {
        let clients = clients.slab
        let client = exchanges[exchange].client
        let head = memory.outgoing.count
        exchanges[exchange].entry.record?.sent(head + body.count)
        exchanges[exchange].entry.tally.bytesSent &+= UInt64(truncatingIfNeeded: head &+ body.count)
        var sent = 0
        if clients[client].output.isEmpty {
            switch clients[client].stream.send(memory.outgoing.bytes, body) {
            case .bytes(let count): sent = count
            case .nothing: break
            case .failed: return .clientGone
            }
        }
        if sent < head + body.count {
            if !clients[client].output.isLeased { clients[client].output = memory.outputs.lease() }
            guard clients[client].output.free >= head + body.count - sent else {
                ledger.warn("no buffers are left; a client connection is cut", kind: "buffers", now: loop.now)
                return .starved
            }
            if sent < head { clients[client].output.append(memory.outgoing.bytes.extracting(sent..<head)) }
            let bodySent = max(0, sent - head)
            clients[client].output.append(body.extracting(bodySent..<body.count))
        }
        memory.outgoing.removeAll()
        return nil
    }

    /// Goes on with this client at the end of the turn.
    mutating func resumeLater(_ client: ClientIndex) {
        guard !clients.slab[client].isUnfinished else { return }
        clients.slab[client].isUnfinished = true
        unfinished.append(clients.slab.token(EventKind.client.rawValue, client))
    }

    // MARK: Requests

    /// Reads and begins requests until the client has no more for now, or one is in progress.
    mutating func serve(_ client: ClientIndex) {
        let clients = clients.slab
        let generation = clients.generation(client)
        self.clients.served = client
        defer { self.clients.served = nil }
        var served = 0
        while clients.holds(client, generation) {
            switch clients[client].phase {
            case .serving, .lingering: return
            case .idle, .head: break
            }
            if !clients[client].input.isEmpty {
                if clients[client].awaitsProxyHeader {
                    guard takeProxyHeader(client) else { return }
                }
                if !clients[client].awaitsProxyHeader, !clients[client].input.isEmpty, beginRequest(client) {
                    served += 1
                    guard served >= Limits.requestsPerTurn, clients.holds(client, generation) else { continue }
                    return resumeLater(client)
                }
            }
            switch receive(client) {
            case .bytes: break
            case .nothing: return rest(client)
            case .end, .failed: return closeClient(client)
            }
        }
    }

    /// Reads the header by which a trusted proxy announces the client of this connection. False: the connection was closed.
    private mutating func takeProxyHeader(_ client: ClientIndex) -> Bool {
        let clients = clients.slab
        do throws(HTTPFault) {
            switch try ProxyHeader.parse(clients[client].input.bytes) {
            case .needsMore: break
            case .header(let byteCount, let source):
                clients[client].input.consume(byteCount)
                clients[client].awaitsProxyHeader = false
                guard let source = source?.unmapped else { break }
                clients[client].address = source
                clients[client].isTrusted = table.settings.isTrusted(source)
            }
            return true
        } catch {
            ledger.warn(
                "a connection from \(clients[client].address) was closed: \(error.reason)", kind: "proxy header",
                now: loop.now)
            closeClient(client)
            return false
        }
    }

    /// Receives into the client's input.
    @inline(__always)
    mutating func receive(_ client: ClientIndex) -> Stream.Received {
        let clients = clients.slab
        guard clients[client].stream.mayReceive else { return .nothing }
        if !clients[client].input.isLeased {
            clients[client].input = memory.requests.lease()
            guard clients[client].input.isLeased else {
                ledger.warn("no buffers are left; a client connection is closed", kind: "buffers", now: loop.now)
                return .failed(.outOfMemory)
            }
        } else {
            clients[client].input.compact()
        }
        return clients[client].stream.receive(into: &clients[client].input)
    }

    /// Nothing more has come.
    private mutating func rest(_ client: ClientIndex) {
        let clients = clients.slab
        perform(client, clients[client].receive(clients[client].input.isEmpty ? .drained : .headIncomplete))
    }

    private mutating func perform(_ client: ClientIndex, _ action: Client.Action) {
        let clients = clients.slab
        switch action {
        case .nothing: break
        case .rest: memory.requests.giveBack(from: &clients[client].input)
        case .awaitHead: setDeadline(client, loop.now + table.settings.headTimeoutMilliseconds)
        case .awaitRequest:
            clients[client].restedAt = loop.now
            let idle = table.settings.clientIdleTimeoutMilliseconds
            setDeadline(client, loop.now + (phase.accepts ? idle : min(idle, Limits.drainIdleMilliseconds)))
            if clients[client].input.isEmpty { memory.requests.giveBack(from: &clients[client].input) }
            // The next request may have come already: it is served at the end of the turn, after other clients' requests.
            if !clients[client].input.isEmpty || clients[client].stream.mayReceive, self.clients.served != client {
                resumeLater(client)
            }
        case .refuseSlowHead:
            refuse(client, OwnAnswer(408, "The request's head took too long", error: "http_request_error"))
        case .expireExchange: expireExchanges(client)
        case .linger: beginLingering(client)
        case .close: closeClient(client)
        }
    }

    // MARK: Time

    /// The present wait of a connection without an exchange ends at `deadline`.
    mutating func setDeadline(_ client: ClientIndex, _ deadline: UInt64) {
        clients.slab[client].deadline = deadline
        arm(client, deadline)
    }

    /// The present wait of an exchange ends at `deadline`.
    @inline(__always)
    mutating func setDeadline(_ exchange: ExchangeIndex, _ deadline: UInt64) {
        exchanges[exchange].deadline = deadline
        arm(exchanges[exchange].client, deadline)
    }

    /// The timer of a connection fires at `deadline` or before: it is only moved to an earlier time.
    @inline(__always)
    private mutating func arm(_ client: ClientIndex, _ deadline: UInt64) {
        let clients = clients.slab
        if clients[client].timer.isScheduled {
            if clients[client].timerAt > deadline {
                clients[client].timerAt = deadline
                loop.reschedule(clients[client].timer, at: deadline)
            }
        } else {
            clients[client].timerAt = deadline
            clients[client].timer = loop.schedule(
                clients.token(EventKind.clientDeadline.rawValue, client), at: deadline)
        }
    }

    mutating func clientTimerFired(_ client: ClientIndex) {
        let clients = clients.slab
        clients[client].timer = .none
        var next = clients[client].deadline
        if clients[client].phase == .serving {
            next = .max
            for exchange in clients[client].exchanges.all { next = min(next, exchanges[exchange].deadline) }
            // The wait that is about to begin schedules the timer again.
            if next == .max { return }
        }
        if next > loop.now { return arm(client, next) }
        perform(client, clients[client].receive(.overdue))
    }

    private mutating func expireExchanges(_ client: ClientIndex) {
        let clients = clients.slab
        let generation = clients.generation(client)
        for exchange in clients[client].exchanges.all {
            guard clients.holds(client, generation), exchanges.isInUse(exchange) else { return }
            if exchanges[exchange].deadline <= loop.now {
                drive(exchange, exchanges[exchange].receive(clients[client].output.isEmpty ? .overdue : .untaken))
            } else {
                arm(client, exchanges[exchange].deadline)
            }
        }
    }

    // MARK: Ends

    /// An exchange of this connection has ended. `keeps`: another request may follow.
    mutating func exchangeEnded(_ client: ClientIndex, keeps: Bool, isRead: Bool) {
        let clients = clients.slab
        guard clients[client].exchanges.isEmpty else { return }
        let isSilent = isRead && clients[client].input.isEmpty && !clients[client].stream.mayReceive
        perform(client, clients[client].receive(keeps ? .finished : isSilent ? .finishedForGood : .finishedWithRest))
    }

    /// Closes a client connection and cancels whatever is done for it.
    mutating func closeClient(_ client: ClientIndex) {
        let clients = clients.slab
        while let exchange = clients[client].exchanges.first {
            let action = exchanges[exchange].receive(.clientGone)
            if case .cutTunnel = action { resetTunnel(exchange) }
            forget(exchange, action.outcome ?? .clientGone)
        }
        _ = clients[client].receive(.gone)
        if clients[client].isRefused { self.clients.refused -= 1 }
        loop.cancel(&clients[client].timer)
        memory.requests.giveBack(from: &clients[client].input)
        memory.outputs.giveBack(from: &clients[client].output)
        clients[client].stream.close()
        clients.discard(client)
        ledger.noteOpenConnections(clients.count)
    }
}
