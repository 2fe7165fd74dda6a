import Shared

/// Runs probes: connects, sends, reads. Gives each finished probe's result to its owner.
struct Prober: ~Copyable {
    /// What a call has led to.
    enum Step {
        case pending
        case finished(PollResult)
    }

    let probes: Slab<Probe>
    private var buffers: BufferPool
    private var head = ResponseHead()
    /// What bounds an answer's head: the same as for forwarders, or an instance could serve and be down.
    private var headBytes = Limits.headBytes
    private var headFields = Limits.headFields
    private let log: Log
    private var echo4: (Descriptor, raw: Bool)?
    private var echo6: (Descriptor, raw: Bool)?
    private var saidNoEcho = false
    private var connections: UInt32 = 0
    private let ephemeralPorts = Socket.ephemeralPorts
    private let echoCookie = SystemRandom.word()
    private var echoSequence: UInt16 = 0
    /// Which probe waits for which echo.
    private var echoes: [UInt16: (slot: Slab<Probe>.Index, generation: UInt32)] = [:]

    /// Descriptors that polls have, and how many of them wait for the next poll.
    private(set) var open = 0
    private var kept = 0
    /// How many polls may have, and how many may be kept between polls.
    private let openLimit: Int
    private let keptLimit: Int
    /// The bytes of one health poll, made as they are needed.
    private var request: [UInt8] = []

    /// `descriptors`: how many the process may have for polls.
    init(capacity: Int, descriptors: Int, log: Log) {
        probes = Slab(capacity: capacity)
        openLimit = descriptors
        keptLimit = descriptors * 5 / 8
        buffers = BufferPool(
            bufferBytes: Limits.pollHeadBytes, limit: Limits.pollBuffers, keep: 64)
        self.log = log
    }

    /// What the configuration says of heads.
    mutating func configure(_ settings: ForwarderSettings) {
        headBytes = settings.headBytes
        headFields = settings.headFields
    }

    /// Whether a poll on a new connection would find a descriptor, and one by ICMP a number.
    var hasRoom: Bool { open < openLimit && echoes.count < Limits.echoesInFlight }

    /// A place for polls of one address; nil when there is none left. `authority`: the value for a Host field.
    mutating func makeProbe(
        _ owner: Probe.Owner, _ address: SocketAddress, _ plan: PollPlan, authority: Substring
    ) -> Slab<Probe>.Index? {
        probes.isFull ? nil : probes.insert(Probe(owner, address, plan, authority: authority))
    }

    /// Whether an event is for the connection that the probe has now.
    func holds(_ slot: Slab<Probe>.Index, connection: UInt32) -> Bool {
        probes.isInUse(slot) && probes[slot].connection == connection && probes[slot].descriptor.isOpen
    }

    /// Whether the probe holds nothing that a later one could use.
    func isSpent(_ slot: Slab<Probe>.Index) -> Bool { probes[slot].phase == .idle && !probes[slot].descriptor.isOpen }

    mutating func removeProbe(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) {
        disconnect(slot, &loop)
        loop.cancel(&probes[slot].timer)
        var removed = probes.remove(slot)
        buffers.giveBack(from: &removed.input)
    }

    /// Begins a poll. `fresh`: on a new connection.
    mutating func begin(_ slot: Slab<Probe>.Index, fresh: Bool, at startedAt: UInt64, _ loop: inout EventLoop) -> Step {
        probes[slot].startedAt = startedAt
        probes[slot].startedAtWall = Clock.wallMilliseconds()
        let plan = probes[slot].plan
        let polling = plan.polling
        switch polling.method {
        case .health:
            if probes[slot].phase != .idle || fresh
                || probes[slot].pollsOnConnection >= Limits.freshConnectionEveryPolls
            {
                disconnect(slot, &loop)
            }
        case .ping:
            disconnect(slot, &loop)
            if probes[slot].pingsHost, let step = beginEcho(slot, polling, &loop) { return step }
        }
        startTimer(slot, polling.timeoutMilliseconds, &loop)
        if probes[slot].descriptor.isOpen {
            probes[slot].isReused = true
            kept -= 1
            return sendRequest(slot, &loop)
        }
        return connect(slot, &loop)
    }

    private mutating func startTimer(_ slot: Slab<Probe>.Index, _ delay: UInt64, _ loop: inout EventLoop) {
        loop.cancel(&probes[slot].timer)
        probes[slot].timer = loop.schedule(EventKind.probeTimeout.token(slot, probes.generation(slot)), after: delay)
    }

