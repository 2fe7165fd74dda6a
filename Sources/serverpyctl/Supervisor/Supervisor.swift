import Shared

/// Opens the sockets, starts the daemons, keeps them, and takes everything down again.
struct Supervisor: ~Copyable {
    enum EventKind: UInt8 {
        case signals = 1
        case notify, controlListener, controlConnection
        /// There was no descriptor for a connection: its acceptance is tried again.
        case resumeControl
        /// What a child says on its control socket, and what it writes.
        case childControl, childOutput
        case restart, killTimeout, replacementTimeout, drainTimeout, watch, watchdog, listenersRetired
        /// New programs that are tried before an upgrade.
        case testOutput, testTimeout
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
    var programs: Programs
    /// What all processes say.
    var boundedLog: BoundedLog
    /// What is being changed.
    var change = Change.none
    var phase = Phase.starting
    var exitCode = ExitCode.done
    var control: ControlServer
    /// A signal or a changed file came while something else was being changed.
    var mustReloadAgain = false
    /// The file as it was when it was last read.
    var fingerprint: [Int64] = []
    /// A change of the file that has been seen, and since when it has looked the same.
    var seenChange: (fingerprint: [Int64], since: UInt64)?
    /// That the file cannot be looked at is said once.
    var hasMissedFile = false
    /// The runtime directory was where it should be at the last look.
    private var isInPlace = true
    /// The line of readiness, where it could not be said yet.
    private var readyLine: [UInt8]?
    let startedAt: UInt64
    private let startedOnTerminal = Terminal.isTerminal(.standardError)
    /// As a successor in this process gets it.
    let environmentAtStart: [(name: String, value: String)]
    /// Told once all are ready: the demo's hints.
    let whenReady: (borrowing Supervisor) -> Void

    struct Settings {
        var file: ConfigurationFile
        var configuration: Configuration
        var forwarders: Int
        var runtimeDirectory: String
        /// Of all runtime directories: each has one below it.
        var stateDirectory: String
        var logLevel: Log.Level
        /// The number of forwarders was given on the command line; the configuration's does not count.
        var hasFixedForwarders = false
        /// The file as it was before it was read.
        var fingerprint: [Int64] = []
        /// Reload when the file changes.
        var watches = false
        /// Whom we become once the ports are open.
        var user: User?
        /// Prints nothing after it has become ready.
        var isDetached = false
        /// SIGHUP is the end of the terminal, not a reload: the demo is nobody's daemon.
        var endsOnHangUp = false
        /// The demo's instances.
        var samples: [(name: String, port: UInt16)] = []
    }

    // MARK: Start

    static func make(_ settings: Settings, whenReady: @escaping (borrowing Supervisor) -> Void) throws(StartFault)
        -> Supervisor
    {
        let environment = prepare(settings)
        // What systemd passed to us is ours; children get their own.
        let inherited = InheritedDescriptors.take()
        let notifier = Notifier()
        let programs = try Programs.open()
        let loop = try EventLoop.makeForStart()
        let privileges = try Privileges(
            settings.user, stateBase: settings.stateDirectory, runtimeDirectory: settings.runtimeDirectory)
        if privileges == nil { try checkState(settings) }
        let sockets = try Sockets.open(
            settings.configuration.general, runtimeDirectory: settings.runtimeDirectory, inherited: inherited,
            privileges: privileges, log: Log(program: "serverpyctl", level: settings.logLevel))
        if privileges != nil { try checkAccess(settings) }
        Process.gainNoPrivileges()
        let signals = try hear(sockets, loop)
        var supervisor = Supervisor(settings, environment, loop, sockets, notifier, programs, signals, whenReady)
        for sample in settings.samples {
            supervisor.children.append(Child(role: .sample(name: sample.name, port: sample.port)))
        }
        supervisor.children.append(Child(role: .discoveryd))
        for index in 0..<settings.forwarders { supervisor.children.append(Child(role: .forwarderd(index: index))) }
        for index in supervisor.children.indices where supervisor.exitCode == ExitCode.done {
            supervisor.start(index)
            // Their notifications must not wait until the last is started: the socket holds few.
            supervisor.takeNotifications()
        }
        return supervisor
    }

    /// A state directory that discoveryd could never use is said once, instead of at each of its starts. One that only has no room now
    /// may have some later.
    private static func checkState(_ settings: Settings) throws(StartFault) {
        let path = Directories.state(base: settings.stateDirectory, runtime: settings.runtimeDirectory)
        do throws(DirectoryError) { try Files.openPrivateDirectory(path).0.close() } catch {
            if case .system(_, .noSpace) = error { return }
            throw StartFault("the state directory cannot be used: \(error)")
        }
    }

    /// What is needed later must be within reach of the user that we have become.
    private static func checkAccess(_ settings: Settings) throws(StartFault) {
        let name = settings.user?.name ?? ""
        do throws(ConfigurationFile.Refusal) { _ = try ConfigurationFile.read(settings.file.path) } catch {
            throw StartFault("a reload could not read the configuration as `\(name)`: \(error.headlines.first ?? "")")
        }
        guard case .file(let path) = settings.configuration.general.forwarding.accessLog else { return }
        do throws(Errno) { try Files.openForAppending(path).close() } catch {
            throw StartFault("the access log \(path) could not be written as `\(name)`: \(error)")
        }
    }

