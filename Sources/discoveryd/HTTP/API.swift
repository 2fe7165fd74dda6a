import Shared

/// One connection to the discovery server's HTTP port.
struct APIConnection: ~Copyable {
    let descriptor: Descriptor
    var input = Buffer(capacity: Limits.apiRequestBytes)
    var output: [UInt8] = []
    var outputStart = 0
    /// The rest of an answer that is made as it is sent.
    var cursor: AnswerCursor?
    var isChunked = true
    var closesAfterAnswer = false
    /// Our side is closed; what the client still sends is discarded, so that a reset does not eat the answer (RFC 9112 9.6).
    var lingers = false
    /// Its request waits for others' answers; whether that is a HEAD, and whether the connection ends with it.
    var waiting: (isHead: Bool, closes: Bool)?
    var timer = TimerWheel.ID.none
    /// When it last achieved something.
    var activeAt: UInt64

    init(_ descriptor: Descriptor, now: UInt64) {
        self.descriptor = descriptor
        activeAt = now
    }
}

/// The discovery server's HTTP: small answers at once, large ones piece by piece as the client takes them.
struct API: ~Copyable {
    let connections = Slab<APIConnection>(capacity: Limits.apiConnections)
    private var head = RequestHead()
    private let log: Log

    init(log: Log) { self.log = log }

    /// Takes waiting connections. False: there are no descriptors for more, the listener must rest.
    mutating func accept(_ listener: Descriptor, _ loop: inout EventLoop) -> Bool {
        for _ in 0..<Limits.acceptsPerTurn {
            let descriptor: Descriptor
            do {
                descriptor = try Socket.accept(listener).0
            } catch {
                switch error.acceptOutcome {
                case .nobody: return true
                case .next: continue
                case .noDescriptors, .pause: return false
                }
            }
            if connections.isFull { evict(&loop) }
            guard !connections.isFull else {
                descriptor.close()
                continue
            }
            let slot = connections.insert(APIConnection(descriptor, now: loop.now))
            let generation = connections.generation(slot)
            do {
                try loop.add(
                    descriptor, EventKind.apiConnection.token(slot, generation),
                    [.readable, .writable, .peerClosed, .edgeTriggered])
            } catch {
                close(slot, &loop)
                continue
            }
            connections[slot].timer = loop.schedule(
                EventKind.apiTimeout.token(slot, generation), after: Limits.apiTimeoutMilliseconds)
        }
        return true
    }

    /// Makes room: the connection that has waited longest between requests, or for its end, goes.
    private mutating func evict(_ loop: inout EventLoop) {
        var oldest: Slab<APIConnection>.Index?
        for slot in connections.indices
        where connections[slot].output.isEmpty && connections[slot].cursor == nil
            && connections[slot].waiting == nil
        {
            if oldest.map({ connections[$0].activeAt > connections[slot].activeAt }) ?? true { oldest = slot }
        }
        if let oldest { close(oldest, &loop) }
    }

    /// Something has been achieved on this connection; a trickle of bytes does not count.
    private func renew(_ slot: Slab<APIConnection>.Index, _ loop: inout EventLoop) {
        connections[slot].activeAt = loop.now
        loop.reschedule(connections[slot].timer, at: loop.now + Limits.apiTimeoutMilliseconds)
    }

    mutating func close(_ slot: Slab<APIConnection>.Index, _ loop: inout EventLoop) {
        loop.cancel(&connections[slot].timer)
        connections[slot].descriptor.close()
        _ = connections.remove(slot)
    }

    mutating func timedOut(_ slot: Slab<APIConnection>.Index, _ loop: inout EventLoop) {
        connections[slot].timer = .none
        close(slot, &loop)
    }