    private mutating func connect(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop)
        -> Step
    {
        probes[slot].isReused = false
        probes[slot].pollsOnConnection = 0
        connections &+= 1
        probes[slot].connection = connections
        let descriptor: Descriptor
        let connected: Bool
        do {
            (descriptor, connected) = try Socket.connect(
                to: probes[slot].address, noDelay: false, sendsFirst: probes[slot].plan.sendsFirst)
            probes[slot].descriptor = descriptor
            probes[slot].phase = .connecting
            open += 1
            try loop.add(
                descriptor, EventKind.probe.token(slot, connections),
                [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            return finish(slot, PollCause(error), &loop)
        }
        return connected ? established(slot, &loop) : .pending
    }

    private mutating func established(
        _ slot: Slab<Probe>.Index, _ loop: inout EventLoop
    )
        -> Step
    {
        // A dead port of this machine's own ephemeral range may connect to itself (RFC 9293 3.5, simultaneous open).
        if ephemeralPorts.contains(probes[slot].address.port),
            Socket.isConnectedToItself(probes[slot].descriptor, probes[slot].address)
        {
            return finish(slot, .refused, &loop)
        }
        return switch probes[slot].plan.polling.method {
        case .ping: finish(slot, .ok, &loop)
        case .health: sendRequest(slot, &loop)
        }
    }

    private mutating func sendRequest(
        _ slot: Slab<Probe>.Index, _ loop: inout EventLoop
    )
        -> Step
    {
        probes[slot].phase = .awaitingHead
        probes[slot].receivedBytes = 0
        probes[slot].pollsOnConnection += 1
        probes[slot].sent = 0
        probes[slot].isSent = false
        return sendRest(slot, &loop)
    }

    private mutating func sendRest(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop)
        -> Step
    {
        probes[slot].plan.write(probes[slot].authority.utf8, to: &request)
        let sent = Int(probes[slot].sent)
        guard sent < request.count else { return .pending }
        let result = probes[slot].descriptor.send(request.span.extracting(sent..<request.count))
        if let count = result.count {
            probes[slot].sent += Int32(truncatingIfNeeded: count)
            probes[slot].isSent = sent + count == request.count
            return .pending
        }
        return result.isAgain ? .pending : failed(slot, PollCause(result.error), &loop)
    }

    /// The connection broke. A reused one accuses nobody: the poll begins anew on a fresh one.
    private mutating func failed(
        _ slot: Slab<Probe>.Index, _ cause: PollCause, _ loop: inout EventLoop
    ) -> Step {
        if probes[slot].isReused, probes[slot].input.isEmpty {
            disconnect(slot, &loop)
            return connect(slot, &loop)
        }
        return finish(slot, cause, &loop)
    }

    /// Something happened on a probe's socket.
    mutating func ready(
        _ slot: Slab<Probe>.Index, _ readiness: Readiness, _ loop: inout EventLoop
    ) -> Step {
        switch probes[slot].phase {
        case .idle:
            // Data or an end on a connection that is only kept: it is of no more use.
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) { disconnect(slot, &loop) }
            return .pending
        case .connecting:
            if !readiness.isDisjoint(with: [.error, .hangUp]), let error = Socket.pendingError(probes[slot].descriptor)
            {
                return finish(slot, PollCause(error), &loop)
            }
            guard readiness.contains(.writable) else { return .pending }
            let step = established(slot, &loop)
            guard case .pending = step, probes[slot].phase == .awaitingHead,
                !readiness.isDisjoint(with: [.readable, .peerClosed])
            else { return step }
            // An instance may speak first, and the event does not come again.
            return readHead(slot, &loop)
        case .awaitingHead:
            if readiness.contains(.writable), !probes[slot].isSent {
                let step = sendRest(slot, &loop)
                if case .finished = step { return step }
            }
            if readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) { return .pending }
            return readHead(slot, &loop)
        case .drainingBody:
            drainBody(slot, &loop)
            return .pending
        case .awaitingEcho:
            return .pending
        }
    }

