import Shared

/// The life of a child: start, output, end, and what follows from it.
extension Supervisor {
    mutating func start(_ index: Int) {
        let role = children[index].role
        do throws(Errno) {
            let (ours, theirs) = try Socket.sequencedPair()
            defer { theirs.close() }
            children[index].control.close()
            children[index].control = ours
            let (reading, writing) = try Descriptor.pipe()
            defer { writing.close() }
            children[index].output = reading
            var memory = Descriptor.none
            defer { memory.close() }
            if role == .discoveryd { memory = try Files.sealedMemory(name: "configuration", settings.file.bytes) }
            var program = ChildProgram(
                path: programs.path(role), arguments: Programs.arguments(role, settings), environment: environment(),
                passed: [("control", theirs)] + sockets.passed(to: role, configuration: memory))
            program.file = programs.file(role)
            program.output = writing
            children[index].pid = try Process.start(program)
            listen(index)
            children[index].state = .starting
            children[index].startedAt = loop.now
            log.debug("\(role.name) started, pid \(children[index].pid)")
            if role.isSample { children[index].state = .ready }
        } catch {
            log.error("\(role.name) cannot be started: \(programs.path(role)): \(error)")
            children[index].control.close()
            children[index].control = .none
            children[index].output.close()
            children[index].output = .none
            guard phase != .starting else {
                children[index].state = .ended
                return fail()
            }
            failedBeforeReady(index)
        }
    }

    /// A child ended, or did not even start, before it was ready.
    mutating func failedBeforeReady(_ index: Int) {
        if successorFailed(index) { return }
        switch children[index].policy.ended(wasReady: false, now: loop.now, random: SystemRandom.word()) {
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

    func environment() -> [(name: String, value: String)] {
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

    /// Hears what a child says and writes.
    func listen(_ index: Int) {
        do throws(Errno) {
            if children[index].control.isOpen {
                try loop.add(
                    children[index].control, Token(kind: EventKind.childControl.rawValue, slot: index), [.readable])
            }
            if children[index].output.isOpen {
                try loop.add(
                    children[index].output, Token(kind: EventKind.childOutput.rawValue, slot: index), [.readable])
            }
        } catch {
            log.error("what \(children[index].role.name) says cannot be heard: \(error)")
        }
    }

    // MARK: Output

    mutating func takeOutput(_ index: Int) {
        guard index < children.count, children[index].output.isOpen else { return }
        var chunk = [UInt8](repeating: 0, count: Limits.childOutputBytesPerTurn)
        var span = chunk.mutableSpan
        guard let count = children[index].output.read(into: &span).count else { return }
        guard count > 0 else {
            // It has closed them both.
            return closeOutput(index)
        }
        let child = children[index]
        for line in children[index].lines.lines(
            chunk.span.extracting(first: count), program: child.role.name, pid: child.pid)
        {
            Log.write(line)
        }
        boundedLog.rotateIfLarge()
    }

    /// The child has ended: its last words are taken.
    mutating func endOutput(_ index: Int) {
        guard children[index].output.isOpen else { return }
        // A pipe holds no more than 64 KiB (pipe(7)); whoever has inherited its other end is not waited for.
        takeOutput(index)
        closeOutput(index)
    }

    private mutating func closeOutput(_ index: Int) {
        let child = children[index]
        if let line = children[index].lines.end(program: child.role.name, pid: child.pid) { Log.write(line) }
        children[index].output.close()
        children[index].output = .none
    }

    // MARK: End

    mutating func reap() {
        while let (pid, status) = Process.reap() {
            if testEnded(pid, status) { continue }
            // Strangers are those whom pid 1 inherits.
            guard let index = children.firstIndex(where: { $0.pid == pid }) else { continue }
            Process.signalGroup(pid, .kill)
            ended(index, status)
        }
    }

    mutating func ended(_ index: Int, _ status: ExitStatus) {
        let child = children[index]
        endOutput(index)
        children[index].pid = 0
        children[index].control.close()
        children[index].control = .none
        // When what follows has been decided.
        defer { if child.role == .discoveryd { happen(.discoverydEnded) } }
        if predecessorEnded(index) { return }
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
        if case .restart(let delay) = children[index].policy.ended(
            wasReady: true, now: loop.now, random: SystemRandom.word())
        {
            children[index].state = .waiting
            schedule(index, after: delay)
        }
    }

    mutating func fail(code: Int32) {
        fail()
        exitCode = code
    }

    mutating func schedule(_ index: Int, after delay: UInt64) {
        children[index].timer = loop.schedule(Token(kind: EventKind.restart.rawValue, slot: index), after: delay)
    }
}
