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
        if !exchanges[exchange].instanceCodec.hasHead {
            if let event = takeHeads(&buffer, connection, exchange) { return event }
            if !exchanges[exchange].instanceCodec.hasHead { return nil }
        }
        return relayBody(&buffer, connection, exchange)
    }

    /// Reads interim responses and the head of the final one. Returns nil without a final head if that is incomplete.
    private mutating func takeHeads(_ buffer: inout Buffer, _ connection: ConnectionIndex, _ exchange: ExchangeIndex)
        -> Exchange.Event?
    {
        while true {
            let head: ResponseHead.Part
            do throws(HTTPFault) {
                head = try exchanges[exchange].instanceCodec.readHead(
                    buffer.bytes, to: &memory.responseHead, table.settings,
                    offeredUpgrade: exchanges[exchange].request.offeredUpgrade)
            } catch {
                return failure(exchange, .malformed(error.reason), connection)
            }
            switch head {
            case .incomplete:
                // Interim responses that came before go out.
                return memory.outgoing.isEmpty ? nil : sendOutgoing(exchange, Span())
            case .interim:
                if let event = takeInterim(buffer.bytes, connection, exchange) { return event }
                buffer.consume(memory.responseHead.byteCount)
            case .switched: return switchProtocol(&buffer, exchange)
            case .final:
                // Interim responses are sent first: a final head and a full buffer of body need all the room.
                if !memory.outgoing.isEmpty, let event = sendOutgoing(exchange, Span()) { return event }
                beginRelay(buffer.bytes, connection, exchange)
                buffer.consume(memory.responseHead.byteCount)
                return nil
            }
        }
    }

    /// Forwards an interim response. Nil: it is written.
    private mutating func takeInterim(
        _ bytes: Span<UInt8>, _ connection: ConnectionIndex, _ exchange: ExchangeIndex
    ) -> Exchange.Event? {
        exchanges[exchange].request.noteContinue()
        // Not to HTTP/1.0 clients (RFC 9110 15.2).
        if exchanges[exchange].clientCodec.isHTTP10 { return nil }
        guard memory.outgoing.free > table.settings.headBytes + Limits.addedHeadBytes else {
            return failure(exchange, .malformed("too many interim answers at once"), connection)
        }
        exchanges[exchange].clientCodec.writeInterim(memory.responseHead, bytes, identity, to: &memory.outgoing)
        return nil
    }

    /// Forwards a response 101 and the bytes after it.
    private mutating func switchProtocol(_ buffer: inout Buffer, _ exchange: ExchangeIndex) -> Exchange.Event {
        exchanges[exchange].clientCodec.writeInterim(
            memory.responseHead, buffer.bytes, identity, to: &memory.outgoing)
        buffer.consume(memory.responseHead.byteCount)
        noteHead(exchange, 101)
        return sendOutgoing(exchange, buffer.bytes) ?? .switched
    }

    /// Writes the head of the final response.
    @inline(__always)
    private mutating func beginRelay(
        _ bytes: borrowing Span<UInt8>, _ connection: ConnectionIndex, _ exchange: ExchangeIndex
    ) {
        let source = exchanges[exchange].instanceCodec.begin(
            memory.responseHead, bytes, requestWasHead: exchanges[exchange].isHead,
            maxFields: table.settings.headFields)
        exchanges[exchange].clientCodec.begin(source)
        // The connection cannot serve another request if its end delimits the response, if the request is not complete yet, or in a drain.
        if exchanges[exchange].clientCodec.endsWithConnection || !exchanges[exchange].request.isComplete
            || phase.isDraining
        {
            exchanges[exchange].keepsClient = false
        }
        pool.connections[connection].noteHead(memory.responseHead, bytes, source)
        identity.refreshDate(now: loop.now)
        exchanges[exchange].clientCodec.writeHead(
            memory.responseHead, bytes, keepsClient: exchanges[exchange].keepsClient, identity, to: &memory.outgoing)
        noteHead(exchange, memory.responseHead.status)
    }

    /// Passes on what is here of the body.
    @inline(__always)
    private mutating func relayBody(_ buffer: inout Buffer, _ connection: ConnectionIndex, _ exchange: ExchangeIndex)
        -> Exchange.Event?
    {
        while !exchanges[exchange].instanceCodec.isComplete, !buffer.isEmpty {
            var position = 0
            let step: Relay.Step
            do throws(HTTPFault) {
                step = try Relay.next(
                    buffer.bytes, &position, from: &exchanges[exchange].instanceCodec,
                    to: exchanges[exchange].clientCodec, &memory.outgoing)
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
        let isComplete = exchanges[exchange].instanceCodec.isComplete
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
            if Relay.end(
                from: exchanges[exchange].instanceCodec, to: exchanges[exchange].clientCodec, &memory.outgoing)
            {
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