    private mutating func readHead(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop)
        -> Step
    {
        if !probes[slot].input.isLeased {
            probes[slot].input = buffers.lease()
            if !probes[slot].input.isLeased { return finish(slot, .ownFault, &loop) }
        }
        let probes = probes
        while true {
            let descriptor = probes[slot].descriptor
            let result = probes[slot].input.receive(from: descriptor)
            guard let count = result.count else {
                return result.isAgain ? .pending : failed(slot, PollCause(result.error), &loop)
            }
            if count == 0 { return failed(slot, .closed, &loop) }
            // Interim answers without end are no answer.
            probes[slot].receivedBytes += Int32(truncatingIfNeeded: count)
            if probes[slot].receivedBytes > Limits.pollBodyBytes { return finish(slot, .endlessInterim, &loop) }
            do throws(HTTPFault) {
                if try head.readFinal(from: &probes[slot].input, maxBytes: headBytes, maxFields: headFields) {
                    return receiveHead(slot, &loop)
                }
            } catch {
                return finish(slot, error.kind, &loop)
            }
            if probes[slot].input.free == 0 { return finish(slot, .headTooLarge, &loop) }
        }
    }

    /// The head is there: that is the verdict.
    private mutating func receiveHead(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop)
        -> Step
    {
        let status = head.status
        let good = probes[slot].plan.polling.expect.contains { $0.contains(status) }
        let result = PollResult(cause: good ? .ok : .badStatus, status: status, durationMicroseconds: elapsed(slot))
        loop.cancel(&probes[slot].timer)
        probes[slot].body = BodyDecoder(head.framing(requestWasHead: false), status: 502)
        probes[slot].bodyBytes = 0
        if !head.keepsAlive || !good || probes[slot].body.endsWithConnection {
            disconnect(slot, &loop)
        } else {
            probes[slot].phase = .drainingBody
            useBody(slot, &loop)
            if probes[slot].phase == .drainingBody { drainBody(slot, &loop) }
        }
        return .finished(result)
    }

    private mutating func drainBody(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) {
        while probes[slot].phase == .drainingBody {
            probes[slot].input.compact()
            let descriptor = probes[slot].descriptor
            let result = probes[slot].input.receive(from: descriptor)
            guard let count = result.count, count > 0 else {
                if result.count == 0 || !result.isAgain { disconnect(slot, &loop) }
                return
            }
            probes[slot].receivedBytes += Int32(truncatingIfNeeded: count)
            if probes[slot].receivedBytes > Limits.pollHeadBytes + Limits.pollBodyBytes {
                return disconnect(slot, &loop)
            }
            useBody(slot, &loop)
        }
    }

    /// Follows the body; at its end the connection is kept, beyond the limit or on nonsense it is closed.
    private mutating func useBody(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) {
        var position = 0
        while true {
            let piece: ChunkedDecoder.Piece
            do throws(HTTPFault) {
                piece = try probes[slot].body.next(probes[slot].input.bytes, &position)
                // Bad ones are a bad answer, whose connection is not used again.
                if piece == .end { _ = try probes[slot].body.forwardableTrailers() }
            } catch {
                return disconnect(slot, &loop)
            }
            switch piece {
            case .data(_, let count):
                probes[slot].bodyBytes += Int32(truncatingIfNeeded: count)
                if probes[slot].bodyBytes > Limits.pollBodyBytes { return disconnect(slot, &loop) }
                if probes[slot].body.isComplete { continue }
            case .needsMore:
                probes[slot].input.consume(position)
                return
            case .end:
                probes[slot].input.consume(position)
                // Bytes after a response are never a response.
                if !probes[slot].input.isEmpty { return disconnect(slot, &loop) }
                guard kept < keptLimit else { return disconnect(slot, &loop) }
                probes[slot].phase = .idle
                kept += 1
                buffers.giveBack(from: &probes[slot].input)
                return
            }
        }
    }

    /// The time of a poll is up.
    mutating func timedOut(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) -> Step {
        probes[slot].timer = .none
        switch probes[slot].phase {
        case .idle, .drainingBody: return .pending
        case .connecting, .awaitingHead, .awaitingEcho: return finish(slot, .timedOut, &loop)
        }
    }

    private func elapsed(_ slot: Slab<Probe>.Index) -> UInt64 {
        (Clock.monotonicNanoseconds() - probes[slot].startedAt + 500) / 1000
    }

    /// The answer was not HTTP, in this way.
    private mutating func finish(_ slot: Slab<Probe>.Index, _ fault: HTTPFault.Kind, _ loop: inout EventLoop) -> Step {
        finish(slot, .badHTTP, status: fault.rawValue, &loop)
    }

