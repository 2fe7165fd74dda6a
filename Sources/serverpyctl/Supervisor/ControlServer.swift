import Shared

/// control.sock: one JSON request a line, one JSON answer a line.
struct ControlServer: ~Copyable {
    struct Connection: ~Copyable {
        var channel: LineChannel
        /// The peer has said all, or something that it must not: what is due is sent, then it ends.
        var isEnding = false
        /// Requests whose answers are still to come.
        var unanswered = 0
        /// When it was heard last, by the loop's clock.
        var heardAt: UInt64 = 0
    }

    enum Request {
        case stop
        case status
        case reload(dryRun: Bool)
        case scale(Int)
        case restart(RestartTarget)
        case upgrade
        case unknown(String)
    }

    /// The connection that a request came on, and is answered on while it is open.
    typealias Caller = (slot: Slab<Connection>.Index, generation: UInt32)

    let connections = Slab<Connection>(capacity: 64)
    private let log: Log

    init(log: Log) { self.log = log }

    /// Throws what is no lack of connections: no descriptors are left, say.
    mutating func accept(_ listener: Descriptor, _ loop: borrowing EventLoop) throws(Errno) {
        for _ in 0..<Limits.acceptsPerTurn {
            let descriptor: Descriptor
            do throws(Errno) { (descriptor, _) = try Socket.accept(listener) } catch {
                switch error.acceptOutcome {
                case .nobody: return
                case .next: continue
                case .noDescriptors, .pause: throw error
                }
            }
            if connections.isFull { evict() }
            guard !connections.isFull, let peer = try? UnixSocket.peer(of: descriptor),
                peer.uid == Process.userID || peer.uid == 0
            else {
                log.warning("control.sock: a connection was refused")
                descriptor.close()
                continue
            }
            _ = adopt(descriptor, loop)
        }
    }

    /// A connection that is open already, with so many requests that are to be answered; nil when it cannot be heard.
    mutating func adopt(_ descriptor: Descriptor, unanswered: Int = 0, _ loop: borrowing EventLoop) -> Caller? {
        guard !connections.isFull else {
            descriptor.close()
            return nil
        }
        let slot = connections.insert(
            Connection(
                channel: LineChannel(descriptor, maxLineBytes: Limits.controlMessageBytes), unanswered: unanswered))
        connections[slot].heardAt = loop.now
        let generation = connections.generation(slot)
        let token = connections.token(Supervisor.EventKind.controlConnection.rawValue, slot)
        do {
            try loop.add(descriptor, token, [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            close(slot)
            return nil
        }
        return (slot, generation)
    }

    /// Makes room: whoever has been silent longest and waits for nothing goes.
    private func evict() {
        let idle = connections.indices.filter { connections[$0].unanswered == 0 }
        if let oldest = idle.min(by: { connections[$0].heardAt < connections[$1].heardAt }) { close(oldest) }
    }

    private func close(_ slot: Slab<Connection>.Index) {
        connections[slot].channel.descriptor.close()
        _ = connections.remove(slot)
    }

    /// At the end: what is due is sent to those who read it.
    func closeAll(_ loop: borrowing EventLoop) {
        let end = Clock.monotonicMilliseconds() + Limits.lookMilliseconds
        for slot in connections.indices {
            while (try? connections[slot].channel.flush()) == false, Clock.monotonicMilliseconds() < end {
                connections[slot].channel.descriptor.waitUntilWritable(milliseconds: Limits.askAgainMilliseconds)
            }
            close(slot)
        }
    }

    /// Connections on which nothing is under way: their next request may be heard by another.
    var idle: [Descriptor] {
        connections.indices.filter { slot in
            connections[slot].unanswered == 0 && !connections[slot].isEnding && connections[slot].channel.isEmpty
        }.map { connections[$0].channel.descriptor }
    }

    /// The requests that have come on a connection.
    mutating func ready(_ slot: Slab<Connection>.Index, _ generation: UInt32, _ readiness: Readiness, now: UInt64)
        -> [Request]
    {
        guard connections.holds(slot, generation) else { return [] }
        connections[slot].heardAt = now
        var requests: [Request] = []
        do throws(LineChannel.Fault) {
            _ = try connections[slot].channel.flush()
            if readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) { return [] }
            do throws(LineChannel.Fault) {
                while try connections[slot].channel.receive(budget: Limits.controlMessageBytes) {
                    while let line = try connections[slot].channel.nextLine() { requests.append(Self.parse(line)) }
                    // One who asks faster than it is answered would be all that is heard.
                    guard requests.count < Limits.controlRequests else { throw .closed }
                }
            } catch {
                connections[slot].isEnding = true
                guard error == .closed else { throw error }
            }
            while let line = try connections[slot].channel.nextLine() { requests.append(Self.parse(line)) }
        } catch {
            connections[slot].isEnding = true
        }
        if requests.count > Limits.controlRequests { requests.removeLast(requests.count - Limits.controlRequests) }
        connections[slot].unanswered += requests.count
        return requests
    }

    /// Closes a connection that has ended, when its answers are out.
    func settle(_ slot: Slab<Connection>.Index) {
        guard connections.isInUse(slot) else { return }
        do throws(LineChannel.Fault) {
            let isSent = try connections[slot].channel.flush()
            if connections[slot].isEnding, connections[slot].unanswered == 0, isSent { close(slot) }
        } catch {
            close(slot)
        }
    }

    private static func parse(_ line: [UInt8]) -> Request {
        let root = (try? JSONReader.parse(line))?.root
        return switch root?["command"]?.string {
        case "stop": .stop
        case "status": .status
        case "reload": .reload(dryRun: root?["dry_run"]?.boolean ?? false)
        case "scale": .scale(Int(clamping: root?["forwarders"]?.unsigned ?? 0))
        case "restart": .restart(root?["target"]?.string.flatMap(RestartTarget.init(rawValue:)) ?? .all)
        case "upgrade": .upgrade
        case let other: .unknown(other ?? "")
        }
    }

    func answer(_ slot: Slab<Connection>.Index, _ build: (inout JSONWriter) -> Void) {
        guard connections.isInUse(slot) else { return }
        connections[slot].unanswered = max(0, connections[slot].unanswered - 1)
        // Whoever does not read its answers is not worth the memory; one answer, however long, always is.
        guard connections[slot].channel.pendingBytes <= Limits.subscriberBufferBytes else { return close(slot) }
        var writer = JSONWriter()
        writer.beginObject()
        build(&writer)
        writer.endObject()
        writer.endLine()
        connections[slot].channel.queue(writer.bytes)
        _ = try? connections[slot].channel.flush()
    }
}

extension Supervisor {
    mutating func acceptControl() {
        do throws(Errno) { try control.accept(sockets.control, loop) } catch {
            // It would be said again at once, and forever.
            log.error("control.sock: connections are not accepted: \(error)")
            hearControl(false)
            _ = loop.schedule(Token(kind: EventKind.resumeControl.rawValue), after: Limits.watchdogGapMilliseconds)
        }
    }

