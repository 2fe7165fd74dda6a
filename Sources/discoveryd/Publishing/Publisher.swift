import Shared

/// Sends snapshots and changes to every subscriber, each at its own pace and in its own version of the protocol: what it has not been able to
/// take is remembered as `News`, so there is no queue to overflow.
struct Publisher: ~Copyable {
    let subscriptions = Slab<Subscription>(capacity: Limits.subscribers)
    private let log: Log
    /// Before the first round of polls there is nothing to publish.
    private(set) var isOpen = false
    /// Client connections of all forwarders, as they were counted last.
    private var connections = 0
    /// The instances' numbers in the first version of the protocol; nil until one is asked for.
    private var positions: InstanceTable<Int32>?

    /// What has arrived for the owner to act upon.
    enum Request: Sendable {
        case observed(service: String, instance: String, address: SocketAddress?, cause: String)
        case command(OperatorCommand)
        case told(Token, Document.Value)
    }

    init(log: Log) { self.log = log }

    /// Forwarders connected.
    var forwarders: Int { count { $0.role == .forwarder } }

    /// Forwarders that have applied at least this version.
    func forwarders(applied version: SnapshotVersion) -> Int {
        count { $0.role == .forwarder && $0.applied.map { $0 >= version } ?? false }
    }

    private func count(_ matches: (borrowing Subscription) -> Bool) -> Int {
        var count = 0
        for slot in subscriptions.indices where matches(subscriptions[slot]) {
            count += 1
        }
        return count
    }

    // MARK: Connections

    /// Takes waiting connections. False: there are no descriptors for more, the listener must rest.
    mutating func accept(_ listener: Descriptor, _ loop: inout EventLoop) -> Bool {
        for _ in 0..<Limits.acceptsPerTurn {
            let descriptor: Descriptor
            do {
                descriptor = try Socket.accept(listener).0
            } catch {
                switch error.acceptOutcome {
                case .nobody: return true
                case .next: continue
                case .noDescriptors, .pause: return false
                }
            }
            guard let peer = try? UnixSocket.peer(of: descriptor), peer.uid == Process.userID || peer.uid == 0 else {
                log.warning("discovery.sock: a connection of another user was refused")
                descriptor.close()
                continue
            }
            guard !subscriptions.isFull else {
                log.warning(
                    "discovery.sock: more than \(Limits.subscribers) connections; one of pid \(peer.pid) was refused")
                _ = descriptor.send(SnapshotLines.refusal("too many connections; at most \(Limits.subscribers)").span)
                descriptor.close()
                continue
            }
            let slot = subscriptions.insert(Subscription(LineChannel(descriptor), peer))
            let generation = subscriptions.generation(slot)
            do {
                try loop.add(
                    descriptor, EventKind.subscriber.token(slot, generation),
                    [.readable, .writable, .peerClosed, .edgeTriggered])
            } catch {
                drop(slot, "it could not be registered: \(error)", &loop)
                continue
            }
            subscriptions[slot].timer = loop.schedule(
                EventKind.helloTimeout.token(slot, generation), after: Limits.helloWaitMilliseconds)
        }
        return true
    }

    mutating func drop(_ slot: Slab<Subscription>.Index, _ reason: String?, _ loop: inout EventLoop) {
        loop.cancel(&subscriptions[slot].timer)
        let wasForwarder = subscriptions[slot].role == .forwarder
        defer { if wasForwarder { shareOut() } }
        if let reason { log.warning("discovery.sock: pid \(subscriptions[slot].peer.pid) dropped: \(reason)") }
        subscriptions[slot].channel.descriptor.close()
        _ = subscriptions.remove(slot)
    }

    /// Silent for long enough: an observer.
    mutating func helloTimedOut(
        _ slot: Slab<Subscription>.Index, _ registry: borrowing Registry, _ loop: inout EventLoop
    ) {
        subscriptions[slot].timer = .none
        guard subscriptions[slot].role == nil else { return }
        do throws(LineChannel.Fault) {
            try begin(slot, .observer)
        } catch {
            return drop(slot, error.reason, &loop)
        }
        advance(slot, registry, &loop)
    }

