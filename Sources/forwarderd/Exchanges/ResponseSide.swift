import Shared

/// A response's way from an instance to the client. What the client does not take at once waits in one buffer, and until that is empty
/// nothing more is received from the instance.
extension Forwarder {
    /// Receives and forwards a response while bytes come and the client takes them. Nil: more will come.
    mutating func receiveResponse(_ connection: ConnectionIndex, _ exchange: ExchangeIndex) -> Exchange.Event? {
        let connections = pool.connections
        let client = exchanges[exchange].client
        var budget = Limits.relayBytesPerTurn
        while connections[connection].stream.mayReceive {
            if !clients.slab[client].output.isEmpty {
                connections[connection].isPaused = true
                return nil
            }
            if budget <= 0 {
                unfinished.append(connections.token(EventKind.connection.rawValue, connection))
                return nil
            }
            // A head that comes in pieces has a buffer of its own; everything else passes through the common one.
            let hasPart = connections[connection].input.isLeased
            var buffer = Buffer.none
            if hasPart {
                swap(&buffer, &connections[connection].input)
                buffer.compact()
            } else {
                swap(&buffer, &memory.received)
                buffer.removeAll()
            }
            let event: Exchange.Event?
            let received = connections[connection].stream.receive(into: &buffer)
            switch received {
            case .bytes(let count):
                budget -= count
                event = take(&buffer, connection, exchange)
            case .nothing: event = nil
            case .end: event = endOfResponse(exchange, connection, nil)
            case .failed(let error): event = endOfResponse(exchange, connection, error)
            }
            let isKept = putBack(&buffer, hasPart, isOver: event != nil, connection)
            if let event { return event }
            if !isKept { return starved() }
        }
        return nil
    }

    /// Puts the buffer back in its place; a part of a head stays with the connection. False: there is no buffer for it.
    @inline(__always)
    private mutating func putBack(
        _ buffer: inout Buffer, _ hasPart: Bool, isOver: Bool, _ connection: ConnectionIndex
    ) -> Bool {
        if hasPart {
            if isOver || buffer.isEmpty {
                memory.requests.giveBack(from: &buffer)
            } else {
                swap(&buffer, &pool.connections[connection].input)
            }
            return true
        }
        swap(&buffer, &memory.received)
        if isOver || memory.received.isEmpty { return true }
        pool.connections[connection].input = memory.requests.lease()
        guard pool.connections[connection].input.free >= memory.received.count else { return false }
        pool.connections[connection].input.append(memory.received.bytes)
        return true
    }

    private mutating func starved() -> Exchange.Event {
        ledger.warn("no buffers are left; an exchange is cut", kind: "buffers", now: loop.now)
        return .starved
    }

    /// Parses and forwards received bytes. Nil: the response is not complete.
    @inline(__always)
    private mutating func take(_ buffer: inout Buffer, _ connection: ConnectionIndex, _ exchange: ExchangeIndex)
        -> Exchange.Event?
    {
        memory.outgoing.removeAll()
        if exchanges[exchange].relay == nil {
            if let event = takeHead(&buffer, connection, exchange) { return event }
            if exchanges[exchange].relay == nil { return nil }
        }
        return relayBody(&buffer, connection, exchange)
    }

    /// Reads interim responses and the head of the final one. Returns nil with `relay` nil if the head is incomplete.
    private mutating func takeHead(_ buffer: inout Buffer, _ connection: ConnectionIndex, _ exchange: ExchangeIndex)
        -> Exchange.Event?
    {
        let settings = table.settings
        while true {
            do throws(HTTPFault) {
                guard
                    try memory.responseHead.parse(
                        buffer.bytes, maxBytes: settings.headBytes, maxFields: settings.headFields)
                else {
                    // Interim responses that came before go out.
                    return memory.outgoing.isEmpty ? nil : sendOutgoing(exchange, Span())
                }
                if memory.responseHead.status == 101 {
                    try checkUpgrade(buffer.bytes, exchange)
                    return switchProtocol(&buffer, exchange)
                }
            } catch {
                return failure(exchange, .malformed(error.reason), connection)
            }
            guard memory.responseHead.isInterim else { break }
            exchanges[exchange].request.noteContinue()
            // Not to HTTP/1.0 clients (RFC 9110 15.2).
            if !exchanges[exchange].clientIsHTTP10 {
                guard memory.outgoing.free > settings.headBytes + Limits.addedHeadBytes else {
                    return failure(exchange, .malformed("too many interim answers at once"), connection)
                }
                ForwardedResponse.write(
                    memory.responseHead, buffer.bytes, framing: .asGiven, closes: false, keepAliveToHTTP10: false,
                    identity: identity, to: &memory.outgoing)
            }
            buffer.consume(memory.responseHead.byteCount)
        }
        // Interim responses are sent first: a final head and a full buffer of body need all the room.
        if !memory.outgoing.isEmpty, let event = sendOutgoing(exchange, Span()) { return event }
        beginRelay(buffer.bytes, connection, exchange)
        buffer.consume(memory.responseHead.byteCount)
        return nil
    }

