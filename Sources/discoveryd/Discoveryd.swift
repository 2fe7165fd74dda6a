import Shared

/// The discovery daemon: its event loop, and nothing that decides.
struct Discoveryd: ~Copyable {
    var loop: EventLoop
    var registry: Registry
    var file = FileSource()
    var membership = Membership()
    var names: Names
    var polls: Polls
    var publisher: Publisher
    var server: HTTPServer
    var changePoster: ChangePoster
    var state: DiscoveryState
    var draining: [Draining] = []
    /// Questions to the forwarders under way, by the number that they carry.
    var inquiries: [UInt64: Inquiry] = [:]
    var inquiryID: UInt64 = 0
    /// The file named at the start.
    let configurationPath: String
    let stateDirectory: StateDirectory
    var saver: StateSaver
    var saveTimer = TimerWheel.ID.none
    var snapshotSaver: SnapshotSaver
    var snapshotTimer = TimerWheel.ID.none
    /// Why history is not on the disk, in words; empty when all is well.
    var historyTrouble = ""
    let daemon: Daemon
    private let signals: SignalQueue
    let subscriberListener: Descriptor
    var apiListener: Descriptor
    /// The one before, until it is emptied.
    var retiringAPIListener = Descriptor.none
    /// The socket file that we made ourselves and remove at the end.
    private let ownSocketPath: String?
    private var isRunning = true
    /// The version that a reload made, until every forwarder has applied it.
    var reloading: SnapshotVersion?
    var reloadTimer = TimerWheel.ID.none
    /// When those that are not connected are looked at again.
    var reloadLookAt: UInt64 = 0
    /// Changes that came too soon after others are published then.
    private var publishTimer = TimerWheel.ID.none
    private var complaints = GatheredWarnings()
    /// Connections with work left over from a turn in which others had to go first.
    private var unfinished: [Token] = []

    var log: Log { daemon.log }

    /// Opens what is needed; a fault says what could not be.
    static func make(
        _ daemon: Daemon, _ configuration: Configuration, _ stateDirectory: StateDirectory, runtimeDirectory: String,
        configurationPath: String, digest: String
    ) throws(StartFault) -> Discoveryd {
        let loop = try EventLoop.makeForStart()
        let signals: SignalQueue
        let disk: DiskThread
        do throws(Errno) {
            signals = try SignalQueue([.terminate, .interrupt, .quit, .hangUp])
            disk = try DiskThread(stateDirectory.directory)
        } catch {
            throw StartFault("threads and signals cannot be set up: \(error)")
        }
        let names = try makeNames(daemon)
        let (subscriberListener, ownSocketPath) = try subscriberSocket(daemon, runtimeDirectory)
        let apiListener = try apiSocket(daemon, configuration.general)
        do throws(Errno) {
            try loop.add(signals.descriptor, EventKind.signals.token(), [.readable])
            try loop.add(subscriberListener, EventKind.subscriberListener.token(), [.readable])
            try loop.add(apiListener, EventKind.apiListener.token(), [.readable])
            try loop.add(names.descriptor, EventKind.resolved.token(), [.readable])
            try loop.add(disk.descriptor, EventKind.diskDone.token(), [.readable])
            if let control = daemon.control { try loop.add(control, EventKind.control.token(), [.readable]) }
        } catch {
            throw StartFault("a socket cannot be registered: \(error)")
        }
        return Discoveryd(
            daemon, loop, configuration, names, stateDirectory, disk, signals, subscriberListener, apiListener,
            ownSocketPath, Traffic(directory: runtimeDirectory, log: daemon.log), configurationPath, digest)
    }

    private init(
        _ daemon: Daemon, _ loop: consuming EventLoop, _ configuration: Configuration, _ names: consuming Names,
        _ stateDirectory: StateDirectory, _ disk: DiskThread,
        _ signals: SignalQueue, _ subscriberListener: Descriptor, _ apiListener: Descriptor, _ ownSocketPath: String?,
        _ traffic: Traffic, _ configurationPath: String, _ digest: String
    ) {
        self.daemon = daemon
        self.loop = loop
        registry = Registry(general: configuration.general, epoch: stateDirectory.epoch)
        self.names = names
        self.stateDirectory = stateDirectory
        self.configurationPath = configurationPath
        saver = StateSaver(disk, log: daemon.log)
        self.signals = signals
        self.subscriberListener = subscriberListener
        self.apiListener = apiListener
        self.ownSocketPath = ownSocketPath
        state = DiscoveryState(traffic)
        snapshotSaver = SnapshotSaver(configuration: digest)
        // Beside polls: subscribers, the HTTP port's connections, and what every process needs.
        let others = 64 + Limits.subscribers + Limits.apiConnections
        polls = Polls(descriptors: max(64, daemon.openFiles - others), log: daemon.log)
        if let socket = daemon.inherited.first("icmp4") { polls.takeEchoSocket(.ipv4, socket, self.loop) }
        if let socket = daemon.inherited.first("icmp6") { polls.takeEchoSocket(.ipv6, socket, self.loop) }
        publisher = Publisher(log: daemon.log)
        changePoster = ChangePoster(log: daemon.log)
        server = HTTPServer()
        learnAPIAddress()
        begin(configuration)
    }