    /// Reads what a subscriber said and sends what it can take. True: there may be more to read in a later turn.
    mutating func ready(
        _ slot: Slab<Subscription>.Index, _ readiness: Readiness, _ registry: borrowing Registry,
        _ requests: inout [Request],
        _ loop: inout EventLoop
    ) -> Bool {
        var isMore = false
        do throws(LineChannel.Fault) {
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) {
                isMore = try subscriptions[slot].channel.receive()
                try receiveLines(slot, registry, &requests, &loop)
            }
        } catch {
            drop(slot, error.reason, &loop)
            return false
        }
        advance(slot, registry, &loop)
        return isMore && subscriptions.isInUse(slot)
    }

    private mutating func receiveLines(
        _ slot: Slab<Subscription>.Index, _ registry: borrowing Registry, _ requests: inout [Request],
        _ loop: inout EventLoop
    ) throws(LineChannel.Fault) {
        while let line = try subscriptions[slot].channel.nextLine() {
            if let request = try receive(slot, line, registry, &loop) { requests.append(request) }
        }
    }

    private mutating func receive(
        _ slot: Slab<Subscription>.Index, _ line: [UInt8], _ registry: borrowing Registry, _ loop: inout EventLoop
    ) throws(LineChannel.Fault) -> Request? {
        let message: Document.Value
        do {
            message = try JSONReader.parse(line).root
        } catch {
            throw LineChannel.Fault.malformed("a line is not JSON: \(error.message)")
        }
        switch message["type"]?.string {
        case "hello":
            guard let role = message["role"]?.string.flatMap(PeerRole.init(rawValue:)) else {
                throw LineChannel.Fault.malformed("hello without a known role (forwarder, observer, operator)")
            }
            let range = message["protocol"]?.elements.compactMap(\.unsigned) ?? []
            guard range.count == 2, let version = SnapshotLines.newestCommonVersion(range[0], range[1]) else {
                subscriptions[slot].channel.queue(
                    SnapshotLines.refusal(
                        "protocols \(SnapshotLines.protocolVersions.lowerBound) to \(SnapshotLines.protocolVersions.upperBound) are spoken here"
                    ))
                _ = try subscriptions[slot].channel.flush()
                throw LineChannel.Fault.malformed("hello with another protocol version")
            }
            subscriptions[slot].pid = subscriptions[slot].peer.pid
            loop.cancel(&subscriptions[slot].timer)
            if subscriptions[slot].role == nil {
                subscriptions[slot].protocolVersion = version
                try begin(slot, role)
            }
        case "applied":
            if let epoch = message["epoch"]?.unsigned, let number = message["number"]?.unsigned {
                subscriptions[slot].applied = SnapshotVersion(epoch: epoch, number: number)
            }
        case "observed":
            guard subscriptions[slot].role == .forwarder, let service = message["service"]?.string,
                let instance = message["instance"]?.string
            else { throw LineChannel.Fault.malformed("observed without service and instance") }
            return .observed(
                service: service, instance: instance,
                address: message["address"]?.string.flatMap(SocketAddress.init(hostPort:)),
                cause: message["cause"]?.string ?? "")
        case "told":
            guard subscriptions[slot].role == .forwarder else {
                throw LineChannel.Fault.malformed("an answer of one that is no forwarder")
            }
            return .told(EventKind.subscriber.token(slot, subscriptions.generation(slot)), message)
        case "command":
            guard subscriptions[slot].role == .operator else {
                throw LineChannel.Fault.malformed("a command of one that is no operator")
            }
            return .command(
                OperatorCommand(
                    message, subscriber: EventKind.subscriber.token(slot, subscriptions.generation(slot))))
        default: break  // A later protocol's message.
        }
        return nil
    }

    /// Sends a question to all forwarders. Returns who will answer, with their pids.
    mutating func ask(_ line: [UInt8], _ loop: inout EventLoop) -> [Token: Int32] {
        var asked: [Token: Int32] = [:]
        for slot in subscriptions.indices
        where subscriptions[slot].role == .forwarder
            && subscriptions[slot].channel.pendingBytes < Limits.subscriberBufferBytes
        {
            let token = EventKind.subscriber.token(slot, subscriptions.generation(slot))
            asked[token] = subscriptions[slot].pid
            answer(token, line, &loop)
        }
        return asked
    }

    /// Answers an operator, if it is still there.
    mutating func answer(_ token: Token, _ line: [UInt8], _ loop: inout EventLoop) {
        guard subscriptions.holds(.init(token.slot), token.generation) else { return }
        subscriptions[.init(token.slot)].channel.queue(line)
        do throws(LineChannel.Fault) {
            _ = try subscriptions[.init(token.slot)].channel.flush()
        } catch {
            drop(.init(token.slot), error.reason, &loop)
        }
    }

    // MARK: Sending

    /// The first round of polls is done: everybody gets a snapshot.
    mutating func open(_ registry: borrowing Registry, _ loop: inout EventLoop) {
        isOpen = true
        for slot in subscriptions.indices where subscriptions[slot].role != nil {
            advance(slot, registry, &loop)
        }
    }

    private mutating func begin(_ slot: Slab<Subscription>.Index, _ role: PeerRole) throws(LineChannel.Fault) {
        // Forwarders find a place however many others are looking on.
        if role != .forwarder, count({ $0.role != nil && $0.role != .forwarder }) >= Limits.observers {
            subscriptions[slot].channel.queue(SnapshotLines.refusal("too many observers; at most \(Limits.observers)"))
            _ = try subscriptions[slot].channel.flush()
            throw .malformed("more than \(Limits.observers) observers")
        }
        subscriptions[slot].role = role
        subscriptions[slot].beginSnapshot()
        log.debug(
            "discovery.sock: pid \(subscriptions[slot].peer.pid) is \(role == .forwarder ? "a" : "an") \(role.rawValue)"
        )
        if role == .forwarder { shareOut() }
    }

    /// Marks changed instances for all and sends to whoever can take it.
    mutating func publish(_ changed: [Registry.InstanceID], _ registry: borrowing Registry, _ loop: inout EventLoop) {
        for slot in subscriptions.indices where subscriptions[slot].role != nil {
            subscriptions[slot].news.note(changed)
            advance(slot, registry, &loop)
        }
    }

    /// Services or instances have come, gone or changed. Who cannot be told in small, or has much to be told, gets a whole snapshot.
    mutating func publish(_ change: MembershipChange, _ registry: borrowing Registry, _ loop: inout EventLoop) {
        guard !change.isEmpty || change.hasOtherOrder else { return }
        positions = nil
        for slot in subscriptions.indices where subscriptions[slot].role != nil {
            if !change.isEmpty { subscriptions[slot].news.note(change) }
            if subscriptions[slot].protocolVersion < 2 || subscriptions[slot].stream != nil
                || subscriptions[slot].news.memberCount > Limits.membersPerChange
            {
                subscriptions[slot].beginSnapshot()
            }
            advance(slot, registry, &loop)
        }
    }

    mutating func heartbeat(_ registry: borrowing Registry, _ loop: inout EventLoop) {
        for slot in subscriptions.indices where subscriptions[slot].role != nil && subscriptions[slot].stream == nil {
            if subscriptions[slot].channel.pendingBytes == 0 {
                subscriptions[slot].channel.queue(SnapshotLines.ping(registry.version))
            }
            advance(slot, registry, &loop)
        }
    }

    /// Encodes and sends as much as the socket takes; what is encoded ahead is bounded.
    private mutating func advance(
        _ slot: Slab<Subscription>.Index, _ registry: borrowing Registry, _ loop: inout EventLoop
    ) {
        guard isOpen, subscriptions[slot].role != nil else { return }
        do {
            while try subscriptions[slot].channel.flush() {
                guard subscriptions[slot].role != .operator, let line = nextLine(slot, registry) else { return }
                subscriptions[slot].channel.queue(line)
            }
        } catch {
            drop(slot, error.reason, &loop)
        }
    }

    private mutating func nextLine(_ slot: Slab<Subscription>.Index, _ registry: borrowing Registry) -> [UInt8]? {
        let subscriptions = subscriptions
        let line = subscriptions[slot].stream?.nextLine(registry) { subscriptions[slot].news.told($0) }
        if let line {
            if subscriptions[slot].stream?.isDone ?? false {
                subscriptions[slot].stream = nil
                subscriptions[slot].sent = registry.version
            }
            return line
        }
        if subscriptions[slot].needsShare {
            subscriptions[slot].needsShare = false
            return share(slot)
        }
        if subscriptions[slot].news.hasMembers {
            if let lines = changeLines(slot, registry) { return lines }
            subscriptions[slot].beginSnapshot()
            return nextLine(slot, registry)
        }
        return delta(slot, registry)
    }

    private func share(_ slot: Slab<Subscription>.Index) -> [UInt8] {
        var index = 0
        for other in subscriptions.indices
        where other.rawValue < slot.rawValue && subscriptions[other].role == .forwarder {
            index += 1
        }
        return SnapshotLines.share(Share(index: index, of: forwarders, connections: connections))
    }

    /// Every forwarder is told its share anew, with what is sent next.
    private func shareOut() {
        for slot in subscriptions.indices where subscriptions[slot].role == .forwarder {
            subscriptions[slot].needsShare = true
        }
    }

    /// How many client connections all forwarders have: said with the next share, and at once where it is quite another number.
    mutating func note(connections: Int) {
        let before = self.connections
        self.connections = connections
        if abs(connections - before) * 8 > max(connections, before) { shareOut() }
    }

    var awaitsShare: Bool {
        for slot in subscriptions.indices where subscriptions[slot].needsShare {
            return true
        }
        return false
    }

    /// Sends what a coming or going forwarder has left to be said.
    mutating func settle(_ registry: borrowing Registry, _ loop: inout EventLoop) {
        for slot in subscriptions.indices where subscriptions[slot].needsShare {
            advance(slot, registry, &loop)
        }
    }

    /// What has come, gone or changed, as one change. Nil: it is too much for one.
    private mutating func changeLines(_ slot: Slab<Subscription>.Index, _ registry: borrowing Registry) -> [UInt8]? {
        guard let base = subscriptions[slot].sent else { return nil }
        let change = subscriptions[slot].news.takeMembers()
        let lines = ChangeLines.make(
            change, registry, base: base, isMore: subscriptions[slot].news.hasStates,
            limit: Limits.subscriberBufferBytes)
        if lines != nil { subscriptions[slot].sent = registry.version }
        return lines
    }

    private mutating func delta(_ slot: Slab<Subscription>.Index, _ registry: borrowing Registry) -> [UInt8]? {
        guard subscriptions[slot].news.hasVersion, let base = subscriptions[slot].sent else { return nil }
        let ids = subscriptions[slot].news.takeStates(Limits.instancesPerLine)
        // The marks may have gone out within the snapshot itself.
        if ids.isEmpty, base == registry.version { return nil }
        subscriptions[slot].sent = registry.version
        var states: [(id: Int, state: InstanceState)] = []
        for id in ids {
            let number = subscriptions[slot].protocolVersion < 2 ? position(id, registry) : id.position
            states.append((number, registry.instances[id].state))
        }
        return SnapshotLines.delta(
            base: base, registry.version, states, isMore: subscriptions[slot].news.hasStates)
    }

    /// By which number the first version of the protocol knows an instance: it counts them in order.
    private mutating func position(_ id: Registry.InstanceID, _ registry: borrowing Registry) -> Int {
        if positions == nil {
            var all = InstanceTable(Int32(0))
            var count: Int32 = 0
            for service in registry.order {
                for instance in registry.services[service].instances {
                    all.begin(instance)
                    all[instance] = count
                    count += 1
                }
            }
            positions = all
        }
        return Int(positions?[id] ?? 0)
    }
}

extension LineChannel.Fault {
    var reason: String? {
        switch self {
        case .closed: nil
        case .lineTooLong(let limit): "a line of more than \(limit) bytes"
        // A peer that ends without reading all is no news.
        case .system(.connectionReset), .system(.brokenPipe): nil
        case .system(let error): "\(error)"
        case .malformed(let reason): reason
        }
    }
}
