import Shared

/// New programs on the disk that are being tried, one after another, before any of them is taken: the supervisor with what it would be
/// handed, the daemons by a look at themselves.
struct SelfTest {
    let connection: ControlServer.Caller?
    var pid: Int32 = 0
    var program = ""
    /// Still to be tried.
    var left: [String]
    var output = Descriptor.none
    /// Its last words.
    var said: [UInt8] = []
    /// Of the new serverpyctl; the daemons beside it must have the same, or the package is only half there.
    var version: String?
    var timer = TimerWheel.ID.none
}

extension Supervisor {
    /// `serverpyctl upgrade`: first the tests, then this process becomes the new program (execve(2)), which replaces the rest.
    mutating func upgrade(_ connection: ControlServer.Caller?) {
        guard !isBusy else { return answer(connection, .failure(busyReason, ExitCode.failed)) }
        guard settings.samples.isEmpty else {
            return answer(
                connection, .failure("the demo cannot be upgraded; stop it and start it again", ExitCode.failed))
        }
        change.test = SelfTest(connection: connection, left: ["serverpyctl", "discoveryd", "forwarderd"])
        testNext()
    }

    private mutating func testNext() {
        guard var test = change.test else { return }
        guard phase == .running else { return endTest("serverpy is being stopped") }
        guard !test.left.isEmpty else { return becomeSuccessor() }
        test.program = Programs.path(test.left.removeFirst(), beside: programs.own)
        do throws(Errno) {
            let (read, write) = try Descriptor.pipe()
            defer { write.close() }
            test.output = read
            test.said = []
            let state = try Files.sealedMemory(
                name: "handover", handover(configuration: .none, connection: nil).encode())
            let configuration = try Files.sealedMemory(name: "configuration", settings.file.bytes)
            defer {
                state.close()
                configuration.close()
            }
            let isOwn = test.program == programs.own
            var program = ChildProgram(
                path: test.program,
                arguments: isOwn ? ["self-test"] + Command.startArguments : ["--self-test"],
                environment: Process.environment(),
                passed: isOwn ? [("handover", state), ("configuration", configuration)] : [])
            program.output = write
            test.pid = try Process.start(program)
            try loop.add(read, Token(kind: EventKind.testOutput.rawValue), [.readable])
            test.timer = loop.schedule(
                Token(kind: EventKind.testTimeout.rawValue), after: Limits.selfTestMilliseconds)
            change.test = test
        } catch {
            change.test = test
            endTest("cannot be started: \(error)")
        }
    }

    mutating func takeTestOutput() {
        guard var test = change.test, test.output.isOpen else { return }
        var chunk = [UInt8](repeating: 0, count: Limits.controlMessageBytes)
        while true {
            var span = chunk.mutableSpan
            guard let count = test.output.read(into: &span).count else { break }
            guard count > 0 else {
                // It has closed it, and may go on.
                test.output.close()
                test.output = .none
                break
            }
            test.said.append(contentsOf: chunk[..<min(count, max(0, Limits.notifyMessageBytes - test.said.count))])
        }
        change.test = test
    }

    mutating func testTimedOut() {
        guard let test = change.test, test.pid != 0 else { return }
        change.test?.said = Array("it did not end within \(Limits.selfTestMilliseconds / 1000) s".utf8)
        Process.signalGroup(test.pid, .kill)
    }

    /// A tested program has ended. True: it was one.
    mutating func testEnded(_ pid: Int32, _ status: ExitStatus) -> Bool {
        guard let test = change.test, test.pid == pid else { return false }
        Process.signalGroup(pid, .kill)
        if status != .signaled(Signal.kill.number) { takeTestOutput() }
        let said = String(decoding: change.test?.said ?? [], as: UTF8.self)
        let words = said.split { $0 == " " || $0 == "\n" }
        guard status == .exited(ExitCode.done) else {
            let lines = said.split(separator: "\n").joined(separator: "; ")
            endTest("\(status)" + (lines.isEmpty ? "" : ": \(lines)"))
            return true
        }
        guard let version = words.last.map(String.init), version == test.version ?? version else {
            endTest(
                "it says `\(Text.shown(said.utf8))`; version \(test.version ?? "") is needed, as the new serverpyctl's")
            return true
        }
        var passed = test
        passed.version = version
        loop.cancel(&passed.timer)
        passed.output.close()
        passed.output = .none
        passed.pid = 0
        change.test = passed
        testNext()
        return true
    }

    private mutating func endTest(_ reason: String) {
        guard var test = change.test else { return }
        change.test = nil
        loop.cancel(&test.timer)
        test.output.close()
        guard phase == .running else {
            return answer(test.connection, .failure("serverpy is being stopped", ExitCode.failed))
        }
        let text = "\(test.program) does not pass its test, everything goes on as it was: \(reason)"
        log.error("\(text)")
        answer(test.connection, .failure(text, ExitCode.failed))
        reloadIfAsked()
    }

    // MARK: The change of programs