    /// Where the HTTP port is: who may ask it, and where a connection of our own must succeed.
    mutating func learnAPIAddress() {
        guard let address = try? Socket.localAddress(apiListener) else { return }
        state.authorization.isLoopbackOnly = address.unmapped.isLoopback
        polls.setCanary(address.isUnspecified ? .loopback(port: address.port) : address)
    }

    private static func makeNames(_ daemon: Daemon) throws(StartFault) -> Names {
        do throws(Errno) { return try Names(log: daemon.log) } catch {
            throw StartFault("names cannot be looked up: \(error)")
        }
    }

    private static func subscriberSocket(_ daemon: Daemon, _ runtimeDirectory: String) throws(StartFault) -> (
        Descriptor, String?
    ) {
        if let inherited = try daemon.inherited.listeners("discovery.sock").first { return (inherited, nil) }
        let path = runtimeDirectory + "/discovery.sock"
        do {
            let (directory, _) = try Files.openPrivateDirectory(runtimeDirectory)
            defer { directory.close() }
            if let other = try Files.makeWay(for: "discovery.sock", in: directory) {
                daemon.log.warning("\(path) was a directory; it is set aside as \(other)")
            }
        } catch {
            throw StartFault("the runtime directory cannot be used: \(error)")
        }
        do {
            return (try UnixSocket.bind(.stream, path: path), path)
        } catch {
            throw StartFault(
                "\(path) cannot be opened: \(error == .nameTooLong ? "the path is longer than \(UnixSocket.maxPathBytes) bytes" : error.description)"
            )
        }
    }

    private static func apiSocket(_ daemon: Daemon, _ general: Configuration.General) throws(StartFault) -> Descriptor {
        if let inherited = try daemon.inherited.listeners("discovery-http").first { return inherited }
        do {
            return try ListenAddress.discovery(general).listen()
        } catch {
            throw StartFault(error.reason)
        }
    }

    // MARK: The loop

    mutating func run() -> Int32 {
        log.debug(
            "epoch \(registry.version.epoch), \(registry.services.count) services, \(registry.instances.count) instances"
        )
        _ = loop.schedule(EventKind.firstRound.token(), after: Limits.readyTimeoutMilliseconds)
        _ = loop.schedule(EventKind.heartbeat.token(), after: Limits.pingMilliseconds)
        _ = loop.schedule(EventKind.historyDue.token(), after: Limits.historyFlushMilliseconds)
        resume()
        polls.begin(Array(registry.instances.indices), &registry, names.book, &loop)
        endTurn()
        while isRunning {
            do {
                try loop.turn(poll: !unfinished.isEmpty)
            } catch {
                log.error("epoll_wait failed: \(error)")
                return ExitCode.failed
            }
            if loop.lateMilliseconds > Limits.stallMilliseconds {
                polls.stalled(for: loop.lateMilliseconds, now: loop.now)
                log.warning("stood still for \(loop.lateMilliseconds) ms; failed polls that ran meanwhile are repeated")
            }
            while let event = loop.nextEvent() { handle(event) }
            while let token = loop.nextTimer() { handleTimer(token) }
            resumeUnfinished()
            followNames()
            endTurn()
        }
        daemon.notifier.stopping()
        writeHistory()
        if state.isReady { saver.giveAll(registry, now: loop.now) }
        saver.finish(milliseconds: Limits.stateFinishMilliseconds)
        if let ownSocketPath { Files.remove(ownSocketPath) }
        return ExitCode.done
    }

    /// What the turn has changed goes out before the loop sleeps.
    private mutating func endTurn() {
        if !publisher.isOpen {
            if polls.isFirstRoundDone { openPublisher() }
        } else {
            publishNow()
        }
        if publisher.awaitsShare {
            countConnections()
            publisher.settle(registry, &loop)
        }
        endInquiries()
        if let due = registry.marks.deferredUntil, !publishTimer.isScheduled {
            publishTimer = loop.schedule(EventKind.publishDue.token(), at: max(due, loop.now + 1))
        }
        save()
        saveSnapshot()
        let statusChanges = registry.takeStatusChanges()
        if !statusChanges.isEmpty { changePoster.post(statusChanges, names.book, &loop) }
        checkReload()
    }

