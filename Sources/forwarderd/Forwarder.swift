import Shared

/// The forwarder: one event loop, all its connections, the present routes. The parts of its work are in the extensions, by
/// what they are about; what decides is in value types of its own (RouteTable, Ranking, Exchange, PassiveHealth, and the
/// HTTP parsers of Shared).
struct Forwarder: ~Copyable {
    let daemon: Daemon
    var identity = Identity(name: Process.hostName())
    var loop: EventLoop
    let signals: SignalQueue
    var isRunning = true

    // Connections.
    let downstreams: Slab<Downstream>
    let upstreams: Slab<Upstream>
    /// Those that are kept for a next request, of all instances.
    var idleUpstreams: IdleList
    var requestBuffers: BufferPool
    var outputBuffers: BufferPool
    /// What an instance sent, on its way to the client; used within one call only.
    var received = Buffer(capacity: Limits.relayBufferBytes)
    /// What is about to be sent to a client; used within one call only.
    var outgoing = Buffer(capacity: Limits.outputBufferBytes)
    var requestHead = RequestHead()
    /// For whom the request of `requestHead` is, where a trusted sender says so.
    var believed: BelievedClient?
    var responseHead = ResponseHead()
    /// The client connection whose requests are being read; -1 for none.
    var servingSlot = -1
    /// Connections with work left over from a turn in which others had to go first.
    var unfinished: [Token] = []

    // The present table.
    let instances = Slab<InstanceSlot>(capacity: Limits.instancesInTable)
    var services: [ServiceEntry] = []
    var routes = RouteTable()
    /// Instances by the hash of their service and address.
    var slotByKey: [UInt64: Int32] = [:]
    var serviceByName: [String: Int] = [:]
    var slotByID: [Int] = []
    /// The snapshot that is about to become the table, and how many there have been.
    var build: TableBuild?
    var buildNumber: UInt32 = 0
    /// When the next slice of that may be done, and how many requests there had been at the last.
    var sliceAt: UInt64 = 0
    var acceptedAtSlice: UInt64 = 0
    var version: SnapshotVersion?
    /// When it was applied, by the loop's clock.
    var versionAt: UInt64 = 0
    /// What whoever supervises us was told last.
    private var toldVersion: SnapshotVersion?
    /// What is the same for all services.
    var settings = ForwarderSettings()
    /// `settings`, as the head's parser takes them.
    var requestBounds = RequestHead.Bounds.standard
    /// Which of how many forwarders this one is.
    var share = Share(index: 0, of: 1)
    /// Services whose waiting requests may go on.
    var servicesWithRoom: [Int] = []

    var listeners: Listeners
    var subscriber: Subscriber
    /// What to begin with where discoveryd does not answer.
    var savedSnapshot: SavedSnapshot?
    var counters: CounterFile
    let runtimeDirectory: String
    /// Of each API path, as the routes number them.
    var pathCounters: [(key: UInt64, row: Int32)] = []
    var random = SplitMix(seed: SystemRandom.word())
    /// The Date field's value, made once a second.
    var date: [UInt8] = []
    var dateSecond: UInt64 = 0
    var drain = Drain.none
    var accessLog: AccessLog
    var accessLogTimer = TimerWheel.ID.none
    /// Idle connections that may have to make room, oldest last.
    var evictable: [Evictable] = []
    /// When a search found none.
    var nothingEvictableAt: UInt64 = 0
    /// When no half-closed exchange was found whose place could be taken.
    var nothingHalfClosedAt: UInt64 = 0
    var complaints = GatheredWarnings()
    /// The most buffers that were lent at one time since memory was last given back to the system.
    private var peakBuffers = 0
    /// Connections over the limit that are being told so.
    var refused = 0

    enum Drain {
        case none
        /// Every answer closes its connection; new connections are still accepted.
        case announced
        /// Nothing new is accepted; what is open is finished.
        case finishing
    }

    var isDraining: Bool { drain != .none }

    var log: Log { daemon.log }