    /// Serves a connection for a while. True: there is work left over for a later turn, so that others come first.
    mutating func ready(
        _ slot: Slab<APIConnection>.Index, _ readiness: Readiness, _ registry: borrowing Registry,
        _ state: DiscoveryState,
        _ questions: inout [ForwarderQuestion.Explain], _ loop: inout EventLoop
    ) -> Bool {
        if !readiness.isDisjoint(with: [.hangUp, .error]) {
            close(slot, &loop)
            return false
        }
        if connections[slot].waiting != nil { return false }
        if connections[slot].lingers { return linger(slot, &loop) }
        var pieces = 2
        for _ in 0..<4 {
            switch send(slot, registry, &pieces, &loop) {
            case .waits: return false
            case .hasMore: return true
            case .sent: break
            }
            // Nothing is left to send: the next request.
            if connections[slot].closesAfterAnswer {
                Socket.shutdownWrite(connections[slot].descriptor)
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
    private mutating func linger(_ slot: Slab<APIConnection>.Index, _ loop: inout EventLoop) -> Bool {
        for _ in 0..<16 {
            connections[slot].input.removeAll()
            let result = connections[slot].input.receive(from: connections[slot].descriptor)
            if result.isAgain { return false }
            guard let count = result.count, count > 0 else {
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
        _ slot: Slab<APIConnection>.Index, _ registry: borrowing Registry, _ pieces: inout Int, _ loop: inout EventLoop
    ) -> Sending {
        while true {
            let start = connections[slot].outputStart
            let end = connections[slot].output.count
            if start < end {
                let result = connections[slot].descriptor.send(connections[slot].output.span.extracting(start..<end))
                guard let count = result.count else {
                    if !result.isAgain { close(slot, &loop) }
                    return .waits
                }
                connections[slot].outputStart += count
                renew(slot, &loop)
                continue
            }
            connections[slot].output.removeAll(keepingCapacity: true)
            connections[slot].outputStart = 0
            guard connections[slot].cursor != nil else { return .sent }
            if pieces == 0 { return .hasMore }
            pieces -= 1
            nextPiece(slot, registry, now: loop.now)
        }
    }

    private func nextPiece(_ slot: Slab<APIConnection>.Index, _ registry: borrowing Registry, now: UInt64) {
        guard let piece = connections[slot].cursor?.nextPiece(registry, now: now) else {
            connections[slot].cursor = nil
            if connections[slot].isChunked { connections[slot].output.append(contentsOf: "0\r\n\r\n".utf8) }
            return
        }
        if connections[slot].isChunked {
            connections[slot].output.append(contentsOf: String(piece.count, radix: 16).utf8)
            connections[slot].output.append(contentsOf: [0x0d, 0x0a])
        }
        connections[slot].output.append(contentsOf: piece)
        if connections[slot].isChunked { connections[slot].output.append(contentsOf: [0x0d, 0x0a]) }
    }

    /// What the configuration says of requests' heads, as far as there is room here.
    private static func bounds(_ settings: ForwarderSettings) -> RequestHead.Bounds {
        let bytes = min(settings.headBytes, Limits.apiRequestBytes)
        return RequestHead.Bounds(
            bytes: bytes, targetBytes: min(Limits.targetBytes, bytes), fields: settings.headFields)
    }

    /// True when a request has been read and its answer is ready to be sent.
    private mutating func receive(
        _ slot: Slab<APIConnection>.Index, _ registry: borrowing Registry, _ state: DiscoveryState,
        _ questions: inout [ForwarderQuestion.Explain], _ loop: inout EventLoop
    ) -> Bool {
        let connections = connections
        while true {
            if !connections[slot].input.isEmpty {
                do throws(HTTPFault) {
                    if try head.parse(connections[slot].input.bytes, bounds: Self.bounds(registry.general.forwarding)) {
                        let answer = state.answer(head, connections[slot].input.bytes, registry, now: loop.now)
                        let hasBody = head.framing != .none
                        // To HTTP/1.0 each answer ends its connection.
                        let closes = !head.keepsAlive || hasBody || head.minorVersion == 0
                        if case .later(let question) = answer.body {
                            connections[slot].waiting = (head.method == .head, closes)
                            questions.append(question)
                        } else {
                            respond(slot, answer, isHead: head.method == .head, closes: closes)
                        }
                        connections[slot].input.consume(head.byteCount)
                        renew(slot, &loop)
                        return true
                    }
                } catch {
                    let bytes = connections[slot].input.bytes
                    // Empty lines before a request are passed over (RFC 9112 2.2).
                    var start = 0
                    while start < bytes.count, bytes[start] == 0x0d || bytes[start] == 0x0a { start += 1 }
                    let isHead = bytes.spells("HEAD ", at: start)
                    respond(
                        slot, .json(error.status) { $0.field("status", error.reason) }, isHead: isHead, closes: true)
                    connections[slot].input.removeAll()
                    return true
                }
            }
            connections[slot].input.compact()
            let result = connections[slot].input.receive(from: connections[slot].descriptor)
            guard let count = result.count, count > 0 else {
                if result.count == 0 || !result.isAgain { close(slot, &loop) }
                return false
            }
        }
    }

    /// The answer to a request that has waited for others.
    mutating func answerWaiting(_ slot: Slab<APIConnection>.Index, _ answer: APIAnswer) {
        guard let waiting = connections[slot].waiting else { return }
        connections[slot].waiting = nil
        respond(slot, answer, isHead: waiting.isHead, closes: waiting.closes)
    }

    private func respond(_ slot: Slab<APIConnection>.Index, _ answer: APIAnswer, isHead: Bool, closes: Bool) {
        var out: [UInt8] = []
        out.append(contentsOf: "HTTP/1.1 \(answer.status) \(ReasonPhrase.of(answer.status))\r\n".utf8)
        out.append(contentsOf: "Date: \(Timestamp(wallMilliseconds: Clock.wallMilliseconds()).httpDate)\r\n".utf8)
        out.append(
            contentsOf:
                "Server: serverpy/\(Version.current)\r\nContent-Type: \(answer.contentType)\r\nCache-Control: no-store\r\n"
                .utf8)
        for (name, value) in answer.headers { out.append(contentsOf: "\(name): \(value)\r\n".utf8) }
        var mustClose = closes
        connections[slot].isChunked = true
        switch answer.body {
        case .bytes(let bytes) where answer.status == 304:
            // RFC 9110 15.4.5: no content, and no length that would be another's.
            if mustClose { out.append(contentsOf: "Connection: close\r\n".utf8) }
            out.append(contentsOf: [0x0d, 0x0a])
            assert(bytes.isEmpty)
        case .bytes(let bytes):
            out.append(contentsOf: "Content-Length: \(bytes.count)\r\n".utf8)
            if mustClose { out.append(contentsOf: "Connection: close\r\n".utf8) }
            out.append(contentsOf: [0x0d, 0x0a])
            if !isHead { out.append(contentsOf: bytes) }
        case .pieces(let cursor):
            if head.minorVersion == 0 {
                // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
                connections[slot].isChunked = false
                mustClose = true
            } else {
                out.append(contentsOf: "Transfer-Encoding: chunked\r\n".utf8)
            }
            if mustClose { out.append(contentsOf: "Connection: close\r\n".utf8) }
            out.append(contentsOf: [0x0d, 0x0a])
            if !isHead { connections[slot].cursor = cursor }
        case .later: assertionFailure("it is answered by answerWaiting")
        }
        connections[slot].closesAfterAnswer = mustClose
        connections[slot].output.append(contentsOf: out)
    }
}