    private mutating func countConnections() {
        guard publisher.forwarders > 1 else { return }
        publisher.count(connections: state.traffic.openConnections())
    }

    /// What has changed becomes a version, and goes to whoever can take it.
    mutating func publishNow() {
        guard publisher.isOpen, registry.marks.hasChanged else { return }
        let changes = registry.takeChanges()
        publisher.publish(changes, registry, &loop)
    }

    private mutating func openPublisher() {
        _ = registry.takeChanges()
        state.isReady = true
        publisher.open(registry, &loop)
        // What reading the configuration took is not needed again.
        Process.returnFreeMemory()
        let words = upWords
        daemon.notifier.ready(words)
        log.debug("first round done: \(words)")
    }

    var upWords: String {
        "\(registry.count(of: .up)) of \(registry.instances.count) instances up"
    }

    private func tellStatus() {
        if publisher.isOpen { daemon.notifier.status(upWords) }
    }

    private mutating func handle(_ event: EventLoop.Event) {
        guard let kind = EventKind(rawValue: event.token.kind) else { return }
        let slot = event.token.slot
        let generation = event.token.generation
        switch kind {
        case .signals: takeSignals()
        case .control: takeControl()
        case .subscriberListener:
            if !publisher.accept(subscriberListener, &loop) { rest(subscriberListener, "discovery.sock") }
        case .subscriber:
            if let subscriber = publisher.connections.index(of: event.token) {
                serveSubscriber(subscriber, event.readiness)
            }
        case .apiListener: if !server.accept(apiListener, &loop) { rest(apiListener, "the discovery port") }
        case .apiConnection:
            guard let connection = server.connections.index(of: event.token) else { break }
            // Who takes a long answer waits for its turn among the others of its kind; a new question does not.
            switch server.postpone(connection, event.readiness) {
            case .no: serveAPI(connection, event.readiness)
            case .already: break
            case .now: unfinished.append(event.token)
            }
        case .diskDone: diskDone()
        case .resolved: names.systemAnswered(&loop)
        case .dnsSocket: names.socketReady(event.token, &loop)
        case .dnsConnection: names.connectionReady(event.token, event.readiness, &loop)
        case .changePost: changePoster.ready(generation, event.readiness, names.book, &loop)
        case .probe: polls.probeReady(.init(slot), generation, event.readiness, &registry, names.book, &loop)
        case .icmp4: polls.echoesReady(.ipv4, &registry, names.book, &loop)
        case .icmp6: polls.echoesReady(.ipv6, &registry, names.book, &loop)
        case .helloTimeout, .apiTimeout, .probeTimeout, .pollDue, .nameTimeout, .accusationDue, .heartbeat, .firstRound,
            .nameDue, .lookUpTimeout, .lookUpRoom,
            .resumeAccepting, .retireListener, .reloadTimeout, .reloadLook, .changePostTimeout, .pollRoom, .publishDue,
            .saveDue,
            .historyDue, .snapshotDue, .inquiryDue:
            break
        }
    }

    private mutating func serveSubscriber(_ slot: Publisher.Index, _ readiness: Readiness) {
        let token = EventKind.subscriber.token(slot, publisher.connections.generation(slot))
        var requests: [Publisher.Request] = []
        if publisher.ready(slot, readiness, registry, &requests, &loop) { unfinished.append(token) }
        for request in requests {
            switch request {
            case .observed(let service, let instance, let address, let cause): accuse(service, instance, address, cause)
            case .command(let command): obey(command)
            case .told(let forwarder, let message): told(forwarder, message)
            }
        }
    }

    mutating func serveAPI(_ slot: Slab<HTTPConnection>.Index, _ readiness: Readiness) {
        let token = EventKind.apiConnection.token(slot, server.connections.generation(slot))
        state.degraded = polls.doubts(now: loop.now) + membership.doubts
        state.measures = polls.measures
        var questions: [ForwarderQuestion.Explain] = []
        if server.ready(slot, readiness, registry, state, &questions, &loop) {
            server.connections[slot].isPostponed = true
            unfinished.append(token)
        }
        for question in questions { ask(question, for: .client(token)) }
    }

    /// Goes on with what the last turn left over.
    private mutating func resumeUnfinished() {
        guard !unfinished.isEmpty else { return }
        let tokens = unfinished
        unfinished.removeAll(keepingCapacity: true)
        let end = Clock.monotonicNanoseconds() + Limits.answersNanosecondsPerTurn
        for (place, token) in tokens.enumerated() {
            if token.kind == EventKind.apiConnection.rawValue, Clock.monotonicNanoseconds() >= end {
                // The rest goes first in the next turn.
                unfinished = tokens[place...] + unfinished
                return
            }
            if token.kind == EventKind.subscriber.rawValue {
                if let index = publisher.connections.index(of: token) { serveSubscriber(index, .readable) }
            } else if server.connections.holds(.init(token.slot), token.generation) {
                serveAPI(.init(token.slot), [])
            }
        }
    }

