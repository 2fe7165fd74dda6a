import Shared

/// The forwarder: one event loop and what it works on. It decides nothing: values in the folders decide, and extensions of `Forwarder`
/// perform what they ask for (`Driver`, `Intake`, `Selection`, `Connector`, `Admission`, `Evidence` and all that end in `Side`).
struct Forwarder: ~Copyable {
    enum Phase: UInt8 {
        case running
        /// A drain is announced: every response closes its connection; new connections are still accepted.
        case announced
        /// Nothing new is accepted; what is open is finished.
        case finishing
        case stopped

        var isDraining: Bool { self != .running }
        var accepts: Bool { self == .running || self == .announced }
    }

    let daemon: Daemon
    var loop: EventLoop
    private let signals: SignalQueue
    var phase = Phase.running
    var clients: Clients
    let exchanges: Slab<Exchange>
    var pool: Pool
    var table = Table()
    var subscriber: Subscriber
    var ledger: Ledger
    var memory: Memory
    var identity = Identity(name: Process.hostName())
    var random = SplitMix(seed: SystemRandom.word())
    /// Actions that `Driver` performs again after a half-closed exchange has given up its place; last in, first out. Empty between calls.
    var postponed: [(exchange: ExchangeIndex, action: Exchange.Action)] = []
    /// Connections to continue at the end of the turn, after the other events.
    var unfinished: [Token] = []

    var log: Log { daemon.log }

    init(
        _ daemon: Daemon, _ loop: consuming EventLoop, _ signals: SignalQueue, _ listeners: Listeners,
        _ subscriber: consuming Subscriber, _ ledger: consuming Ledger
    ) {
        self.daemon = daemon
        self.loop = loop
        self.signals = signals
        self.subscriber = subscriber
        self.ledger = ledger
        // An exchange needs two descriptors, a client at rest or a slow one needs one; some are needed for everything else.
        let descriptors = max(32, daemon.openFiles - 64 - Limits.refusedConnections)
        let limit = min(Limits.clientConnections, descriptors * 5 / 8)
        clients = Clients(limit: limit, listeners)
        exchanges = Slab(capacity: clients.slab.capacity)
        pool = Pool(
            capacity: min(Limits.instanceConnections, descriptors * 3 / 8),
            idleLimit: max(1, min(Limits.instanceConnections, descriptors / 3)))
        memory = Memory(exchanges: descriptors * 2, peers: clients.slab.capacity + pool.connections.capacity)
    }

    // MARK: The loop

    mutating func run() -> Int32 {
        subscribe()
        _ = loop.schedule(EventKind.firstSnapshotOverdue.token(), after: Limits.firstSnapshotWaitMilliseconds)
        _ = loop.schedule(EventKind.sweep.token(), after: Limits.sweepMilliseconds)
        while phase != .stopped {
            do {
                try loop.turn(
                    poll: !unfinished.isEmpty || table.hasServicesWithRoom
                        || hasSnapshotWork && loop.now >= subscriber.sliceAt)
            } catch {
                log.error("epoll_wait failed: \(error)")
                return ExitCode.failed
            }
            noteInstanceEvents()
            while let event = loop.nextEvent() { handle(event) }
            while let token = loop.nextTimer() { handleTimer(token) }
            resumeUnfinished()
            if hasSnapshotWork { workOnSnapshot() }
            serveQueues()
            writeAccessLog()
            if phase == .finishing, clients.count == 0 { phase = .stopped }
        }
        cutUnfinished()
        daemon.notifier.stopping()
        ledger.flushLog()
        return ExitCode.done
    }

    /// Before any request of this turn uses a connection to an instance, the connection knows what the turn's events say of it: bytes on an
    /// idle connection would become the response to another client's request.
    @inline(__always)
    private func noteInstanceEvents() {
        let connections = pool.connections
        loop.forEachEvent { event in
            guard event.token.kind == EventKind.connection.rawValue else { return }
            if let connection = connections.index(of: event.token) {
                connections[connection].stream.note(event.readiness)
            }
        }
    }

    @inline(__always)
    private mutating func handle(_ event: EventLoop.Event) {
        guard let kind = EventKind(rawValue: event.token.kind) else { return }
        switch kind {
        case .client: if let client = clients.slab.index(of: event.token) { clientReady(client, event.readiness) }
        case .connection:
            if let connection = pool.connections.index(of: event.token) { connectionReady(connection, event.readiness) }
        case .listener: acceptConnections(event.token.slot)
        case .subscriber: subscriberReady(event.readiness)
        case .signals: takeSignals()
        case .control: takeControl()
        case .clientDeadline, .reconnect, .ejectionEnd, .sweep, .resumeAccepting, .firstSnapshotOverdue,
            .drainDelayOver, .drainTimeout, .accessLogDue, .sliceDue, .retireListeners:
            break
        }
    }

