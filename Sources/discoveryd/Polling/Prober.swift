import Shared

/// Runs probes: connects, sends, reads. Gives each finished probe's result to its owner.
struct Prober: ~Copyable {
    /// What a call has led to.
    enum Step {
        case pending
        case finished(PollResult)
    }

    let probes: Slab<Probe>
    private var reader: HTTPCall.Reader
    private let log: Log
    private var echo4: (Descriptor, raw: Bool)?
    private var echo6: (Descriptor, raw: Bool)?
    private var saidNoEcho = false
    private var connections: UInt32 = 0
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
        reader = HTTPCall.Reader(limit: Limits.pollBuffers, keep: 64)
        self.log = log
    }

    /// What the configuration says of heads: the same as for forwarders, or an instance could serve and be down.
    mutating func configure(_ settings: ForwarderSettings) {
        reader.headBytes = settings.headBytes
        reader.headFields = settings.headFields
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
        probes.isInUse(slot) && probes[slot].connection == connection && probes[slot].call.isOpen
    }

    /// Whether the probe holds nothing that a later one could use.
    func isSpent(_ slot: Slab<Probe>.Index) -> Bool { !probes[slot].isRunning && !probes[slot].call.isOpen }

    mutating func removeProbe(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) {
        disconnect(slot)
        loop.cancel(&probes[slot].timer)
        probes.discard(slot)
    }

    /// Begins a poll. `fresh`: on a new connection.
    mutating func begin(_ slot: Slab<Probe>.Index, fresh: Bool, at startedAt: UInt64, _ loop: inout EventLoop) -> Step {
        probes[slot].startedAt = startedAt
        probes[slot].startedAtWall = Clock.wallMilliseconds()
        probes[slot].isRunning = true
        let polling = probes[slot].plan.polling
        let mayReuse =
            probes[slot].call.phase == .kept && !fresh
            && probes[slot].call.calls < Limits.freshConnectionEveryPolls
        if !mayReuse || polling.method == .ping { disconnect(slot) }
        if polling.method == .ping, probes[slot].pingsHost, let step = beginEcho(slot, polling, &loop) { return step }
        startTimer(slot, polling.timeoutMilliseconds, &loop)
        guard probes[slot].call.isOpen else { return connect(slot, &loop) }
        kept -= 1
        return send(slot, &loop)
    }

    private mutating func startTimer(_ slot: Slab<Probe>.Index, _ delay: UInt64, _ loop: inout EventLoop) {
        loop.cancel(&probes[slot].timer)
        probes[slot].timer = loop.schedule(EventKind.probeTimeout.token(slot, probes.generation(slot)), after: delay)
    }

    private mutating func connect(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) -> Step {
        connections &+= 1
        probes[slot].connection = connections
        let step = probes[slot].call.connect(
            to: probes[slot].address, sendsFirst: probes[slot].plan.sendsFirst,
            EventKind.probe.token(slot, connections), loop)
        if probes[slot].call.isOpen { open += 1 }
        return proceed(step, slot, &loop)
    }

    private mutating func send(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) -> Step {
        probes[slot].plan.write(probes[slot].authority.utf8, to: &request)
        return proceed(probes[slot].call.send(request.span), slot, &loop)
    }

    /// Something happened on a probe's socket.
    mutating func ready(_ slot: Slab<Probe>.Index, _ readiness: Readiness, _ loop: inout EventLoop) -> Step {
        if readiness.contains(.writable), probes[slot].call.hasUnsent {
            probes[slot].plan.write(probes[slot].authority.utf8, to: &request)
            let connection = probes[slot].connection
            let step = proceed(probes[slot].call.sendRest(request.span), slot, &loop)
            if case .finished = step { return step }
            // It has begun anew: what was said is of the connection before.
            guard probes[slot].connection == connection else { return .pending }
        }
        let before = probes[slot].call.phase
        let step = probes[slot].call.ready(readiness, probes[slot].address, &reader)
        settle(slot, before)
        return proceed(step, slot, &loop)
    }

    /// What the call has come to is what the poll has come to.
    private mutating func proceed(_ step: HTTPCall.Step, _ slot: Slab<Probe>.Index, _ loop: inout EventLoop) -> Step {
        switch step {
        case .pending: return .pending
        case .connected:
            guard probes[slot].plan.sendsFirst else { return finish(slot, .ok, &loop) }
            let step = send(slot, &loop)
            guard case .pending = step, probes[slot].call.phase == .awaitingHead, probes[slot].call.mayReceive else {
                return step
            }
            return proceed(probes[slot].call.readHead(&reader), slot, &loop)
        case .answered: return answered(slot, &loop)
        case .failed(let failure):
            guard !probes[slot].call.mayBeginAnew else {
                disconnect(slot)
                return connect(slot, &loop)
            }
            return switch failure {
            case .system(let error): finish(slot, PollCause(error), &loop)
            case .closed: finish(slot, .closed, &loop)
            case .malformed(let kind): finish(slot, .badHTTP, status: kind.rawValue, &loop)
            case .noMemory: finish(slot, .ownFault, &loop)
            }
        }
    }

    /// The head is there: that is the verdict.
    private mutating func answered(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) -> Step {
        let status = reader.head.status
        let good = probes[slot].plan.polling.expect.contains { $0.contains(status) }
        let result = PollResult(cause: good ? .ok : .badStatus, status: status, durationMicroseconds: elapsed(slot))
        probes[slot].isRunning = false
        if good, probes[slot].call.mayKeep(reader) {
            probes[slot].call.drainBody(&reader)
            settle(slot, .drainingBody)
        } else {
            disconnect(slot)
        }
        // The rest of a body has the time that the poll had: a connection is nobody's while it is open.
        if probes[slot].call.phase != .drainingBody { loop.cancel(&probes[slot].timer) }
        return .finished(result)
    }

    /// Counts what has become of a connection.
    private mutating func settle(_ slot: Slab<Probe>.Index, _ before: HTTPCall.Phase) {
        let after = probes[slot].call.phase
        guard before != after else { return }
        if after == .closed {
            open -= 1
            if before == .kept { kept -= 1 }
        } else if after == .kept {
            kept += 1
            if kept > keptLimit { disconnect(slot) }
        }
    }

    /// The time of a poll is up.
    mutating func timedOut(_ slot: Slab<Probe>.Index, _ loop: inout EventLoop) -> Step {
        probes[slot].timer = .none
        if probes[slot].isRunning { return finish(slot, .timedOut, &loop) }
        if probes[slot].call.phase == .drainingBody { disconnect(slot) }
        return .pending
    }

    private func elapsed(_ slot: Slab<Probe>.Index) -> UInt64 {
        (Clock.monotonicNanoseconds() - probes[slot].startedAt + 500) / 1000
    }

    private mutating func finish(
        _ slot: Slab<Probe>.Index, _ cause: PollCause, status: UInt16 = 0, _ loop: inout EventLoop
    ) -> Step {
        let result = PollResult(cause: cause, status: status, durationMicroseconds: elapsed(slot))
        loop.cancel(&probes[slot].timer)
        probes[slot].isRunning = false
        disconnect(slot)
        return .finished(result)
    }

    private mutating func disconnect(_ slot: Slab<Probe>.Index) {
        if let echo = probes[slot].echo { echoes[echo] = nil }
        probes[slot].echo = nil
        let before = probes[slot].call.phase
        if before == .closed { return }
        probes[slot].call.close(&reader)
        settle(slot, before)
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
        probes[slot].echo = echoSequence
        echoes[echoSequence] = (slot, probes.generation(slot))
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