    // MARK: Listeners

    /// No descriptors are left: a listener that stayed registered would only spin.
    private mutating func rest(_ listener: Descriptor, _ name: String) {
        if let line = complaints.note(
            "\(name): no further connection is possible; accepting pauses", kind: "accepting", now: loop.now)
        {
            log.warning("\(line)")
        }
        loop.remove(listener)
        let slot = listener == apiListener ? 1 : 0
        _ = loop.schedule(EventKind.resumeAccepting.token(slot), after: Limits.acceptPauseMilliseconds)
    }

    mutating func resumeAccepting(_ slot: Int) {
        let listener = slot == 1 ? apiListener : subscriberListener
        let token = (slot == 1 ? EventKind.apiListener : .subscriberListener).token()
        do { try loop.add(listener, token, [.readable]) } catch {
            rest(listener, slot == 1 ? "the discovery port" : "discovery.sock")
        }
    }

    private mutating func handleTimer(_ token: Token) {
        guard let kind = EventKind(rawValue: token.kind) else { return }
        switch kind {
        case .pollDue: polls.pollDue(.init(token.slot), &registry, names.book, &loop)
        case .nameTimeout: polls.nameTimedOut(.init(token.slot), &registry, names.book, &loop)
        case .accusationDue: polls.accusationDue(.init(token.slot), &registry, names.book, &loop)
        case .pollRoom: polls.roomDue(&registry, names.book, &loop)
        case .nameDue: names.due(token, &loop)
        case .lookUpTimeout: names.timedOut(token, &loop)
        case .lookUpRoom: names.roomDue(&loop)
        case .saveDue: saveTimer = .none
        case .snapshotDue: snapshotTimer = .none
        case .historyDue:
            writeHistory()
            daemon.notifier.alive(isReady: publisher.isOpen)
            countConnections()
            _ = loop.schedule(
                EventKind.historyDue.token(), after: min(Limits.historyFlushMilliseconds, daemon.notifier.signGap))
        case .publishDue:
            publishTimer = .none
            registry.marks.releaseDeferred(now: loop.now)
        case .resumeAccepting: resumeAccepting(token.slot)
        case .retireListener: retireAPIListener()
        case .reloadTimeout: reloadTimedOut()
        case .changePostTimeout: changePoster.timerFired(names.book, &loop)
        case .probeTimeout: polls.probeTimedOut(.init(token.slot), token.generation, &registry, names.book, &loop)
        case .helloTimeout:
            if let index = publisher.connections.index(of: token) { publisher.helloTimedOut(index, registry, &loop) }
        case .apiTimeout:
            if server.connections.holds(.init(token.slot), token.generation) {
                server.timedOut(.init(token.slot), &loop)
            }
        case .heartbeat:
            state.traffic.foldDead()
            tellStatus()
            publisher.heartbeat(registry, &loop)
            _ = loop.schedule(EventKind.heartbeat.token(), after: Limits.pingMilliseconds)
        case .firstRound:
            if !publisher.isOpen { openPublisher() }
        case .signals, .control, .subscriberListener, .subscriber, .apiListener, .apiConnection, .resolved, .probe,
            .icmp4, .icmp6, .changePost, .diskDone, .inquiryDue, .reloadLook, .dnsSocket, .dnsConnection:
            break
        }
    }

    private mutating func takeSignals() {
        while let signal = signals.next() {
            switch signal {
            case .terminate, .interrupt, .quit: isRunning = false
            case .hangUp:
                if let reason = reloadFile(), daemon.control != nil {
                    log.info("\(signal) is not acted upon: \(reason)")
                }
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
                let command = try? ControlMessage.decode(message.bytes)
                if command == .listeners {
                    if let listener = message.descriptors.first {
                        replaceAPIListener(listener)
                    } else {
                        log.error(
                            "the new listener of the discovery port did not come with its message; the old one stays")
                    }
                    continue
                }
                defer { for descriptor in message.descriptors { descriptor.close() } }
                switch command {
                case .stop, .drain: isRunning = false
                case .configuration(let path): reload(path, message.descriptors.first)
                case .reopenLogs, .listeners, .applied, .refused: break
                case nil: log.warning("the supervisor sent something unknown: \(Text.shown(message.bytes))")
                }
            } catch {
                guard !error.isPassing else { return }
                log.error("the supervisor's socket: \(error)")
                isRunning = false
                return
            }
        }
    }
}
