import Shared

/// One connection to the discovery port.
struct HTTPConnection: ~Copyable {
    var stream: Stream
    var input = Buffer(capacity: Limits.apiRequestBytes)
    var output: [UInt8] = []
    var outputStart = 0
    /// The rest of an answer that is made as it is sent.
    var cursor: AnswerCursor?
    var isChunked = true
    var closesAfterAnswer = false
    /// Our side is closed; what the client still sends is discarded, so that a reset does not eat the answer (RFC 9112 9.6).
    var lingers = false
    /// The request whose body is being read.
    var request: HTTPRequest?
    var body = BodyDecoder(.none, status: 400)
    /// The request that waits for others' answers.
    var waiting: HTTPRequest?
    var timer = TimerWheel.ID.none
    /// It waits for its turn to be served.
    var isPostponed = false
    /// When it last achieved something.
    var activeAt: UInt64

    init(_ descriptor: Descriptor, now: UInt64) {
        stream = Stream(descriptor)
        activeAt = now
    }
}

/// A small HTTP server: requests with their bodies, small answers at once, large ones piece by piece as the client takes them. What the
/// answers say is decided in `Authorization` and `DiscoveryState`.
struct HTTPServer: ~Copyable {
    let connections = Slab<HTTPConnection>(capacity: Limits.apiConnections)
    private var head = RequestHead()

    /// Takes waiting connections. False: there are no descriptors for more, the listener must rest.
    mutating func accept(_ listener: Descriptor, _ loop: inout EventLoop) -> Bool {
        for _ in 0..<Limits.acceptsPerTurn {
            switch Socket.acceptNext(listener) {
            case .nobody: return true
            case .noRoom: return false
            case .connection(let descriptor, _): begin(descriptor, &loop)
            }
        }
        return true
    }

