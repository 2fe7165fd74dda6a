import Shared

/// A reload under way: everything is prepared before anything changes, and a failure leaves the old in force.
struct Reload {
    /// Who asked; nil for a signal or a changed file.
    let connection: ControlServer.Caller?
    let file: ConfigurationFile
    let configuration: Configuration
    let difference: ConfigurationDifference
    /// What is answered when it is done.
    var lines: [String] = []
    /// New listeners where an address has changed; none otherwise.
    var requests = Descriptor.none
    var discoveryHTTP = Descriptor.none

    var hasNewPorts: Bool { requests.isOpen || discoveryHTTP.isOpen }

    /// The new listeners are not needed.
    func closePorts() {
        requests.close()
        discoveryHTTP.close()
    }
}

extension Supervisor {
    /// Reads the file anew. With `dryRun` only says what would change.
    mutating func reload(_ connection: ControlServer.Caller?, dryRun: Bool) {
        guard !isBusy else {
            // Nobody waits for the answer to a signal or to a changed file: it is done when its time has come.
            if connection == nil, !dryRun { mustReloadAgain = true }
            return answer(connection, .failure(busyReason, ExitCode.failed))
        }
        if !dryRun { notifier.reloading() }
        defer { if !dryRun, change.isNone { tellReloaded() } }
        var next: Reload
        do {
            let file = try ConfigurationFile.read(settings.file.path)
            let (configuration, _) = try file.configuration()
            next = Reload(
                connection: connection, file: file, configuration: configuration,
                difference: ConfigurationDifference(from: settings.configuration, to: configuration))
        } catch {
            log.error("the new configuration is rejected, the old one goes on")
            for headline in error.headlines { log.error("\(headline)") }
            return answer(connection, .failure(error.text, ExitCode.configuration))
        }
        let forwarders = next.configuration.general.forwarders
        var note: String?
        if settings.hasFixedForwarders, forwarders != settings.configuration.general.forwarders {
            note = "`forwarders` stays \(settings.forwarders): `--forwarders` or `scale` holds until serverpy ends"
        }
        next.lines = next.difference.summary() + (note.map { [$0] } ?? [])
        if dryRun || next.difference.lines.isEmpty { return answer(connection, .success(next.lines)) }
        guard let discoveryd = children.first(where: { $0.role == .discoveryd && $0.state == .ready }) else {
            // A signal or a changed file is not forgotten: it is done when discoveryd is ready.
            if connection == nil { mustReloadAgain = true }
            return answer(
                connection, .failure("discoveryd is not ready; the old configuration goes on", ExitCode.failed))
        }
        do {
            try openNewPorts(&next)
            let memory = try Files.sealedMemory(name: "configuration", next.file.bytes)
            defer { memory.close() }
            try UnixSocket.send(
                ControlMessage.configuration(path: next.file.path).encode(), descriptors: [memory],
                on: discoveryd.control)
        } catch {
            next.closePorts()
            let reason = (error as? ListenAddress.Fault)?.reason ?? "\(error)"
            log.error("the reload failed, the old configuration goes on: \(reason)")
            return answer(connection, .failure(reason, ExitCode.failed))
        }
        change = .reloading(next, since: loop.now)
    }

    /// Whatever has become of a reload: it is over.
    private func tellReloaded() {
        if phase == .running || phase == .starting { notifier.ready(statusWords) }
    }

    private func openNewPorts(_ next: inout Reload) throws(ListenAddress.Fault) {
        let (old, new) = (settings.configuration.general, next.configuration.general)
        let (oldRequests, newRequests) = (ListenAddress.requestProcessor(old), ListenAddress.requestProcessor(new))
        let own = [sockets.requests, sockets.discoveryHTTP]
        if oldRequests != newRequests { next.requests = try newRequests.listen(beside: own) }
        let (oldDiscovery, newDiscovery) = (ListenAddress.discovery(old), ListenAddress.discovery(new))
        if oldDiscovery != newDiscovery { next.discoveryHTTP = try newDiscovery.listen(beside: own) }
    }

