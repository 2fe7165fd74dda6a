import Shared

/// Opens the sockets, starts the daemons, keeps them, and takes everything down again.
struct Supervisor: ~Copyable {
    enum EventKind: UInt8 {
        case signals = 1
        case notify, controlListener, controlConnection
        /// What a child says on its control socket.
        case childControl
        case restart, killTimeout, watch, watchdog
    }

    enum Phase: Equatable {
        case starting
        case running
        /// Forwarders finish what is open.
        case stoppingForwarders
        case stoppingRest
    }

    var settings: Settings
    let log: Log
    var loop: EventLoop
    let signals: SignalQueue
    var sockets: Sockets
    let notifier: Notifier
    var children: [Child] = []
    /// Forwarders that are being replaced one after another.
    var rolling: Rolling?
    var phase = Phase.starting
    var exitCode = ExitCode.done
    var control: ControlServer
    /// A reload under way.
    var reloading: Reload?
    /// discoveryd has been given the old configuration again and has not answered yet.
    var isRollingBack = false
    /// A signal or a changed file came meanwhile.
    var mustReloadAgain = false
    /// The file as it was when it was last read.
    var fingerprint: [Int64] = []
    let startedAt: UInt64
    /// Told once all are ready: the demo's hints.
    let whenReady: (borrowing Supervisor) -> Void

    struct Settings {
        var file: ConfigurationFile
        var configuration: Configuration
        var forwarders: Int
        var runtimeDirectory: String
        var stateDirectory: String?
        var logLevel: Log.Level
        /// The number of forwarders was given on the command line; the configuration's does not count.
        var hasFixedForwarders = false
        /// Reload when the file changes.
        var watches = false
        /// The demo's instances.
        var samples: [(name: String, port: UInt16)] = []
    }

    // MARK: Start

    static func make(_ settings: Settings, whenReady: @escaping (borrowing Supervisor) -> Void) throws(StartFault)
        -> Supervisor
    {
        SignalQueue.ignoreBrokenPipes()
        SignalQueue.restoreChildSignal()
        let log = Log(program: "serverpyctl", level: settings.logLevel)
        Log.format = settings.configuration.general.forwarding.logFormat
        let notifier = Notifier()
        // What systemd passed to us is ours; children get their own.
        _ = InheritedDescriptors.take()
        Process.raiseOpenFileLimit()
        let loop = try EventLoop.makeForStart()
        let sockets = try Sockets.open(settings.configuration.general, runtimeDirectory: settings.runtimeDirectory)
        let signals: SignalQueue
        do throws(Errno) {
            signals = try SignalQueue([.interrupt, .terminate, .hangUp, .user1, .child])
            try loop.add(signals.descriptor, Token(kind: EventKind.signals.rawValue), [.readable])
            try loop.add(sockets.notify, Token(kind: EventKind.notify.rawValue), [.readable])
            try loop.add(sockets.control, Token(kind: EventKind.controlListener.rawValue), [.readable])
        } catch {
            sockets.removeFiles()
            throw StartFault("signals cannot be set up: \(error)")
        }
        return Supervisor(settings, log, loop, signals, sockets, notifier, whenReady)
    }

    private init(
        _ settings: Settings, _ log: Log, _ loop: consuming EventLoop, _ signals: SignalQueue, _ sockets: Sockets,
        _ notifier: Notifier,
        _ whenReady: @escaping (borrowing Supervisor) -> Void
    ) {
        self.settings = settings
        self.log = log
        startedAt = loop.now
        self.loop = loop
        self.signals = signals
        self.sockets = sockets
        self.notifier = notifier
        self.whenReady = whenReady
        control = ControlServer(log: log)
        for sample in settings.samples { children.append(Child(role: .sample(name: sample.name, port: sample.port))) }
        children.append(Child(role: .discoveryd))
        for index in 0..<settings.forwarders { children.append(Child(role: .forwarderd(index: index))) }
    }