    func hearControl(_ isHeard: Bool) {
        let token = Token(kind: EventKind.controlListener.rawValue)
        do throws(Errno) { try loop.modify(sockets.control, token, isHeard ? [.readable] : []) } catch {
            log.error("control.sock: \(error)")
        }
    }

    mutating func serve(_ request: ControlServer.Request, _ slot: Slab<ControlServer.Connection>.Index) {
        switch request {
        case .stop:
            let forwarding = settings.configuration.general.forwarding
            let limit =
                forwarding.drainDelayMilliseconds + forwarding.drainTimeoutMilliseconds + 3
                * Limits.killAfterMilliseconds
            control.answer(slot) {
                $0.field("ok", true)
                $0.field("pid", Process.pid)
                $0.field("timeout_ms", limit)
            }
            log.info("told to stop")
            stop(drain: true)
        case .reload(let dryRun):
            reload((slot, control.connections.generation(slot)), dryRun: dryRun)
        case .scale(let count): scale((slot, control.connections.generation(slot)), to: count)
        case .restart(let target): restart(target, (slot, control.connections.generation(slot)))
        case .upgrade: upgrade((slot, control.connections.generation(slot)))
        case .status:
            let now = loop.now
            let children = children
            let phase = phase
            let pid = Process.pid
            let (requests, discovery) = (
                sockets.requests.isOpen ? sockets.requestsAddress : nil, sockets.discoveryAddress
            )
            let uptime = now - startedAt
            control.answer(slot) { writer in
                writer.field("ok", true)
                writer.field("pid", pid)
                writer.field("state", phase == .running ? "running" : phase == .starting ? "starting" : "stopping")
                writer.field("uptime_ms", uptime)
                writer.key("request_processor")
                // While it stops, nobody listens there any more.
                if let requests { writer.value(requests) } else { writer.null() }
                writer.field("discovery_server", discovery)
                writer.key("processes")
                writer.beginArray()
                for child in children where child.state != .ended {
                    writer.beginObject()
                    writer.field("name", child.role.name)
                    writer.field("pid", child.pid)
                    writer.field("state", child.stateName)
                    writer.field("uptime_ms", child.isRunning ? now - child.startedAt : 0)
                    writer.field("restarts", child.policy.restarts)
                    writer.field("status", child.status)
                    writer.endObject()
                }
                writer.endArray()
            }
        case .unknown(let name):
            control.answer(slot) {
                $0.field("ok", false)
                $0.field(
                    "error",
                    "the command `\(Text.shown(name.utf8))` is not known; stop, status, reload, scale, restart and upgrade are"
                )
            }
        }
    }
}