    /// In the place of another supervisor, with all that it had.
    static func resume(_ settings: Settings, _ handover: Handover) throws(StartFault) -> Supervisor {
        let environment = prepare(settings)
        let notifier = Notifier()
        let own = try Programs.ownPath()
        let previous = Programs(
            own: own, discoveryd: handover.descriptor("discoveryd"), forwarderd: handover.descriptor("forwarderd"))
        var programs = previous
        var fault: StartFault?
        // They were there when they were tested.
        do throws(StartFault) { programs = try Programs.open() } catch { fault = error }
        let loop = try EventLoop.makeForStart()
        let sockets = Sockets(handover, runtimeDirectory: settings.runtimeDirectory)
        let signals = try hear(sockets, loop)
        var supervisor = Supervisor(
            settings, environment, loop, sockets, notifier, programs, startedAt: handover.startedAt, signals
        ) { _ in }
        supervisor.phase = .running
        supervisor.takeOver(handover, previous: previous, fault: fault)
        notifier.send("MAINPID=\(Process.pid)")
        notifier.ready(supervisor.statusWords)
        return supervisor
    }

    /// What is done before anything else; the environment as it was.
    private static func prepare(_ settings: Settings) -> [(name: String, value: String)] {
        SignalQueue.restoreChildSignal()
        Process.setName("serverpyctl")
        Process.raiseOpenFileLimit()
        Log.format = settings.configuration.general.forwarding.logFormat
        return Process.environment().filter { !$0.name.hasPrefix("LISTEN_") }
    }

    private static func hear(_ sockets: Sockets, _ loop: borrowing EventLoop) throws(StartFault) -> SignalQueue {
        do throws(Errno) {
            let signals = try SignalQueue([.interrupt, .terminate, .quit, .hangUp, .user1, .child])
            try loop.add(signals.descriptor, Token(kind: EventKind.signals.rawValue), [.readable])
            try loop.add(sockets.notify, Token(kind: EventKind.notify.rawValue), [.readable])
            try loop.add(sockets.control, Token(kind: EventKind.controlListener.rawValue), [.readable])
            return signals
        } catch {
            sockets.removeFiles()
            throw StartFault("signals cannot be set up: \(error)")
        }
    }

    private init(
        _ settings: Settings, _ environment: [(name: String, value: String)], _ loop: consuming EventLoop,
        _ sockets: Sockets, _ notifier: Notifier, _ programs: Programs, startedAt: UInt64? = nil,
        _ signals: SignalQueue, _ whenReady: @escaping (borrowing Supervisor) -> Void
    ) {
        self.signals = signals
        let log = Log(program: "serverpyctl", level: settings.logLevel)
        self.settings = settings
        self.log = log
        self.startedAt = startedAt ?? loop.now
        environmentAtStart = environment
        self.loop = loop
        self.sockets = sockets
        self.notifier = notifier
        self.programs = programs
        self.whenReady = whenReady
        control = ControlServer(log: log)
        boundedLog = BoundedLog(directory: sockets.directory, path: sockets.runtimeDirectory, log: log)
    }

    mutating func run() -> Int32 {
        fingerprint = settings.fingerprint
        if settings.watches {
            _ = loop.schedule(Token(kind: EventKind.watch.rawValue), after: Limits.watchMilliseconds)
        }
        _ = loop.schedule(Token(kind: EventKind.watchdog.rawValue), after: notifier.signGap)
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
        for child in children where child.isRunning { Process.signalGroup(child.pid, .kill) }
        for index in children.indices { endOutput(index) }
        control.closeAll(loop)
        boundedLog.remove()
        sockets.removeFiles()
        return exitCode
    }

    private var isOver: Bool {
        switch phase {
        case .starting, .running: false
        case .stoppingForwarders, .stoppingRest: !children.contains { $0.isRunning }
        }
    }

    // MARK: Events

    private mutating func handle(_ event: EventLoop.Event) {
        switch EventKind(rawValue: event.token.kind) {
        case .signals: takeSignals()
        case .notify: takeNotifications()
        case .controlListener: acceptControl()
        case .controlConnection:
            let slot = Slab<ControlServer.Connection>.Index(event.token.slot)
            for request in control.ready(slot, event.token.generation, event.readiness, now: loop.now) {
                serve(request, slot)
            }
            control.settle(slot)
        case .childControl: takeChildMessages(event.token.slot)
        case .childOutput: takeOutput(event.token.slot)
        case .testOutput: takeTestOutput()
        case .restart, .killTimeout, .replacementTimeout, .drainTimeout, .watch, .watchdog, .testTimeout,
            .resumeControl, .listenersRetired, nil:
            break
        }
    }

