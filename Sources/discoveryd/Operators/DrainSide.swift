import Shared

/// Commands of operators. A drain is on the disk before anyone is told: what was promised survives us.
extension Discoveryd {
    mutating func obey(_ command: OperatorCommand) {
        if case .api = command.verb { return tellAPI(command) }
        guard state.isReady else {
            return publisher.answer(
                command.subscriber, command.refusal("the first round of polls is not done; try again"), &loop)
        }
        switch command.verb {
        case .unknown(let name):
            let reason =
                "the command `\(Text.shown(name.utf8))` is not known; drain, undrain, drained, explain, reload and api are"
            return publisher.answer(command.subscriber, command.refusal(reason), &loop)
        case .explain(let explain): return ask(explain, for: .operator(command))
        case .reload:
            let refused = reloadFile()
            let version = registry.version.description
            return publisher.answer(
                command.subscriber,
                refused.map(command.refusal) ?? command.answer { $0.field("snapshot", version) }, &loop)
        case .drain, .drained, .api: break
        }
        let (found, reason) = registry.find(command)
        guard let id = found else {
            return publisher.answer(command.subscriber, command.refusal(reason), &loop)
        }
        switch command.verb {
        case .drain(let isDraining):
            if registry.instances[id].isDraining == isDraining, registry.instances[id].isDrainAsked == isDraining {
                return acknowledge(command, id)
            }
            registry.askDrain(id, isDraining, wall: Clock.wallMilliseconds())
            draining.append((command, id))
        case .drained: tellDrained(command, id)
        case .unknown, .explain, .api, .reload: break
        }
    }

    /// Whoever may connect here may know the token.
    private mutating func tellAPI(_ command: OperatorCommand) {
        let address = try? Socket.localAddress(apiListener)
        let token = registry.general.discoveryToken
        let line = command.answer { writer in
            if let address {
                writer.field(
                    "address",
                    (address.isUnspecified ? SocketAddress.loopback(port: address.port) : address).description)
            }
            if let token { writer.field("token", token) }
        }
        publisher.answer(command.subscriber, line, &loop)
    }

    /// The state of these instances is on the disk, or could not be written.
    mutating func stateWritten(_ ids: [Registry.InstanceID], _ error: Errno?) {
        guard !draining.isEmpty else { return }
        if let error { return refuseDraining("it could not be written to the state directory (\(error))") }
        let written = Set(ids)
        let done = draining.filter { written.contains($0.id) }
        draining.removeAll { written.contains($0.id) }
        for (command, id) in done {
            let was = registry.instances[id].isDraining
            registry.publishDrain(id, now: loop.now)
            let isDraining = registry.instances[id].isDraining
            if was != isDraining {
                log.info(
                    "\(command.service) \(command.instance) is \(isDraining ? "being drained" : "no longer drained")")
            }
        }
        publishNow()
        for (command, id) in done { acknowledge(command, id) }
    }

    private mutating func refuseDraining(_ reason: String) {
        for (command, id) in draining {
            registry.withdrawDrain(id)
            publisher.answer(command.subscriber, command.refusal(reason), &loop)
        }
        draining = []
    }

    /// These instances are gone.
    mutating func refuseDraining(of gone: [Registry.InstanceID]) {
        guard !draining.isEmpty else { return }
        let gone = Set(gone)
        for (command, id) in draining where gone.contains(id) {
            publisher.answer(
                command.subscriber, command.refusal("the configuration no longer names this instance"), &loop)
        }
        draining.removeAll { gone.contains($0.id) }
    }

    private mutating func acknowledge(_ command: OperatorCommand, _ id: Registry.InstanceID) {
        let (isDraining, version) = (registry.instances[id].isDraining, registry.version)
        let line = command.answer {
            $0.field("draining", isDraining)
            $0.field("snapshot", version.description)
        }
        publisher.answer(command.subscriber, line, &loop)
    }

    /// Each forwarder that has said hello and is not proven dead: it is done when it works with a snapshot in which the instance is
    /// marked and has nothing under way there.
    private mutating func tellDrained(_ command: OperatorCommand, _ id: Registry.InstanceID) {
        let version = command.snapshot ?? registry.version
        let present = state.traffic.present(command.service, command.instance)
        let isDraining = registry.instances[id].isDraining
        // One without a file (the disk was full when it started) cannot prove that it has nothing there.
        let uncounted = max(0, publisher.forwarders - present.count)
        let line = command.answer { writer in
            writer.field("draining", isDraining)
            writer.field("snapshot", version.description)
            writer.field(
                "drained",
                isDraining && uncounted == 0
                    && present.allSatisfy { $0.inFlight == 0 && $0.forwarder.snapshot >= version })
            writer.field("uncounted", uncounted)
            writer.key("forwarders")
            writer.beginArray()
            for (forwarder, inFlight) in present {
                writer.beginObject()
                writer.field("index", forwarder.index)
                writer.field("pid", forwarder.pid)
                writer.field("applied", forwarder.snapshot >= version)
                writer.field("in_flight", inFlight)
                writer.endObject()
            }
            writer.endArray()
        }
        publisher.answer(command.subscriber, line, &loop)
    }
}