    /// What our successor needs to know, with the numbers of what it gets.
    private func handover(configuration: Descriptor, connection: Descriptor?) -> Handover {
        var descriptors: [String: Int32] = [
            "configuration": configuration.rawValue, "directory": sockets.directory.rawValue,
            "requests": sockets.requests.rawValue, "discovery-http": sockets.discoveryHTTP.rawValue,
            "discovery.sock": sockets.discovery.rawValue, "control.sock": sockets.control.rawValue,
            "notify.sock": sockets.notify.rawValue, "discoveryd": programs.discoveryd.rawValue,
            "forwarderd": programs.forwarderd.rawValue,
        ]
        for entry in sockets.icmp { descriptors[entry.name] = entry.descriptor.rawValue }
        if let connection { descriptors["operator"] = connection.rawValue }
        return Handover(
            program: Version.current, startedAt: startedAt, configurationPath: settings.file.path,
            runtimeDirectory: settings.runtimeDirectory, stateDirectory: settings.stateDirectory,
            madeDirectory: sockets.madeDirectory, forwarders: settings.forwarders,
            hasFixedForwarders: settings.hasFixedForwarders, mustReload: mustReloadAgain,
            fingerprint: fingerprint, ownListeners: sockets.ownListeners, descriptors: descriptors,
            children: children.filter { $0.state != .ended }.map { child in
                Handover.Place(
                    role: child.role, pid: child.pid, isReady: child.state == .ready,
                    isStopping: child.state == .stopping, control: child.control.rawValue,
                    output: child.output.rawValue, startedAt: child.startedAt, restarts: child.policy.restarts,
                    status: child.status)
            })
    }

    /// Does not return where it succeeds: the new program goes on in this process.
    private mutating func becomeSuccessor() {
        guard let test = change.test else { return }
        change.test = nil
        do throws(Errno) {
            let configuration = try Files.sealedMemory(name: "configuration", settings.file.bytes)
            defer { configuration.close() }
            var connection: Descriptor?
            if let asked = test.connection, control.connections.holds(asked.slot, asked.generation) {
                connection = control.connections[asked.slot].channel.descriptor
            }
            var handover = handover(configuration: configuration, connection: connection)
            for (number, client) in control.idle.enumerated() where client != connection {
                handover.descriptors["\(Handover.client)\(number)"] = client.rawValue
            }
            let state = try Files.sealedMemory(name: "handover", handover.encode())
            defer { state.close() }
            let kept = handover.numbers.map { Descriptor($0) } + [state]
            for descriptor in kept { try descriptor.setCloseOnExec(false) }
            defer { for descriptor in kept { try? descriptor.setCloseOnExec(true) } }
            log.info("the new programs have passed their tests; \(programs.own) goes on in this process")
            try Process.become(
                programs.own, arguments: Array(CommandLine.arguments.dropFirst()),
                environment: environmentAtStart + [(Handover.variable, String(state.rawValue))])
        } catch {
            let text = "\(programs.own) cannot take over, everything goes on as it was: \(error)"
            log.error("\(text)")
            answer(test.connection, .failure(text, ExitCode.failed))
            reloadIfAsked()
        }
    }

    /// In the new program: the children are what they were, and are replaced now.
    /// `fault`: the new daemons cannot be used, and everything goes on with those that there were.
    mutating func takeOver(_ handover: Handover, previous: Programs?, fault: StartFault?) {
        mustReloadAgain = handover.mustReload
        for place in handover.children { adopt(place) }
        reap()
        for index in children.indices where !children[index].isRunning && children[index].state == .waiting {
            start(index)
        }
        var connection: ControlServer.Caller?
        let asked = handover.descriptor("operator")
        if asked.isOpen { connection = control.adopt(asked, unanswered: 1, loop) }
        for (name, number) in handover.descriptors where name.hasPrefix(Handover.client) {
            _ = control.adopt(Descriptor(number), loop)
        }
        log.info("serverpyctl \(Version.current) goes on where \(handover.program) was")
        if let fault {
            log.error("the daemons go on as they were: \(fault.reason)")
            answer(connection, .failure("the daemons go on as they were: \(fault.reason)", ExitCode.failed))
            return reloadIfAsked()
        }
        beginReplacing(
            Replacement(
                connection: connection, previous: previous, includesDiscoveryd: true, left: replaceableForwarders(),
                lines: ["serverpyctl \(handover.program) -> \(Version.current) (\(programs.own))"]))
    }

    private mutating func adopt(_ place: Handover.Place) {
        var child = Child(role: place.role)
        child.pid = place.pid
        child.control = Descriptor(place.control)
        child.output = Descriptor(place.output)
        child.startedAt = place.startedAt
        child.status = place.status
        child.policy.adopt(restarts: place.restarts)
        child.aliveAt = loop.now
        child.state =
            place.pid == 0 ? .waiting : place.isStopping ? .stopping : place.isReady ? .ready : .starting
        children.append(child)
        listen(children.count - 1)
        if child.state == .stopping { scheduleDrainEnd(children.count - 1) }
    }
}