    private mutating func handleTimer(_ token: Token) {
        switch EventKind(rawValue: token.kind) {
        case .restart:
            guard token.slot < children.count else { return }
            children[token.slot].timer = .none
            if children[token.slot].state == .waiting { start(token.slot) }
        case .killTimeout: killWhatIsLeft()
        case .resumeControl: hearControl(true)
        case .watch: checkFile()
        case .watchdog: checkProgress()
        case .replacementTimeout: replacementTimedOut(token.slot)
        case .drainTimeout: drainTimedOut(token.slot, pid: Int32(bitPattern: token.generation))
        case .testTimeout: testTimedOut()
        case .listenersRetired: happen(.emptied)
        case .signals, .notify, .controlListener, .controlConnection, .childControl, .childOutput, .testOutput, nil:
            break
        }
    }

    private mutating func takeSignals() {
        while let signal = signals.next() {
            switch signal {
            case .child: reap()
            case .interrupt, .terminate, .quit:
                if phase == .starting || phase == .running {
                    log.info("\(signal): stopping")
                    stop(drain: true)
                } else {
                    log.info("\(signal) again: stopping now")
                    for child in children where child.isRunning { tell(child, .stop) }
                    _ = loop.schedule(Token(kind: EventKind.killTimeout.rawValue), after: Limits.killAfterMilliseconds)
                }
            case .hangUp: hangUp()
            case .user1:
                // Log files have been renamed.
                for child in children where child.role.isForwarder && child.isRunning { tell(child, .reopenLogs) }
            default: break
            }
        }
    }

    /// A daemon reloads. Where the terminal that it was started on has gone, nobody is left whose command it is.
    private mutating func hangUp() {
        let hasLostTerminal = startedOnTerminal && Descriptor.standardError.isHungUp
        guard settings.endsOnHangUp || hasLostTerminal else { return reload(nil, dryRun: false) }
        if phase == .starting || phase == .running { log.info("SIGHUP: the terminal is gone; stopping") }
        stop(drain: true)
    }

    /// Notifications of living children only; the kernel says whose they are.
    mutating func takeNotifications() {
        for _ in 0..<Limits.notificationsPerTurn {
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
                    if children[index].role == .discoveryd { reloadIfAsked() }
                case "WATCHDOG": children[index].aliveAt = loop.now
                case "STATUS":
                    let status = String(value.prefix(Limits.childStatusBytes))
                    let isNews = children[index].role == .discoveryd && status != children[index].status
                    children[index].status = status
                    if isNews, phase == .running { notifier.status(statusWords) }
                default: break
                }
            }
        }
    }

    /// Progress, not the process, is what counts: one whose loop does not turn is killed, and its end is treated as any other.
    private mutating func checkProgress() {
        notifier.alive(isReady: phase == .running)
        // Whoever supervises us has time-outs of his own, which know nothing of ours.
        if phase != .running || change.wait != nil { notifier.extendTimeout() }
        boundedLog.rotateIfLarge()
        if isInPlace, !sockets.isInPlace {
            log.error(
                "the runtime directory \(settings.runtimeDirectory) has been removed or replaced: nobody can reach serverpy there, and what is started anew cannot say that it is ready; restart serverpy"
            )
        }
        isInPlace = sockets.isInPlace
        sayReady()
        checkReload()
        // Where we ourselves stood still, all watchdogs begin anew.
        let weStoodStill = loop.lateMilliseconds > Limits.watchdogGapMilliseconds
        for index in children.indices where children[index].isRunning {
            if children[index].state == .starting, !weStoodStill,
                loop.now - children[index].startedAt > Limits.startMilliseconds
            {
                let child = children[index]
                log.error("\(child.role.name) (pid \(child.pid)) does not become ready; it is killed")
                Process.signalGroup(child.pid, .kill)
            }
            guard children[index].state == .ready else { continue }
            if weStoodStill || children[index].role.isSample { children[index].aliveAt = loop.now }
            let silent = loop.now - children[index].aliveAt
            guard silent > Limits.watchdogMilliseconds else { continue }
            let child = children[index]
            log.error("\(child.role.name) (pid \(child.pid)) has made no progress for \(silent / 1000) s; it is killed")
            children[index].aliveAt = loop.now
            Process.signalGroup(child.pid, .kill)
        }
        _ = loop.schedule(Token(kind: EventKind.watchdog.rawValue), after: notifier.signGap)
    }

    /// For whoever supervises us.
    var statusWords: String {
        let polls = children.first { $0.role == .discoveryd }?.status ?? ""
        return "\(settings.forwarders) forwarder\(settings.forwarders == 1 ? "" : "s"), \(polls)"
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
        notifier.ready(statusWords)
        readyLine = Array(line.utf8)
        sayReady()
        whenReady(self)
        reloadIfAsked()
    }

    /// A terminal that has been halted is not waited for: it gets the line when it goes on.
    private mutating func sayReady() {
        guard let line = readyLine, Descriptor.standardError.isWritable else { return }
        readyLine = nil
        // Nobody can be told that standard error is gone.
        try? Descriptor.standardError.writeAll(line)
        if settings.isDetached { Descriptor.silenceStandard() }
    }
}