    private mutating func finish(
        _ slot: Slab<Probe>.Index, _ cause: PollCause, status: UInt16 = 0, _ loop: inout EventLoop
    ) -> Step {
        let result = PollResult(cause: cause, status: status, durationMicroseconds: elapsed(slot))
        loop.cancel(&probes[slot].timer)
        disconnect(slot, &loop)
        return .finished(result)
    }

    private mutating func disconnect(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) {
        if probes[slot].phase == .awaitingEcho { echoes[probes[slot].echoSequence] = nil }
        if probes[slot].descriptor.isOpen {
            if probes[slot].phase == .idle { kept -= 1 }
            open -= 1
            probes[slot].descriptor.close()
            probes[slot].descriptor = .none
        }
        probes[slot].phase = .idle
        probes[slot].isReused = false
        probes[slot].pollsOnConnection = 0
        buffers.giveBack(from: &probes[slot].input)
    }

    // MARK: ICMP echo (RFC 792, RFC 4443)

    /// Nil: echo is not allowed here, the caller connects to the port instead.
    private mutating func beginEcho(_ slot: Slab<Probe>.Index, _ polling: Polling, _ loop: inout EventLoop) -> Step? {
        let family = probes[slot].address.family
        guard let (socket, _) = echoSocket(family, &loop) else { return nil }
        // An accusation does not wait for room.
        guard echoes.count < Int(UInt16.max) else { return finish(slot, .ownFault, &loop) }
        echoSequence &+= 1
        while echoes[echoSequence] != nil { echoSequence &+= 1 }
        probes[slot].echoSequence = echoSequence
        echoes[echoSequence] = (slot, probes.generation(slot))
        probes[slot].phase = .awaitingEcho
        startTimer(slot, polling.timeoutMilliseconds, &loop)
        var target = probes[slot].address
        target.port = 0
        let result = socket.send(EchoMessage.request(family, sequence: echoSequence, cookie: echoCookie), to: target)
        if result.count == nil { return finish(slot, PollCause(result.error), &loop) }
        return .pending
    }

    /// A socket that was opened before privileges were dropped.
    mutating func takeEchoSocket(_ family: SocketAddress.Family, _ socket: Descriptor, _ loop: borrowing EventLoop) {
        do {
            try socket.setNonBlocking(true)
            try loop.add(socket, (family == .ipv4 ? EventKind.icmp4 : .icmp6).token(), [.readable])
        } catch {
            return log.warning("an inherited ICMP socket cannot be used: \(error)")
        }
        let made = (socket, raw: socket.isRawSocket)
        if family == .ipv4 { echo4 = made } else { echo6 = made }
    }

    private mutating func echoSocket(_ family: SocketAddress.Family, _ loop: inout EventLoop) -> (
        Descriptor, raw: Bool
    )? {
        if let known = family == .ipv4 ? echo4 : echo6 { return known.0.isOpen ? known : nil }
        var made: (Descriptor, raw: Bool) = (.none, false)
        do {
            made = try Socket.icmp(family)
            try loop.add(made.0, (family == .ipv4 ? EventKind.icmp4 : .icmp6).token(), [.readable])
        } catch {
            // Out of descriptors is no verdict on ICMP: ask again next time.
            if error == .tooManyOpenFiles || error == .fileTableFull { return nil }
            if !saidNoEcho {
                log.warning(
                    "ICMP is not allowed here (\(error)): ping of an address without a port connects to port 80 instead"
                )
            }
            saidNoEcho = true
        }
        if family == .ipv4 { echo4 = made } else { echo6 = made }
        return made.0.isOpen ? made : nil
    }

    /// Takes one echo reply; nil when there are no more.
    mutating func nextEcho(_ family: SocketAddress.Family, _ loop: inout EventLoop) -> (
        slot: Slab<Probe>.Index, PollResult
    )? {
        guard let (socket, isRaw) = family == .ipv4 ? echo4 : echo6 else { return nil }
        while true {
            let (result, bytes, from) = socket.receiveDatagram(capacity: 256)
            guard result.count != nil, let from else { return nil }
            guard let sequence = EchoMessage.reply(family, bytes, isRaw: isRaw, cookie: echoCookie),
                let waiting = echoes[sequence], probes.holds(waiting.slot, waiting.generation),
                probes[waiting.slot].address.low == from.low, probes[waiting.slot].address.high == from.high
            else { continue }
            if case .finished(let result) = finish(waiting.slot, .ok, &loop) { return (waiting.slot, result) }
        }
    }
}