    /// What a child says on its control socket.
    mutating func takeChildMessages(_ index: Int) {
        guard index < children.count else { return }
        while children[index].control.isOpen {
            var received: UnixMessage?
            do throws(Errno) {
                received = try UnixSocket.receive(on: children[index].control, capacity: Limits.controlMessageBytes)
            } catch .again {
                return
            } catch {
                log.warning("the control socket of \(children[index].role.name): \(error)")
            }
            guard let message = received else {
                // It has closed it, or it is broken, and would be ready for ever.
                children[index].control.close()
                children[index].control = .none
                return
            }
            for descriptor in message.descriptors { descriptor.close() }
            guard children[index].role == .discoveryd else { continue }
            let decoded = message.isTruncated ? nil : try? ControlMessage.decode(message.bytes)
            switch decoded {
            case .applied(let snapshot): happen(.applied(snapshot: snapshot))
            case .refused(let reason): happen(.refused(reason))
            case .drain, .stop, .reopenLogs, .listeners, .configuration, nil:
                happen(.refused("discoveryd's answer is not understood: \(Text.shown(message.bytes))"))
            }
        }
    }

    /// Something has happened to the reload, or to its undoing.
    mutating func happen(_ event: Change.Event) {
        switch change.receive(event, now: loop.now) {
        case .nothing: break
        case .use(let reload, let snapshot): use(reload, snapshot)
        case .complete(let reload): complete(reload)
        case .abandon(let reload, let reason, let givesBack):
            reload.closePorts()
            log.error("the reload failed, the old configuration goes on: \(reason)")
            answer(reload.connection, .failure("\(reason); the old configuration goes on", ExitCode.failed))
            if givesBack { giveBack() } else { endChange() }
        case .rolledBack: endChange()
        case .notRolledBack(let reason):
            log.error(
                "the old configuration is in force, but not everywhere: discoveryd was given it again, and \(reason)")
            endChange()
        case .forget(let reload, isInForce: true): answer(reload.connection, .success(reload.lines))
        case .forget(let reload, isInForce: false):
            reload.closePorts()
            answer(reload.connection, .failure("serverpy is being stopped", ExitCode.failed))
        }
    }

    /// A reload is over, whatever has become of it.
    private mutating func endChange() {
        tellReloaded()
        reloadIfAsked()
    }

    /// Every forwarder works with the new configuration: the rest of it follows.
    private mutating func use(_ done: Reload, _ snapshot: String) {
        settings.file = done.file
        settings.configuration = done.configuration
        Log.format = done.configuration.general.forwarding.logFormat
        if done.requests.isOpen {
            for child in children where child.role.isForwarder && child.isRunning && child.state != .stopping {
                tell(child, .listeners, [done.requests])
            }
            retire(sockets.requests, "requests")
            sockets.requests = done.requests
        }
        if done.discoveryHTTP.isOpen {
            for child in children where child.role == .discoveryd && child.isRunning {
                tell(child, .listeners, [done.discoveryHTTP])
            }
            retire(sockets.discoveryHTTP, "discovery-http")
            sockets.discoveryHTTP = done.discoveryHTTP
        }
        if !settings.hasFixedForwarders {
            scale(to: done.configuration.general.forwarders ?? min(Process.availableCores(), Limits.forwarders))
        }
        log.info("reloaded, snapshot \(snapshot): \(done.difference.lines.count) changes")
        guard done.hasNewPorts else { return complete(done) }
        // The old listeners are emptied before they are closed; until then their port is taken.
        _ = loop.schedule(
            Token(kind: EventKind.listenersRetired.rawValue), after: 2 * Limits.listenerRetiresMilliseconds)
    }

    /// Gives up a listener that has been replaced: clients are taken at the new one already. One that a service manager holds, too, is
    /// not touched.
    private mutating func retire(_ listener: Descriptor, _ name: String) {
        if !sockets.ownListeners.insert(name).inserted {
            do throws(Errno) { try Socket.dropNewConnections(listener) } catch {
                log.warning("connections that begin while a listening socket is replaced may be reset: \(error)")
            }
        }
        listener.close()
    }

    private mutating func complete(_ done: Reload) {
        answer(done.connection, .success(done.lines))
        endChange()
    }

    /// What came while another reload was under way.
    mutating func reloadIfAsked() {
        guard mustReloadAgain, phase == .running else { return }
        mustReloadAgain = false
        reload(nil, dryRun: false)
    }