    mutating func run() -> Int32 {
        fingerprint = (try? Files.fingerprint(settings.file.path)) ?? []
        if settings.watches {
            _ = loop.schedule(Token(kind: EventKind.watch.rawValue), after: Limits.watchMilliseconds)
        }
        _ = loop.schedule(Token(kind: EventKind.watchdog.rawValue), after: Limits.watchdogGapMilliseconds)
        for index in children.indices where exitCode == ExitCode.done { start(index) }
        while !isOver {
            do {
                try loop.turn()
            } catch {
                log.error("epoll_wait failed: \(error)")
                exitCode = ExitCode.failed
                break
            }
            while let event = loop.nextEvent() { handle(event) }
            while let token = loop.nextTimer() { handleTimer(token) }
            checkReadiness()
        }
        for child in children where child.isRunning { Process.signal(child.pid, .kill) }
        control.closeAll(loop)
        sockets.removeFiles()
        return exitCode
    }

    private var isOver: Bool {
        switch phase {
        case .starting, .running: false
        case .stoppingForwarders, .stoppingRest: !children.contains { $0.isRunning }
        }
    }

    mutating func start(_ index: Int) {
        let role = children[index].role
        do throws(Errno) {
            let (ours, theirs) = try Socket.sequencedPair()
            defer { theirs.close() }
            children[index].control.close()
            children[index].control = ours
            var memory = Descriptor.none
            defer { memory.close() }
            if role == .discoveryd { memory = try Files.sealedMemory(name: "configuration", settings.file.bytes) }
            let program = try ChildProgram(
                path: Programs.path(role), arguments: Programs.arguments(role, settings), environment: environment(),
                passed: [("control", theirs)] + sockets.passed(to: role, configuration: memory))
            try loop.add(ours, Token(kind: EventKind.childControl.rawValue, slot: index), [.readable])
            children[index].pid = try Process.start(program)
            children[index].state = .starting
            children[index].startedAt = loop.now
            log.debug("\(role.name) started, pid \(children[index].pid)")
            if role.isSample { children[index].state = .ready }
        } catch {
            log.error("\(role.name) cannot be started: \((try? Programs.path(role)) ?? "its program"): \(error)")
            children[index].control.close()
            children[index].control = .none
            guard phase != .starting else {
                children[index].state = .ended
                return fail()
            }
            failedBeforeReady(index)
        }
    }

    /// A child ended, or did not even start, before it was ready.
    private mutating func failedBeforeReady(_ index: Int) {
        if successorFailed(index) { return }
        switch children[index].policy.ended(wasReady: false, now: loop.now) {
        case .restart(let delay):
            children[index].state = .waiting
            schedule(index, after: delay)
        case .giveUp:
            log.error("\(children[index].role.name) ended \(Limits.startFailures) times before it was ready")
            if phase == .starting {
                children[index].state = .ended
                return fail()
            }
            // Later the rest goes on with what works, and the obstacle may go away.
            children[index].state = .waiting
            schedule(index, after: Limits.restartDelayMaximumMilliseconds)
        }
    }