    private mutating func handleTimer(_ token: Token) {
        guard let kind = EventKind(rawValue: token.kind) else { return }
        switch kind {
        case .clientDeadline: if let client = clients.slab.index(of: token) { clientTimerFired(client) }
        case .reconnect: subscribe()
        case .ejectionEnd: if let instance = table.instances.index(of: token) { ejectionEnded(instance) }
        case .sweep: sweep()
        case .resumeAccepting: resumeAccepting()
        case .retireListeners: retireListeners()
        case .sliceDue: break
        case .firstSnapshotOverdue: if table.version == nil { beginWithoutDiscoveryd() }
        case .drainDelayOver: finishDraining()
        case .accessLogDue:
            ledger.isFlushScheduled = false
            ledger.flushLog()
        case .drainTimeout:
            log.warning("drain timed out; closing \(clients.count) connections")
            phase = .stopped
        case .client, .connection, .listener, .subscriber, .signals, .control: break
        }
    }

    private mutating func sweep() {
        pool.closeExpired(table.instances, now: loop.now)
        memory.giveBackIdle()
        ledger.retryFile()
        if let words = subscriber.statusToReport(table.version) { daemon.notifier.status(words) }
        daemon.notifier.alive(isReady: table.version != nil)
        ledger.checkLogRename()
        _ = loop.schedule(EventKind.sweep.token(), after: min(Limits.sweepMilliseconds, daemon.notifier.signGap))
    }

    /// Lines of the access log are gathered and written in large pieces.
    private mutating func writeAccessLog() {
        ledger.flushLargeLog()
        if ledger.takeFlushRequest() {
            _ = loop.schedule(EventKind.accessLogDue.token(), after: Limits.accessLogMilliseconds)
        }
    }

    private mutating func resumeUnfinished() {
        guard !unfinished.isEmpty else { return }
        let tokens = unfinished
        unfinished.removeAll(keepingCapacity: true)
        for token in tokens {
            if token.kind == EventKind.client.rawValue {
                guard let client = clients.slab.index(of: token) else { continue }
                clients.slab[client].isUnfinished = false
                readClient(client)
            } else if let connection = pool.connections.index(of: token),
                let exchange = pool.connections[connection].exchanges.first
            {
                receiveFromInstance(connection, exchange)
            }
        }
    }

    // MARK: Signals and the supervisor's commands

    private mutating func takeSignals() {
        while let signal = signals.next() {
            switch signal {
            case .terminate, .interrupt, .quit:
                beginDraining(
                    delayMilliseconds: table.settings.drainDelayMilliseconds,
                    timeoutMilliseconds: table.settings.drainTimeoutMilliseconds)
            case .user1: ledger.reopenLog()
            case .hangUp:
                // There is nothing to reload here, and a service manager that has asked (`Type=notify-reload`) waits for the end.
                guard let version = table.version else { break }
                daemon.notifier.reloading()
                daemon.notifier.ready("snapshot \(version)")
            default: break
            }
        }
    }

    private mutating func takeControl() {
        guard let control = daemon.control else { return }
        while true {
            do {
                guard let message = try UnixSocket.receive(on: control, capacity: Limits.controlMessageBytes) else {
                    // The supervisor is gone; without it this process ends, too.
                    phase = .stopped
                    return
                }
                switch try ControlMessage.decode(message.bytes) {
                case .stop: phase = .stopped
                case .drain(let delay, let timeout):
                    beginDraining(delayMilliseconds: delay, timeoutMilliseconds: timeout)
                case .listeners:
                    // A forwarder that is leaving takes no new ones.
                    if !phase.accepts { break }
                    guard !message.descriptors.isEmpty, !message.isTruncated else {
                        log.error("new listeners did not come with their message; the old ones stay")
                        break
                    }
                    replaceListeners(message.descriptors)
                    continue
                case .reopenLogs: ledger.reopenLog()
                case .configuration, .applied, .refused: break
                }
                for descriptor in message.descriptors { descriptor.close() }
            } catch let error as Errno {
                guard !error.isPassing else { return }
                log.error("the supervisor's socket: \(error)")
                phase = .stopped
                return
            } catch {
                log.warning("the supervisor sent something unknown: \(error)")
            }
        }
    }

    /// Announces the end, so that load balancers send no more; after the delay accepts nothing, and finishes what is open within the time.
    private mutating func beginDraining(delayMilliseconds: UInt64, timeoutMilliseconds: UInt64) {
        guard phase == .running else { return }
        phase = .announced
        log.debug("drain: \(clients.count) connections are open")
        _ = loop.schedule(EventKind.drainTimeout.token(), after: delayMilliseconds + timeoutMilliseconds)
        if delayMilliseconds == 0 { return finishDraining() }
        _ = loop.schedule(EventKind.drainDelayOver.token(), after: delayMilliseconds)
    }

    private mutating func finishDraining() {
        guard phase.accepts else { return }
        phase = .finishing
        closeListeners()
        let limit = loop.now + Limits.drainIdleMilliseconds
        for client in clients.slab.indices where clients.slab[client].phase == .idle {
            setDeadline(client, min(limit, clients.slab[client].deadline))
        }
    }
}