    /// discoveryd may work with the new configuration already: it gets the old one again.
    private mutating func giveBack() {
        guard let discoveryd = children.first(where: { $0.role == .discoveryd && $0.state == .ready }) else {
            return happen(.discoverydEnded)
        }
        do throws(Errno) {
            let memory = try Files.sealedMemory(name: "configuration", settings.file.bytes)
            defer { memory.close() }
            tell(discoveryd, .configuration(path: settings.file.path), [memory])
        } catch {
            happen(.refused("it could not be given: \(error)"))
        }
    }

    /// discoveryd has time for itself and for the forwarders, and for as many again: then it is not waited for any longer.
    mutating func checkReload() {
        guard let wait = change.wait else { return }
        let (old, new) = (settings.configuration, wait.reload?.configuration ?? settings.configuration)
        let allowed = Limits.reloadTimeoutMilliseconds(
            services: max(old.services.count, new.services.count),
            instances: max(old.instanceCount, new.instanceCount))
        let time = 2 * allowed + 5_000
        if loop.now > wait.since + time { happen(.overdue("discoveryd has not answered within \(time / 1000) s")) }
    }

    /// A stop overtakes it.
    mutating func forgetReload() {
        mustReloadAgain = false
        happen(.stopped)
    }

    /// More or fewer forwarders: new ones start, the last ones drain.
    mutating func scale(to count: Int) {
        settings.forwarders = count
        func isLiving(_ child: Child) -> Bool { child.state != .stopping && child.state != .ended }
        for number in 0..<count {
            let role = Child.Role.forwarderd(index: number)
            if children.contains(where: { $0.role == role && isLiving($0) }) { continue }
            start(place(role))
            takeNotifications()
        }
        for index in children.indices where isLiving(children[index]) {
            if case .forwarderd(let number) = children[index].role, number >= count { drain(index) }
        }
    }

    /// A place for a child: one that a former child of this role has left, or a new one.
    mutating func place(_ role: Child.Role) -> Int {
        if let free = children.indices.first(where: { children[$0].role == role && children[$0].state == .ended }) {
            children[free] = Child(role: role)
            return free
        }
        children.append(Child(role: role))
        return children.count - 1
    }

    enum Answer {
        case success([String])
        case failure(String, Int32)
    }

    func answer(_ connection: ControlServer.Caller?, _ answer: Answer) {
        guard let connection, control.connections.holds(connection.slot, connection.generation) else { return }
        control.answer(connection.slot) { writer in
            switch answer {
            case .success(let lines):
                writer.field("ok", true)
                writer.key("changes")
                writer.beginArray()
                for line in lines { writer.value(line) }
                writer.endArray()
            case .failure(let reason, let code):
                writer.field("ok", false)
                writer.field("error", reason)
                writer.field("code", code)
            }
        }
        control.settle(connection.slot)
    }

    // MARK: Watching the file

    /// Looks once a second whether the file is another one now: written, replaced, or behind a link that was swapped. Whoever writes it
    /// may be in the middle of that: it is read when two looks a moment apart agree and nobody has it open for writing.
    mutating func checkFile() {
        var next = Limits.watchMilliseconds
        defer { _ = loop.schedule(Token(kind: EventKind.watch.rawValue), after: next) }
        let path = settings.file.path
        let now: [Int64]
        do throws(Errno) { now = try Files.fingerprint(path) } catch {
            if !hasMissedFile { log.warning("\(path) cannot be looked at (\(error)); its configuration goes on") }
            hasMissedFile = true
            return
        }
        hasMissedFile = false
        guard now != fingerprint else {
            seenChange = nil
            return
        }
        guard let seen = seenChange, seen.fingerprint == now else {
            seenChange = (now, loop.now)
            next = Limits.watchSettlesMilliseconds
            return
        }
        let age = loop.now - seen.since
        if Files.hasWriter(path) ?? (age < Limits.watchUnknownMilliseconds), age < Limits.watchWriterMilliseconds {
            next = Limits.watchSettlesMilliseconds
            return
        }
        seenChange = nil
        fingerprint = now
        guard phase == .running || phase == .starting else { return }
        log.info("\(path) has changed")
        reload(nil, dryRun: false)
    }
}