    init(
        _ daemon: Daemon, _ loop: consuming EventLoop, _ signals: SignalQueue, _ listeners: Listeners,
        _ subscriber: consuming Subscriber, _ counters: consuming CounterFile, runtimeDirectory: String
    ) {
        self.runtimeDirectory = runtimeDirectory
        self.daemon = daemon
        self.loop = loop
        self.signals = signals
        self.listeners = listeners
        self.subscriber = subscriber
        self.counters = counters
        accessLog = AccessLog(log: daemon.log, standardError: daemon.inherited.first("stderr") ?? .standardError)
        // Each exchange needs two descriptors, a client that rests or is slow one; some are needed for everything else.
        let descriptors = max(32, daemon.openFiles - 64 - Limits.refusedConnections)
        let clients = min(Limits.clientConnections, descriptors * 5 / 8)
        downstreams = Slab(capacity: clients + Limits.refusedConnections)
        upstreams = Slab(capacity: min(Limits.instanceConnections, descriptors * 3 / 8))
        idleUpstreams = IdleList(limit: max(1, min(Limits.instanceConnections, descriptors / 3)))
        requestBuffers = BufferPool(
            bufferBytes: Limits.requestBufferBytes, limit: descriptors * 2, keep: 128)
        outputBuffers = BufferPool(
            bufferBytes: Limits.outputBufferBytes, limit: clients + Limits.refusedConnections, keep: 16)
    }

    // MARK: The loop

    mutating func run() -> Int32 {
        subscribe()
        _ = loop.schedule(EventKind.firstSnapshotOverdue.token(), after: Limits.firstSnapshotWaitMilliseconds)
        _ = loop.schedule(EventKind.sweep.token(), after: Limits.sweepMilliseconds)
        while isRunning {
            do {
                try loop.turn(
                    poll: !unfinished.isEmpty || !servicesWithRoom.isEmpty
                        || hasSnapshotWork && loop.now >= sliceAt)
            } catch {
                log.error("epoll_wait failed: \(error)")
                return ExitCode.failed
            }
            while let event = loop.nextEvent() { handle(event) }
            while let token = loop.nextTimer() { handleTimer(token) }
            resumeUnfinished()
            if hasSnapshotWork { workOnSnapshot() }
            serveQueues()
            if accessLog.isLarge { accessLog.flush() }
            if drain == .finishing, downstreams.count == 0 { isRunning = false }
        }
        cutUnfinished()
        daemon.notifier.stopping()
        accessLog.flush()
        return ExitCode.done
    }

    @inline(__always)
    private mutating func handle(_ event: EventLoop.Event) {
        let slot = event.token.slot
        guard let kind = EventKind(rawValue: event.token.kind) else { return }
        switch kind {
        case .downstream:
            if downstreams.holds(slot, event.token.generation) { downstreamReady(slot, event.readiness) }
        case .upstream:
            if upstreams.holds(slot, event.token.generation) { upstreamReady(slot, event.readiness) }
        case .listener: acceptConnections(slot)
        case .subscriber: subscriberReady(event.readiness)
        case .signals: takeSignals()
        case .control: takeControl()
        case .downstreamTimeout, .reconnect, .ejectionEnd, .sweep, .resumeAccepting, .firstSnapshotOverdue,
            .drainDelayOver, .drainTimeout, .accessLogDue, .sliceDue, .retireListeners:
            break
        }
    }

    private mutating func handleTimer(_ token: Token) {
        guard let kind = EventKind(rawValue: token.kind) else { return }
        switch kind {
        case .downstreamTimeout:
            if downstreams.holds(token.slot, token.generation) { downstreamTimerFired(token.slot) }
        case .reconnect: subscribe()
        case .ejectionEnd:
            if instances.holds(token.slot, token.generation) { ejectionEnded(token.slot) }
        case .sweep:
            sweepIdleUpstreams()
            returnBuffers()
            if counters.trouble != nil, counters.moveToFile(in: runtimeDirectory, index: subscriber.index) {
                log.info("counters are kept in \(runtimeDirectory) again")
            }
            tellStatus()
            daemon.notifier.alive(isReady: version != nil)
            accessLog.checkRename()
            _ = loop.schedule(
                EventKind.sweep.token(), after: min(Limits.sweepMilliseconds, daemon.notifier.signGap))
        case .resumeAccepting: resumeAccepting()
        case .retireListeners: retireListeners()
        case .sliceDue: break
        case .firstSnapshotOverdue: if version == nil { beginWithoutDiscoveryd() }
        case .drainDelayOver: finishDraining()
        case .accessLogDue:
            accessLogTimer = .none
            accessLog.flush()
            if accessLog.hasPending { scheduleAccessLog() }
        case .drainTimeout:
            log.warning("drain: the time is over; \(downstreams.count) connections are closed")
            isRunning = false
        case .downstream, .upstream, .listener, .subscriber, .signals, .control: break
        }
    }