    private mutating func begin(_ descriptor: Descriptor, _ loop: inout EventLoop) {
        if connections.isFull { evict(&loop) }
        guard !connections.isFull else { return descriptor.close() }
        let slot = connections.insert(HTTPConnection(descriptor, now: loop.now))
        let generation = connections.generation(slot)
        connections[slot].timer = loop.schedule(
            EventKind.apiTimeout.token(slot, generation), after: Limits.apiTimeoutMilliseconds)
        do {
            try loop.add(
                descriptor, EventKind.apiConnection.token(slot, generation),
                [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            close(slot, &loop)
        }
    }

    /// Makes room: of the connections that have nothing to send, the one that has been quiet for longest goes.
    private mutating func evict(_ loop: inout EventLoop) {
        var oldest: Slab<HTTPConnection>.Index?
        for slot in connections.indices
        where connections[slot].output.isEmpty && connections[slot].cursor == nil
            && connections[slot].waiting == nil
        {
            if oldest.map({ connections[$0].activeAt > connections[slot].activeAt }) ?? true { oldest = slot }
        }
        if let oldest { close(oldest, &loop) }
    }

    /// Something has been achieved on this connection; a trickle of bytes does not count.
    private func renew(_ slot: Slab<HTTPConnection>.Index, _ loop: inout EventLoop) {
        connections[slot].activeAt = loop.now
        loop.reschedule(connections[slot].timer, at: loop.now + Limits.apiTimeoutMilliseconds)
    }

    mutating func close(_ slot: Slab<HTTPConnection>.Index, _ loop: inout EventLoop) {
        loop.cancel(&connections[slot].timer)
        connections[slot].stream.close()
        _ = connections.remove(slot)
    }

    mutating func timedOut(_ slot: Slab<HTTPConnection>.Index, _ loop: inout EventLoop) {
        connections[slot].timer = .none
        close(slot, &loop)
    }

    enum Postponement { case no, already, now }

    /// Whether this event can wait: a long answer is under way. Then `ready` is to be called in a later turn.
    mutating func postpone(_ slot: Slab<HTTPConnection>.Index, _ readiness: Readiness) -> Postponement {
        guard connections[slot].cursor != nil, readiness.isDisjoint(with: [.hangUp, .error]) else { return .no }
        connections[slot].stream.note(readiness)
        if connections[slot].isPostponed { return .already }
        connections[slot].isPostponed = true
        return .now
    }

    /// Serves a connection for a while. True: there is work left over for a later turn, so that others come first.
    mutating func ready(
        _ slot: Slab<HTTPConnection>.Index, _ readiness: Readiness, _ registry: borrowing Registry,
        _ state: DiscoveryState,
        _ questions: inout [ForwarderQuestion.Explain], _ loop: inout EventLoop
    ) -> Bool {
        connections[slot].stream.note(readiness)
        connections[slot].isPostponed = false
        if !readiness.isDisjoint(with: [.hangUp, .error]) {
            close(slot, &loop)
            return false
        }
        if connections[slot].waiting != nil { return false }
        if connections[slot].lingers { return linger(slot, &loop) }
        var pieces = 1
        for _ in 0..<4 {
            switch send(slot, registry, &pieces, &loop) {
            case .waits: return false
            case .hasMore: return true
            case .sent: break
            }
            // Nothing is left to send: the next request.
            if connections[slot].closesAfterAnswer {
                connections[slot].stream.endSending()
                connections[slot].lingers = true
                loop.reschedule(connections[slot].timer, at: loop.now + Limits.apiLingerMilliseconds)
                return linger(slot, &loop)
            }
            guard receive(slot, registry, state, &questions, &loop) else { return false }
            if connections[slot].waiting != nil { return false }
        }
        return true
    }

    /// Discards what comes until the client closes, too, or the time is over. True: there is more than for one turn.
    private mutating func linger(_ slot: Slab<HTTPConnection>.Index, _ loop: inout EventLoop) -> Bool {
        let connections = connections
        for _ in 0..<16 {
            connections[slot].input.removeAll()
            switch connections[slot].stream.receive(into: &connections[slot].input) {
            case .bytes: continue
            case .nothing: return false
            case .end, .failed:
                close(slot, &loop)
                return false
            }
        }
        return true
    }

    private enum Sending {
        case sent
        /// The client must take something first, or is gone.
        case waits
        /// Enough for this turn.
        case hasMore
    }

    private mutating func send(
        _ slot: Slab<HTTPConnection>.Index, _ registry: borrowing Registry, _ pieces: inout Int, _ loop: inout EventLoop
    ) -> Sending {
        while true {
            let start = connections[slot].outputStart
            let end = connections[slot].output.count
            if start < end {
                switch connections[slot].stream.send(connections[slot].output.span.extracting(start..<end)) {
                case .bytes(let count): connections[slot].outputStart += count
                case .nothing: return .waits
                case .failed:
                    close(slot, &loop)
                    return .waits
                }
                renew(slot, &loop)
                continue
            }
            connections[slot].output.removeAll(keepingCapacity: true)
            connections[slot].outputStart = 0
            guard connections[slot].cursor != nil else { return .sent }
            if pieces == 0 { return .hasMore }
            pieces -= 1
            if !nextPiece(slot, registry, now: loop.now) { return .waits }
        }
    }

    /// False: there is nothing to send now.
    private func nextPiece(_ slot: Slab<HTTPConnection>.Index, _ registry: borrowing Registry, now: UInt64) -> Bool {
        let piece: [UInt8]
        switch connections[slot].cursor?.next(registry, now: now) {
        case .piece(let bytes): piece = bytes
        case .nothingNow: return false
        case .end, nil:
            connections[slot].cursor = nil
            if connections[slot].isChunked { connections[slot].output.append(contentsOf: "0\r\n\r\n".utf8) }
            return true
        }
        if connections[slot].isChunked {
            connections[slot].output.append(contentsOf: String(piece.count, radix: 16).utf8)
            connections[slot].output.append(contentsOf: [0x0d, 0x0a])
        }
        connections[slot].output.append(contentsOf: piece)
        if connections[slot].isChunked { connections[slot].output.append(contentsOf: [0x0d, 0x0a]) }
        return true
    }

    /// What the configuration says of requests' heads, as far as there is room here.
    private static func bounds(_ settings: ForwarderSettings) -> RequestHead.Bounds {
        let bytes = min(settings.headBytes, Limits.apiRequestBytes)
        return RequestHead.Bounds(
            bytes: bytes, targetBytes: min(Limits.targetBytes, bytes), fields: settings.headFields)
    }

    /// True when a request has been read and its answer is ready to be sent, or waits for others.
    private mutating func receive(
        _ slot: Slab<HTTPConnection>.Index, _ registry: borrowing Registry, _ state: DiscoveryState,
        _ questions: inout [ForwarderQuestion.Explain], _ loop: inout EventLoop
    ) -> Bool {
        let connections = connections
        while true {
            if !connections[slot].input.isEmpty {
                do throws(HTTPFault) {
                    if try read(slot, registry, state, &questions, &loop) { return true }
                } catch {
                    refuse(slot, error)
                    return true
                }
            }
            connections[slot].input.compact()
            switch connections[slot].stream.receive(into: &connections[slot].input) {
            case .bytes: continue
            case .nothing: return false
            case .end, .failed:
                close(slot, &loop)
                return false
            }
        }
    }

    /// Reads a head, then the body. True: the answer is ready, or waits for others. False: more must come.
    private mutating func read(
        _ slot: Slab<HTTPConnection>.Index, _ registry: borrowing Registry, _ state: DiscoveryState,
        _ questions: inout [ForwarderQuestion.Explain], _ loop: inout EventLoop
    ) throws(HTTPFault) -> Bool {
        let connections = connections
        if connections[slot].request == nil {
            guard try head.parse(connections[slot].input.bytes, bounds: Self.bounds(registry.general.forwarding))
            else { return false }
            let request = HTTPRequest(head, connections[slot].input.bytes)
            connections[slot].input.consume(head.byteCount)
            renew(slot, &loop)
            if let refusal = state.authorization.refusal(request, token: registry.general.discoveryToken) {
                // What its body would be is not read.
                respond(slot, refusal, to: request, closes: head.framing != .none)
                return true
            }
            connections[slot].body = BodyDecoder(head.framing, status: 400)
            connections[slot].request = request
            if head.withholdsBody, head.framing != .none {
                connections[slot].output.append(contentsOf: "HTTP/1.1 100 Continue\r\n\r\n".utf8)
                flushInterim(slot)
            }
        }
        guard let isWhole = try readBody(slot), let request = connections[slot].request else { return false }
        connections[slot].request = nil
        let answer = state.answer(request, registry, now: loop.now)
        if case .later(let question) = answer.body {
            guard isWhole else { throw HTTPFault(413, "at most \(Limits.apiBodyBytes) bytes are taken here") }
            connections[slot].waiting = request
            questions.append(question)
        } else {
            respond(slot, answer, to: request, closes: !isWhole)
        }
        renew(slot, &loop)
        return true
    }

    /// True: it is whole. False: it is longer than `Limits.apiBodyBytes`; what is answered to GET does not depend on it, and the rest is not
    /// read. Nil: more of it is to come.
    private func readBody(_ slot: Slab<HTTPConnection>.Index) throws(HTTPFault) -> Bool? {
        var position = 0
        while true {
            switch try connections[slot].body.next(connections[slot].input.bytes, &position) {
            case .data(let start, let count):
                let room = Limits.apiBodyBytes - (connections[slot].request?.body.count ?? 0)
                guard count <= room else { return false }
                connections[slot].request?.body += connections[slot].input.bytes.array(start, count)
            case .needsMore:
                connections[slot].input.consume(position)
                return nil
            case .end:
                connections[slot].input.consume(position)
                return true
            }
        }
    }

    /// An interim answer goes at once, as far as the socket takes it; the rest goes before the final one.
    private func flushInterim(_ slot: Slab<HTTPConnection>.Index) {
        let start = connections[slot].outputStart
        let end = connections[slot].output.count
        if case .bytes(let count) = connections[slot].stream.send(
            connections[slot].output.span.extracting(start..<end))
        {
            connections[slot].outputStart += count
        }
    }

    /// The answer to what is no request, or none that is understood.
    private mutating func refuse(_ slot: Slab<HTTPConnection>.Index, _ fault: HTTPFault) {
        let bytes = connections[slot].input.bytes
        // Empty lines before a request are passed over (RFC 9112 2.2).
        var start = 0
        while start < bytes.count, bytes[start] == 0x0d || bytes[start] == 0x0a { start += 1 }
        let isHead = connections[slot].request.map { $0.head.method == .head } ?? bytes.spells("HEAD ", at: start)
        connections[slot].request = nil
        respond(
            slot, .json(fault.status) { $0.field("status", fault.reason) }, isHead: isHead, takesChunks: true,
            closes: true)
        connections[slot].input.removeAll()
    }

    /// The answer to a request that has waited for others.
    mutating func answerWaiting(_ slot: Slab<HTTPConnection>.Index, _ answer: HTTPAnswer) {
        guard let request = connections[slot].waiting else { return }
        connections[slot].waiting = nil
        respond(slot, answer, to: request)
    }

    private func respond(
        _ slot: Slab<HTTPConnection>.Index, _ answer: HTTPAnswer, to request: HTTPRequest, closes: Bool = false
    ) {
        respond(
            slot, answer, isHead: request.head.method == .head, takesChunks: request.head.minorVersion > 0,
            closes: closes || request.closesConnection)
    }

    private func respond(
        _ slot: Slab<HTTPConnection>.Index, _ answer: HTTPAnswer, isHead: Bool, takesChunks: Bool, closes: Bool
    ) {
        var mustClose = closes
        connections[slot].isChunked = takesChunks
        // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
        if case .pieces = answer.body, !takesChunks { mustClose = true }
        connections[slot].output.append(contentsOf: answer.head(isChunked: takesChunks, closes: mustClose))
        switch answer.body {
        case .bytes(let bytes): if !isHead, answer.status != 304 { connections[slot].output.append(contentsOf: bytes) }
        case .pieces(let cursor): if !isHead { connections[slot].cursor = cursor }
        case .later: assertionFailure("it is answered by answerWaiting")
        }
        connections[slot].closesAfterAnswer = mustClose
    }
}