    /// An instance switches only to a protocol that the client has offered (RFC 9110 7.8).
    private func checkUpgrade(_ bytes: borrowing Span<UInt8>, _ exchange: ExchangeIndex) throws(HTTPFault) {
        let offered = exchanges[exchange].request.offeredUpgrade
        guard !offered.isEmpty else { throw HTTPFault(502, "101 without an upgrade") }
        guard memory.responseHead.fields.upgradeIndex >= 0, memory.responseHead.fields.connectionUpgrade else {
            throw HTTPFault(502, "101 without Upgrade and Connection: upgrade")
        }
        guard UpgradeProtocols.allows(memory.responseHead.fields.upgrade(in: bytes), offered: offered) else {
            throw HTTPFault(502, "101 with a protocol that was not offered")
        }
    }

    /// Forwards a response 101 and the bytes after it.
    private mutating func switchProtocol(_ buffer: inout Buffer, _ exchange: ExchangeIndex) -> Exchange.Event {
        ForwardedResponse.write(
            memory.responseHead, buffer.bytes, framing: .asGiven, closes: false, keepAliveToHTTP10: false,
            identity: identity, to: &memory.outgoing)
        buffer.consume(memory.responseHead.byteCount)
        noteHead(exchange, 101)
        return sendOutgoing(exchange, buffer.bytes) ?? .switched
    }

    /// Writes the head of the final response.
    @inline(__always)
    private mutating func beginRelay(
        _ bytes: borrowing Span<UInt8>, _ connection: ConnectionIndex, _ exchange: ExchangeIndex
    ) {
        let connections = pool.connections
        let source = memory.responseHead.framing(requestWasHead: exchanges[exchange].isHead)
        let isHTTP10 = exchanges[exchange].clientIsHTTP10
        let encoder = BodyEncoder.forClient(of: source, isHTTP10: isHTTP10)
        exchanges[exchange].relay = Relay(
            source, to: encoder,
            excluding: memory.responseHead.fields.nominated.isEmpty
                ? [] : memory.responseHead.fields.nominatedNames(in: bytes), maxFields: table.settings.headFields)
        // The connection cannot serve another request if its end delimits the response, if the request is not complete yet, or in a drain.
        if encoder == .untilClose || !exchanges[exchange].request.isComplete || phase.isDraining {
            exchanges[exchange].keepsClient = false
        }
        connections[connection].keepsAlive = memory.responseHead.keepsAlive && source != .untilClose
        if let seconds = memory.responseHead.fields.announcedTimeout(in: bytes) {
            connections[connection].announcedTimeoutMilliseconds = seconds * 1000
        }
        identity.refreshDate(now: loop.now)
        let keeps = exchanges[exchange].keepsClient
        ForwardedResponse.write(
            memory.responseHead, bytes, framing: encoder, closes: !keeps, keepAliveToHTTP10: isHTTP10 && keeps,
            identity: identity, to: &memory.outgoing)
        noteHead(exchange, memory.responseHead.status)
    }

    /// Passes on what is here of the body.
    @inline(__always)
    private mutating func relayBody(_ buffer: inout Buffer, _ connection: ConnectionIndex, _ exchange: ExchangeIndex)
        -> Exchange.Event?
    {
        while exchanges[exchange].relay?.isComplete == false, !buffer.isEmpty {
            var position = 0
            let step: Relay.Step?
            do throws(HTTPFault) {
                step = try exchanges[exchange].relay?.next(buffer.bytes, &position, to: &memory.outgoing)
            } catch {
                return failure(exchange, .malformed(error.reason), connection)
            }
            // A large piece that is framed as it came is sent from where it is.
            if case .direct(let start, let count) = step,
                let event = forward(exchange, buffer.bytes.extracting(start..<start &+ count))
            {
                return event
            }
            buffer.consume(position)
        }
        let isComplete = exchanges[exchange].relay?.isComplete ?? true
        if isComplete, !buffer.isEmpty {
            // Bytes after a response are never a response: this connection is not used again.
            pool.connections[connection].keepsAlive = false
            buffer.removeAll()
        }
        if !memory.outgoing.isEmpty, let event = forward(exchange, Span()) { return event }
        if isComplete { return .complete }
        awaitBytes(exchange)
        return nil
    }

    /// Sends a part of the final response: from here on no other response can take its place.
    @inline(__always)
    private mutating func forward(_ exchange: ExchangeIndex, _ body: borrowing Span<UInt8>) -> Exchange.Event? {
        _ = exchanges[exchange].receive(.forwarding)
        return sendOutgoing(exchange, body)
    }

    /// The instance has ended or reset its connection.
    private mutating func endOfResponse(_ exchange: ExchangeIndex, _ connection: ConnectionIndex, _ error: Errno?)
        -> Exchange.Event
    {
        if error == nil {
            memory.outgoing.removeAll()
            if exchanges[exchange].relay?.end(to: &memory.outgoing) == true {
                pool.connections[connection].keepsAlive = false
                if !memory.outgoing.isEmpty, let event = sendOutgoing(exchange, Span()) { return event }
                return .complete
            }
        }
        // An exhausted resource of this machine is not evidence: it counts as a closed connection.
        let fault: InstanceFault = error.map { $0.isOurOwn ? .closed : .reset } ?? .closed
        return failure(exchange, fault, connection)
    }
}