    /// A burst of slow readers is over: what the allocator holds for the next one goes back to the system. Not where bursts come again
    /// and again.
    private mutating func returnBuffers() {
        let recent = requestBuffers.takePeak() + outputBuffers.takePeak()
        peakBuffers = max(peakBuffers, recent)
        guard peakBuffers - recent > Limits.buffersReturned else { return }
        peakBuffers = recent
        Process.returnFreeMemory()
    }

    private mutating func tellStatus() {
        guard let version, version != toldVersion else { return }
        toldVersion = version
        daemon.notifier.status("snapshot \(version)")
    }

    private mutating func resumeUnfinished() {
        guard !unfinished.isEmpty else { return }
        let tokens = unfinished
        unfinished.removeAll(keepingCapacity: true)
        for token in tokens {
            if token.kind == EventKind.upstream.rawValue {
                guard upstreams.holds(token.slot, token.generation) else { continue }
                if upstreams[token.slot].state == .tunnel {
                    relayToClient(token.slot)
                } else {
                    readResponse(token.slot)
                }
            } else if downstreams.holds(token.slot, token.generation) {
                switch downstreams[token.slot].state {
                case .idle, .head: serve(token.slot)
                case .exchange: if !downstreams[token.slot].requestIsComplete { sendRequest(token.slot) }
                case .lingering: linger(token.slot)
                case .tunnel: relayToInstance(token.slot)
                case .flushing: break
                }
            }
        }
    }

    // MARK: Being told

    private mutating func takeSignals() {
        while let signal = signals.next() {
            switch signal {
            case .terminate, .interrupt, .quit:
                beginDraining(
                    delayMilliseconds: settings.drainDelayMilliseconds,
                    timeoutMilliseconds: settings.drainTimeoutMilliseconds)
            case .user1: accessLog.reopen()
            case .hangUp:
                // There is nothing of ours to reload, and whoever has asked (`Type=notify-reload`) waits for the end of it.
                guard let version else { break }
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
                    // The supervisor is gone; so are we.
                    isRunning = false
                    return
                }
                switch try ControlMessage.decode(message.bytes) {
                case .stop: isRunning = false
                case .drain(let delay, let timeout):
                    beginDraining(delayMilliseconds: delay, timeoutMilliseconds: timeout)
                case .listeners:
                    // Whoever is leaving takes no new ones.
                    if drain == .finishing { break }
                    guard !message.descriptors.isEmpty, !message.isTruncated else {
                        log.error("new listeners did not come with their message; the old ones stay")
                        break
                    }
                    replaceListeners(message.descriptors)
                    continue
                case .reopenLogs: accessLog.reopen()
                case .configuration, .applied, .refused: break
                }
                for descriptor in message.descriptors { descriptor.close() }
            } catch let error as Errno {
                guard !error.isPassing else { return }
                log.error("the supervisor's socket: \(error)")
                isRunning = false
                return
            } catch {
                log.warning("the supervisor sent something unknown: \(error)")
            }
        }
    }

    /// Says that the end is near, so that load balancers send no more; after the delay accepts nothing and finishes what is
    /// open within the time.
    private mutating func beginDraining(delayMilliseconds: UInt64, timeoutMilliseconds: UInt64) {
        guard !isDraining else { return }
        drain = .announced
        log.debug("drain: \(downstreams.count) connections are open")
        _ = loop.schedule(EventKind.drainTimeout.token(), after: delayMilliseconds + timeoutMilliseconds)
        if delayMilliseconds == 0 { return finishDraining() }
        _ = loop.schedule(EventKind.drainDelayOver.token(), after: delayMilliseconds)
    }

    private mutating func finishDraining() {
        drain = .finishing
        closeListeners()
        let limit = loop.now + Limits.drainIdleMilliseconds
        for slot in 0..<downstreams.highWater where downstreams.isInUse(slot) && downstreams[slot].state == .idle {
            setDeadline(slot, min(limit, downstreams[slot].deadline))
        }
    }

    mutating func scheduleAccessLog() {
        guard !accessLogTimer.isScheduled else { return }
        accessLogTimer = loop.schedule(EventKind.accessLogDue.token(), after: Limits.accessLogMilliseconds)
    }

    /// The Date field's value for this second.
    mutating func refreshDate() {
        let second = loop.now / 1000
        if second != dateSecond || date.isEmpty {
            dateSecond = second
            date = Array(Timestamp(wallMilliseconds: Clock.wallMilliseconds()).httpDate.utf8)
        }
    }
}
