import Shared

/// Sends snapshots and changes to every subscriber, each at its own pace and in its own version of the protocol: what it has not been able to
/// take is remembered as `News`, so there is no queue to overflow.
struct Publisher: ~Copyable {
    typealias Index = Slab<SubscriberConnection>.Index

    let connections = Slab<SubscriberConnection>(capacity: Limits.subscribers)
    private let log: Log
    /// Before the first round of polls there is nothing to publish.
    private(set) var isOpen = false
    /// Client connections of all forwarders, as they were counted last.
    private var clientConnections = 0
    private var places = SnapshotPlaces()

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

    private func count(_ matches: (Subscription) -> Bool) -> Int {
        var count = 0
        for index in connections.indices where matches(connections[index].subscription) { count += 1 }
        return count
    }

    // MARK: Connections

    /// Takes waiting connections. False: there are no descriptors for more, the listener must rest.
    mutating func accept(_ listener: Descriptor, _ loop: inout EventLoop) -> Bool {
        for _ in 0..<Limits.acceptsPerTurn {
            switch Socket.acceptNext(listener) {
            case .nobody: return true
            case .noRoom: return false
            case .connection(let descriptor, _): begin(descriptor, &loop)
            }
        }
        return true
    }

    private mutating func begin(_ descriptor: Descriptor, _ loop: inout EventLoop) {
        guard let peer = try? UnixSocket.peer(of: descriptor), peer.uid == Process.userID || peer.uid == 0 else {
            log.warning("discovery.sock: a connection of another user was refused")
            return descriptor.close()
        }
        guard !connections.isFull else {
            log.warning(
                "discovery.sock: more than \(Limits.subscribers) connections; one of pid \(peer.pid) was refused")
            _ = descriptor.send(SnapshotLines.refusal("too many connections; at most \(Limits.subscribers)").span)
            return descriptor.close()
        }
        let index = connections.insert(SubscriberConnection(LineChannel(descriptor), peer))
        let generation = connections.generation(index)
        do {
            try loop.add(
                descriptor, EventKind.subscriber.token(index, generation),
                [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            return drop(index, "it could not be registered: \(error)", &loop)
        }
        connections[index].timer = loop.schedule(
            EventKind.helloTimeout.token(index, generation), after: Limits.helloWaitMilliseconds)
    }

    private mutating func drop(_ index: Index, _ reason: String?, _ loop: inout EventLoop) {
        loop.cancel(&connections[index].timer)
        let wasForwarder = connections[index].subscription.role == .forwarder
        if let reason { log.warning("discovery.sock: pid \(connections[index].peer.pid) dropped: \(reason)") }
        connections[index].channel.descriptor.close()
        _ = connections.remove(index)
        if wasForwarder { shareOut() }
    }

    /// Silent for long enough: an observer.
    mutating func helloTimedOut(_ index: Index, _ registry: borrowing Registry, _ loop: inout EventLoop) {
        connections[index].timer = .none
        guard connections[index].subscription.role == nil, begin(index, .observer, &loop) else { return }
        advance(index, registry, &loop)
    }

    /// Reads what a subscriber said and sends what it can take. True: there may be more to read in a later turn.
    mutating func ready(
        _ index: Index, _ readiness: Readiness, _ registry: borrowing Registry, _ requests: inout [Request],
        _ loop: inout EventLoop
    ) -> Bool {
        var isMore = false
        if !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) {
            do throws(LineChannel.Fault) {
                isMore = try connections[index].channel.receive()
                while let line = try connections[index].channel.nextLine() {
                    guard receive(index, line, &requests, &loop) else { return false }
                }
            } catch {
                drop(index, error.reason, &loop)
                return false
            }
        }
        advance(index, registry, &loop)
        return isMore && connections.isInUse(index)
    }

    /// False: the connection is gone.
    private mutating func receive(
        _ index: Index, _ line: [UInt8], _ requests: inout [Request], _ loop: inout EventLoop
    ) -> Bool {
        let token = EventKind.subscriber.token(index, connections.generation(index))
        do throws(Subscription.Fault) {
            switch try connections[index].subscription.receive(line) {
            case .nothing: break
            case .hello(let role):
                loop.cancel(&connections[index].timer)
                return begin(index, role, &loop)
            case .observed(let service, let instance, let address, let cause):
                requests.append(.observed(service: service, instance: instance, address: address, cause: cause))
            case .told(let message): requests.append(.told(token, message))
            case .command(let message): requests.append(.command(OperatorCommand(message, subscriber: token)))
            }
            return true
        } catch {
            if !error.refusal.isEmpty {
                connections[index].channel.queue(SnapshotLines.refusal(error.refusal))
                _ = try? connections[index].channel.flush()
            }
            drop(index, error.reason, &loop)
            return false
        }
    }

    /// False: there are too many of its kind, and the connection is gone.
    private mutating func begin(_ index: Index, _ role: PeerRole, _ loop: inout EventLoop) -> Bool {
        // Forwarders find a place however many others are looking on.
        if role != .forwarder, count({ $0.role != nil && $0.role != .forwarder }) >= Limits.observers {
            connections[index].channel.queue(SnapshotLines.refusal("too many observers; at most \(Limits.observers)"))
            _ = try? connections[index].channel.flush()
            drop(index, "more than \(Limits.observers) observers", &loop)
            return false
        }
        connections[index].subscription.begin(role)
        log.debug(
            "discovery.sock: pid \(connections[index].peer.pid) is \(role == .forwarder ? "a" : "an") \(role.rawValue)")
        if role == .forwarder { shareOut() }
        return true
    }

    // MARK: Questions and answers

    /// Sends a question to all forwarders. Returns who will answer, with their pids.
    mutating func ask(_ line: [UInt8], _ loop: inout EventLoop) -> [Token: Int32] {
        var asked: [Token: Int32] = [:]
        for index in connections.indices
        where connections[index].subscription.role == .forwarder
            && connections[index].channel.pendingBytes < Limits.subscriberBufferBytes
        {
            let token = EventKind.subscriber.token(index, connections.generation(index))
            asked[token] = connections[index].peer.pid
            answer(token, line, &loop)
        }
        return asked
    }

    /// Answers an operator, if it is still there.
    mutating func answer(_ token: Token, _ line: [UInt8], _ loop: inout EventLoop) {
        guard let index = connections.index(of: token) else { return }
        connections[index].channel.queue(line)
        do throws(LineChannel.Fault) {
            _ = try connections[index].channel.flush()
        } catch {
            drop(index, error.reason, &loop)
        }
    }

    // MARK: Publishing

    /// The first round of polls is done: everybody gets a snapshot.
    mutating func open(_ registry: borrowing Registry, _ loop: inout EventLoop) {
        isOpen = true
        for index in connections.indices { advance(index, registry, &loop) }
    }

    /// Marks changed instances for all and sends to whoever can take it.
    mutating func publish(_ changed: [Registry.InstanceID], _ registry: borrowing Registry, _ loop: inout EventLoop) {
        for index in connections.indices where connections[index].subscription.role != nil {
            connections[index].subscription.mark(changed)
            advance(index, registry, &loop)
        }
    }

    /// Services or instances have come, gone or changed.
    mutating func publish(_ change: MembershipChange, _ registry: borrowing Registry, _ loop: inout EventLoop) {
        guard !change.isEmpty || change.hasOtherOrder else { return }
        places.forget()
        for index in connections.indices where connections[index].subscription.role != nil {
            connections[index].subscription.mark(change)
            advance(index, registry, &loop)
        }
    }

    mutating func heartbeat(_ registry: borrowing Registry, _ loop: inout EventLoop) {
        for index in connections.indices where connections[index].subscription.isQuiet {
            if connections[index].channel.pendingBytes == 0 {
                connections[index].channel.queue(SnapshotLines.ping(registry.version))
            }
            advance(index, registry, &loop)
        }
    }

    /// Sends as much as the socket takes; what is encoded ahead is bounded.
    private mutating func advance(_ index: Index, _ registry: borrowing Registry, _ loop: inout EventLoop) {
        guard isOpen, connections[index].subscription.role != nil else { return }
        let connections = connections
        do throws(LineChannel.Fault) {
            while try connections[index].channel.flush() {
                let share = connections[index].subscription.needsShare ? share(of: index) : nil
                let line = connections[index].subscription.nextLine(registry, share, &places)
                guard let line else { return }
                connections[index].channel.queue(line)
            }
        } catch {
            drop(index, error.reason, &loop)
        }
    }

    // MARK: Shares

    private func share(of index: Index) -> Share {
        var (place, count) = (0, 0)
        for other in connections.indices where connections[other].subscription.role == .forwarder {
            if other.rawValue < index.rawValue { place += 1 }
            count += 1
        }
        return Share(index: place, of: count, connections: clientConnections)
    }

    /// Every forwarder is told its share anew, with what is sent next.
    private func shareOut() {
        for index in connections.indices where connections[index].subscription.role == .forwarder {
            connections[index].subscription.needsShare = true
        }
    }

    /// How many client connections all forwarders have: said with the next share, and at once where it is quite another number.
    mutating func count(connections: Int) {
        let before = clientConnections
        clientConnections = connections
        if abs(connections - before) * 8 > max(connections, before) { shareOut() }
    }

    var awaitsShare: Bool {
        for index in connections.indices where connections[index].subscription.needsShare { return true }
        return false
    }

    /// Sends what a coming or going forwarder has left to be said.
    mutating func settle(_ registry: borrowing Registry, _ loop: inout EventLoop) {
        for index in connections.indices where connections[index].subscription.needsShare {
            advance(index, registry, &loop)
        }
    }
}

extension LineChannel.Fault {
    fileprivate var reason: String? {
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
