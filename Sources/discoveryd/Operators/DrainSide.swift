import Shared

/// An operator that waits for a drain to be on the disk and told.
struct Draining {
    let command: OperatorCommand
    /// What the command has named.
    var ids: [Registry.InstanceID]
    /// Those of them that are not on the disk yet.
    var unwritten: Set<Registry.InstanceID>
}

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
        guard !found.isEmpty else {
            return publisher.answer(command.subscriber, command.refusal(reason), &loop)
        }
        switch command.verb {
        case .drain(let isDraining):
            let others = found.filter {
                registry.instances[$0].isDraining != isDraining || registry.instances[$0].isDrainAsked != isDraining
            }
            if others.isEmpty { return acknowledge(command, found) }
            for id in others { registry.askDrain(id, isDraining, wall: Clock.wallMilliseconds()) }
            draining.append(Draining(command: command, ids: found, unwritten: Set(others)))
        case .drained: tellDrained(command, found)
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
        // A write that was under way when the drain was asked for does not have it: those are to be saved again.
        let ids = Set(ids).filter { !registry.marks.isUnsaved($0) }
        for id in ids where draining.contains(where: { $0.unwritten.contains(id) }) {
            let was = registry.instances[id].isDraining
            registry.publishDrain(id, now: loop.now)
            let isDraining = registry.instances[id].isDraining
            if was != isDraining {
                log.info("\(registry.shownName(id)) is \(isDraining ? "being drained" : "no longer drained")")
            }
        }
        publishNow()
        concludeDraining(without: ids)
    }

    /// These are on the disk and told, or gone: who waits for nothing else any more is answered.
    private mutating func concludeDraining(without ids: Set<Registry.InstanceID>) {
        for index in draining.indices { draining[index].unwritten.subtract(ids) }
        // A name that is drained may have got another address meanwhile.
        for index in draining.indices where draining[index].unwritten.isEmpty && !draining[index].ids.isEmpty {
            guard case .drain(true) = draining[index].command.verb else { continue }
            let others = registry.find(draining[index].command).ids.filter { !registry.instances[$0].isDraining }
            for id in others { registry.askDrain(id, true, wall: Clock.wallMilliseconds()) }
            draining[index].ids += others
            draining[index].unwritten = Set(others)
        }
        let done = draining.filter(\.unwritten.isEmpty)
        draining.removeAll(where: \.unwritten.isEmpty)
        for entry in done {
            if entry.ids.isEmpty {
                publisher.answer(
                    entry.command.subscriber,
                    entry.command.refusal("the configuration no longer names this instance"), &loop)
            } else {
                acknowledge(entry.command, entry.ids)
            }
        }
    }

    private mutating func refuseDraining(_ reason: String) {
        for entry in draining {
            for id in entry.ids { registry.withdrawDrain(id) }
            publisher.answer(entry.command.subscriber, entry.command.refusal(reason), &loop)
        }
        draining = []
    }

    /// These instances are gone.
    mutating func refuseDraining(of gone: [Registry.InstanceID]) {
        guard !draining.isEmpty, !gone.isEmpty else { return }
        let gone = Set(gone)
        for index in draining.indices { draining[index].ids.removeAll { gone.contains($0) } }
        concludeDraining(without: gone)
    }

    private mutating func acknowledge(_ command: OperatorCommand, _ ids: [Registry.InstanceID]) {
        let (isDraining, version) = (ids.allSatisfy { registry.instances[$0].isDraining }, registry.version)
        let line = command.answer {
            $0.field("draining", isDraining)
            $0.field("snapshot", version.description)
            $0.field("instances", ids.count)
        }
        publisher.answer(command.subscriber, line, &loop)
    }

    /// Each forwarder that has said hello and is not proven dead: it is done when it works with a snapshot in which the instance is
    /// marked and has nothing under way there.
    private mutating func tellDrained(_ command: OperatorCommand, _ ids: [Registry.InstanceID]) {
        let version = command.snapshot ?? registry.version
        let present = state.traffic.present(ids.map { registry.key($0) })
        let isDraining = ids.allSatisfy { registry.instances[$0].isDraining }
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