    private func environment() -> [(name: String, value: String)] {
        Process.environment().filter { !["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].contains($0.name) } + [
            ("NOTIFY_SOCKET", sockets.notifyPath), ("WATCHDOG_USEC", String(Limits.watchdogMilliseconds * 1000)),
            (Daemon.supervisorVariable, String(Process.pid)),
        ]
    }

    /// The first start has failed: the rest is taken down.
    mutating func fail() {
        exitCode = ExitCode.failed
        stop(drain: false)
    }

    // MARK: Events

    private mutating func handle(_ event: EventLoop.Event) {
        switch EventKind(rawValue: event.token.kind) {
        case .signals: takeSignals()
        case .notify: takeNotifications()
        case .controlListener: control.accept(sockets.control, loop)
        case .controlConnection:
            let slot = event.token.slot
            for request in control.ready(slot, event.token.generation, event.readiness) { serve(request, slot) }
            control.settle(slot)
        case .childControl: takeChildMessages(event.token.slot)
        case .restart, .killTimeout, .watch, .watchdog, nil: break
        }
    }

    private mutating func handleTimer(_ token: Token) {
        switch EventKind(rawValue: token.kind) {
        case .restart:
            guard token.slot < children.count else { return }
            children[token.slot].timer = .none
            if children[token.slot].state == .waiting { start(token.slot) }
        case .killTimeout: killWhatIsLeft()
        case .watch: checkFile()
        case .watchdog: checkProgress()
        case .signals, .notify, .controlListener, .controlConnection, .childControl, nil: break
        }
    }

    private mutating func takeSignals() {
        while let signal = signals.next() {
            switch signal {
            case .child: reap()
            case .interrupt, .terminate:
                if phase == .starting || phase == .running {
                    log.info("\(signal): stopping")
                    stop(drain: true)
                } else {
                    log.info("\(signal) again: stopping now")
                    for child in children where child.isRunning { tell(child, .stop) }
                    _ = loop.schedule(Token(kind: EventKind.killTimeout.rawValue), after: Limits.killAfterMilliseconds)
                }
            case .hangUp: reload(nil, dryRun: false)
            case .user1:
                // Log files have been renamed.
                for child in children where child.role.isForwarder && child.isRunning { tell(child, .reopenLogs) }
            default: break
            }
        }
    }

    private mutating func reap() {
        while let (pid, status) = Process.reap() {
            guard let index = children.firstIndex(where: { $0.pid == pid }) else { continue }
            ended(index, status)
        }
    }

    private mutating func ended(_ index: Int, _ status: ExitStatus) {
        let child = children[index]
        children[index].pid = 0
        children[index].control.close()
        children[index].control = .none
        if child.role == .discoveryd { discoverydEnded() }
        if child.state == .stopping, phase == .running {
            // Scaled away.
            children[index].state = .ended
            return
        }
        switch phase {
        case .stoppingForwarders, .stoppingRest:
            children[index].state = .ended
            log.debug("\(child.role.name) \(status)")
            if phase == .stoppingForwarders, !children.contains(where: { $0.role.isForwarder && $0.isRunning }) {
                stopRest()
            }
            return
        case .starting, .running: break
        }
        if child.role.isSample {
            children[index].state = .waiting
            log.warning(
                "\(child.role.name) (pid \(child.pid)) \(status); requests go to the others; it is started again in 8 s"
            )
            schedule(index, after: 8000)
            return
        }
        log.error("\(child.role.name) (pid \(child.pid)) \(status)")
        // A configuration that the daemon rejects does not get better by trying again.
        if status == .exited(ExitCode.configuration), phase == .starting { return fail(code: ExitCode.configuration) }
        guard child.state == .ready else { return failedBeforeReady(index) }
        if case .restart(let delay) = children[index].policy.ended(wasReady: true, now: loop.now) {
            children[index].state = .waiting
            schedule(index, after: delay)
        }
    }

    private mutating func fail(code: Int32) {
        fail()
        exitCode = code
    }

    private mutating func schedule(_ index: Int, after delay: UInt64) {
        children[index].timer = loop.schedule(Token(kind: EventKind.restart.rawValue, slot: index), after: delay)
    }

    /// Notifications of living children only; the kernel says whose they are.
    private mutating func takeNotifications() {
        while true {
            guard let message = try? UnixSocket.receive(on: sockets.notify, capacity: Limits.notifyMessageBytes) else {
                return
            }
            for descriptor in message.descriptors { descriptor.close() }
            guard let sender = message.sender,
                let index = children.firstIndex(where: { $0.isRunning && $0.pid == sender.pid })
            else {
                continue
            }
            for (name, value) in Notifier.parse(message.bytes) {
                switch name {
                case "READY":
                    guard value == "1", children[index].state == .starting else { break }
                    children[index].state = .ready
                    children[index].aliveAt = loop.now
                    successorReady(index)
                case "WATCHDOG": children[index].aliveAt = loop.now
                case "STATUS": children[index].status = value
                default: break
                }
            }
        }
    }

    /// Progress, not the process, is what counts: one whose loop does not turn is killed, and its end is treated as any other.
    private mutating func checkProgress() {
        notifier.alive()
        // Where we ourselves stood still, all watchdogs begin anew.
        let weStoodStill = loop.lateMilliseconds > Limits.watchdogGapMilliseconds
        for index in children.indices where children[index].state == .ready && children[index].isRunning {
            if weStoodStill || children[index].role.isSample { children[index].aliveAt = loop.now }
            let silent = loop.now - children[index].aliveAt
            guard silent > Limits.watchdogMilliseconds else { continue }
            let child = children[index]
            log.error("\(child.role.name) (pid \(child.pid)) has made no progress for \(silent / 1000) s; it is killed")
            children[index].aliveAt = loop.now
            Process.signal(child.pid, .kill)
        }
        _ = loop.schedule(Token(kind: EventKind.watchdog.rawValue), after: Limits.watchdogGapMilliseconds)
    }

    // MARK: Stop

    /// Forwarders first, discoveryd last.
    mutating func stop(drain: Bool) {
        guard phase == .starting || phase == .running else { return }
        notifier.stopping()
        phase = .stoppingForwarders
        // When the last forwarder has left it, new clients are refused at once and go elsewhere.
        sockets.requests.close()
        sockets.requests = .none
        let forwarding = settings.configuration.general.forwarding
        let (delay, timeout) = drain ? (forwarding.drainDelayMilliseconds, forwarding.drainTimeoutMilliseconds) : (0, 0)
        for index in children.indices where children[index].role.isForwarder {
            loop.cancel(&children[index].timer)
            children[index].state = .stopping
            if children[index].isRunning {
                tell(children[index], drain ? .drain(delayMilliseconds: delay, timeoutMilliseconds: timeout) : .stop)
            }
        }
        _ = loop.schedule(
            Token(kind: EventKind.killTimeout.rawValue), after: delay + timeout + Limits.killAfterMilliseconds)
        if !children.contains(where: { $0.role.isForwarder && $0.isRunning }) { stopRest() }
    }

    private mutating func stopRest() {
        phase = .stoppingRest
        for index in children.indices where !children[index].role.isForwarder {
            loop.cancel(&children[index].timer)
            children[index].state = .stopping
            guard children[index].isRunning else { continue }
            if children[index].role.isSample {
                Process.signal(children[index].pid, .terminate)
            } else {
                tell(children[index], .stop)
            }
        }
        _ = loop.schedule(Token(kind: EventKind.killTimeout.rawValue), after: Limits.killAfterMilliseconds)
    }

    private mutating func killWhatIsLeft() {
        for child in children where child.isRunning && (phase == .stoppingRest || child.role.isForwarder) {
            log.warning("\(child.role.name) (pid \(child.pid)) does not end; it is killed")
            Process.signal(child.pid, .kill)
        }
    }

    func tell(_ child: Child, _ message: ControlMessage, _ descriptors: [Descriptor] = []) {
        guard child.control.isOpen else { return }
        do {
            try UnixSocket.send(message.encode(), descriptors: descriptors, on: child.control)
        } catch {
            // It does not listen: the signal is heard all the same.
            Process.signal(child.pid, .terminate)
        }
    }

    // MARK: Readiness

    /// Says so once, when the last child has become ready.
    private mutating func checkReadiness() {
        guard phase == .starting, children.allSatisfy({ $0.state == .ready }) else { return }
        phase = .running
        let polls = children.first { $0.role == .discoveryd }?.status ?? ""
        let count = settings.forwarders
        let line =
            "ready: request processor on \(sockets.requestsAddress), discovery server on \(sockets.discoveryAddress), "
            + "\(count) forwarder\(count == 1 ? "" : "s"), \(polls)\n"
        try? Descriptor.standardError.writeAll(Array(line.utf8))
        notifier.ready(polls)
        whenReady(self)
    }
}
