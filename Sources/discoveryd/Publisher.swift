import Shared

/// One connection to discovery.sock.
struct Subscriber: ~Copyable {
    var channel: LineChannel
    let peer: PeerCredentials
    /// Nil until it has said hello, or has been silent for long enough to count as an observer.
    var role: PeerRole?
    var pid: Int32 = 0
    var timer = TimerWheel.ID.none
    /// The whole snapshot that is on its way; nil when it has been sent.
    var stream: SnapshotStream? = SnapshotStream()
    /// The version it has been sent whole.
    var sent: SnapshotVersion?
    /// The version it says it has applied.
    var applied: SnapshotVersion?
    /// One bit per instance: changed since it was sent.
    var changed: [UInt64] = []
    var hasChanges = false
    /// Forwarders have come or gone since it was told its share.
    var needsShare = false

    init(_ channel: LineChannel, _ peer: PeerCredentials) {
        self.channel = channel
        self.peer = peer
    }
}

/// Sends snapshots and deltas to every subscriber, each at its own pace: what it has not been able to take is remembered
/// as one bit per instance, so there is no queue to overflow.
struct Publisher: ~Copyable {
    let subscribers = Slab<Subscriber>(capacity: Limits.subscribers)
    private let log: Log
    /// Before the first round of polls there is nothing to publish.
    private(set) var isOpen = false
    /// Client connections of all forwarders, as they were counted last.
    private var connections = 0
    /// What has arrived for the owner to act upon.
    enum Request: Sendable {
        case observed(service: String, instance: String, cause: String)
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

    private func count(_ matches: (borrowing Subscriber) -> Bool) -> Int {
        var count = 0
        for slot in subscribers.indices where matches(subscribers[slot]) {
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
            guard !subscribers.isFull else {
                log.warning(
                    "discovery.sock: more than \(Limits.subscribers) connections; one of pid \(peer.pid) was refused")
                _ = descriptor.send(SnapshotLines.refusal("too many connections; at most \(Limits.subscribers)").span)
                descriptor.close()
                continue
            }
            let slot = subscribers.insert(Subscriber(LineChannel(descriptor), peer))
            let generation = subscribers.generation(slot)
            do {
                try loop.add(
                    descriptor, EventKind.subscriber.token(slot, generation),
                    [.readable, .writable, .peerClosed, .edgeTriggered])
            } catch {
                drop(slot, "it could not be registered: \(error)", &loop)
                continue
            }
            subscribers[slot].timer = loop.schedule(
                EventKind.helloTimeout.token(slot, generation), after: Limits.helloWaitMilliseconds)
        }
        return true
    }

    mutating func drop(_ slot: Slab<Subscriber>.Index, _ reason: String?, _ loop: inout EventLoop) {
        loop.cancel(&subscribers[slot].timer)
        let wasForwarder = subscribers[slot].role == .forwarder
        defer { if wasForwarder { shareOut() } }
        if let reason { log.warning("discovery.sock: pid \(subscribers[slot].peer.pid) dropped: \(reason)") }
        subscribers[slot].channel.descriptor.close()
        _ = subscribers.remove(slot)
    }

    /// Silent for long enough: an observer.
    mutating func helloTimedOut(_ slot: Slab<Subscriber>.Index, _ registry: Registry, _ loop: inout EventLoop) {
        subscribers[slot].timer = .none
        guard subscribers[slot].role == nil else { return }
        do throws(LineChannel.Fault) {
            try begin(slot, .observer, registry)
        } catch {
            return drop(slot, error.reason, &loop)
        }
        advance(slot, registry, &loop)
    }

    /// Reads what a subscriber said and sends what it can take. True: there may be more to read in a later turn.
    mutating func ready(
        _ slot: Slab<Subscriber>.Index, _ readiness: Readiness, _ registry: Registry, _ requests: inout [Request],
        _ loop: inout EventLoop
    ) -> Bool {
        var isMore = false
        do throws(LineChannel.Fault) {
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) {
                isMore = try subscribers[slot].channel.receive()
                try receiveLines(slot, registry, &requests, &loop)
            }
        } catch {
            drop(slot, error.reason, &loop)
            return false
        }
        advance(slot, registry, &loop)
        return isMore && subscribers.isInUse(slot)
    }

    private mutating func receiveLines(
        _ slot: Slab<Subscriber>.Index, _ registry: Registry, _ requests: inout [Request], _ loop: inout EventLoop
    ) throws(LineChannel.Fault) {
        while let line = try subscribers[slot].channel.nextLine() {
            if let request = try receive(slot, line, registry, &loop) { requests.append(request) }
        }
    }

    private mutating func receive(
        _ slot: Slab<Subscriber>.Index, _ line: [UInt8], _ registry: Registry, _ loop: inout EventLoop
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
            guard range.count == 2, range[0] <= UInt64(SnapshotLines.protocolVersion),
                range[1] >= UInt64(SnapshotLines.protocolVersion)
            else {
                subscribers[slot].channel.queue(
                    SnapshotLines.refusal("protocol \(SnapshotLines.protocolVersion) is spoken here"))
                _ = try subscribers[slot].channel.flush()
                throw LineChannel.Fault.malformed("hello with another protocol version")
            }
            subscribers[slot].pid = subscribers[slot].peer.pid
            loop.cancel(&subscribers[slot].timer)
            if subscribers[slot].role == nil { try begin(slot, role, registry) }
        case "applied":
            if let epoch = message["epoch"]?.unsigned, let number = message["number"]?.unsigned {
                subscribers[slot].applied = SnapshotVersion(epoch: epoch, number: number)
            }
        case "observed":
            guard subscribers[slot].role == .forwarder, let service = message["service"]?.string,
                let instance = message["instance"]?.string
            else { throw LineChannel.Fault.malformed("observed without service and instance") }
            return .observed(service: service, instance: instance, cause: message["cause"]?.string ?? "")
        case "told":
            guard subscribers[slot].role == .forwarder else {
                throw LineChannel.Fault.malformed("an answer of one that is no forwarder")
            }
            return .told(EventKind.subscriber.token(slot, subscribers.generation(slot)), message)
        case "command":
            guard subscribers[slot].role == .operator else {
                throw LineChannel.Fault.malformed("a command of one that is no operator")
            }
            return .command(
                OperatorCommand(
                    message, subscriber: EventKind.subscriber.token(slot, subscribers.generation(slot))))
        default: break  // A later protocol's message.
        }
        return nil
    }

    /// Sends a question to all forwarders. Returns who will answer, with their pids.
    mutating func ask(_ line: [UInt8], _ loop: inout EventLoop) -> [Token: Int32] {
        var asked: [Token: Int32] = [:]
        for slot in subscribers.indices
        where subscribers[slot].role == .forwarder
            && subscribers[slot].channel.pendingBytes < Limits.subscriberBufferBytes
        {
            let token = EventKind.subscriber.token(slot, subscribers.generation(slot))
            asked[token] = subscribers[slot].pid
            answer(token, line, &loop)
        }
        return asked
    }

    /// Answers an operator, if it is still there.
    mutating func answer(_ token: Token, _ line: [UInt8], _ loop: inout EventLoop) {
        guard subscribers.holds(.init(token.slot), token.generation) else { return }
        subscribers[.init(token.slot)].channel.queue(line)
        do throws(LineChannel.Fault) {
            _ = try subscribers[.init(token.slot)].channel.flush()
        } catch {
            drop(.init(token.slot), error.reason, &loop)
        }
    }

    // MARK: Sending

    /// The first round of polls is done: everybody gets a snapshot.
    mutating func open(_ registry: Registry, _ loop: inout EventLoop) {
        isOpen = true
        for slot in subscribers.indices where subscribers[slot].role != nil {
            advance(slot, registry, &loop)
        }
    }

    private mutating func begin(_ slot: Slab<Subscriber>.Index, _ role: PeerRole, _ registry: Registry)
        throws(LineChannel.Fault)
    {
        // Forwarders find a place however many others are looking on.
        if role != .forwarder, count({ $0.role != nil && $0.role != .forwarder }) >= Limits.observers {
            subscribers[slot].channel.queue(SnapshotLines.refusal("too many observers; at most \(Limits.observers)"))
            _ = try subscribers[slot].channel.flush()
            throw .malformed("more than \(Limits.observers) observers")
        }
        subscribers[slot].role = role
        subscribers[slot].changed = [UInt64](repeating: 0, count: (registry.instances.count + 63) / 64)
        log.debug(
            "discovery.sock: pid \(subscribers[slot].peer.pid) is \(role == .forwarder ? "a" : "an") \(role.rawValue)")
        if role == .forwarder { shareOut() }
    }

    /// Marks changed instances for all and sends to whoever can take it.
    mutating func publish(_ changes: [Int], _ registry: Registry, _ loop: inout EventLoop) {
        for slot in subscribers.indices where subscribers[slot].role != nil {
            for id in changes { subscribers[slot].changed[id / 64] |= 1 << UInt64(id % 64) }
            subscribers[slot].hasChanges = true
            advance(slot, registry, &loop)
        }
    }

    /// The configuration has changed: everybody gets a whole snapshot.
    mutating func restart(_ registry: Registry, _ loop: inout EventLoop) {
        for slot in subscribers.indices where subscribers[slot].role != nil {
            subscribers[slot].stream = SnapshotStream()
            subscribers[slot].changed = [UInt64](repeating: 0, count: (registry.instances.count + 63) / 64)
            subscribers[slot].hasChanges = false
            advance(slot, registry, &loop)
        }
    }

    mutating func heartbeat(_ registry: Registry, _ loop: inout EventLoop) {
        for slot in subscribers.indices where subscribers[slot].stream == nil {
            if subscribers[slot].channel.pendingBytes == 0 {
                subscribers[slot].channel.queue(SnapshotLines.ping(registry.version))
            }
            advance(slot, registry, &loop)
        }
    }

    /// Encodes and sends as much as the socket takes; what is encoded ahead is bounded.
    private mutating func advance(_ slot: Slab<Subscriber>.Index, _ registry: Registry, _ loop: inout EventLoop) {
        guard isOpen, subscribers[slot].role != nil else { return }
        do {
            while try subscribers[slot].channel.flush() {
                guard subscribers[slot].role != .operator, let line = nextLine(slot, registry) else { return }
                subscribers[slot].channel.queue(line)
            }
        } catch {
            drop(slot, error.reason, &loop)
        }
    }

    private mutating func nextLine(_ slot: Slab<Subscriber>.Index, _ registry: Registry) -> [UInt8]? {
        let subscribers = subscribers
        let line = subscribers[slot].stream?.nextLine(registry) { ids in
            for id in ids { subscribers[slot].changed[id / 64] &= ~(1 << UInt64(id % 64)) }
        }
        if let line {
            if subscribers[slot].stream?.isDone ?? false {
                subscribers[slot].stream = nil
                subscribers[slot].sent = registry.version
            }
            return line
        }
        if subscribers[slot].needsShare {
            subscribers[slot].needsShare = false
            return share(slot)
        }
        return delta(slot, registry)
    }

    private func share(_ slot: Slab<Subscriber>.Index) -> [UInt8] {
        var index = 0
        for other in subscribers.indices where other.rawValue < slot.rawValue && subscribers[other].role == .forwarder {
            index += 1
        }
        return SnapshotLines.share(Share(index: index, of: forwarders, connections: connections))
    }

    /// Every forwarder is told its share anew, with what is sent next.
    private func shareOut() {
        for slot in subscribers.indices where subscribers[slot].role == .forwarder {
            subscribers[slot].needsShare = true
        }
    }

    /// How many client connections all forwarders have: said with the next share, and at once where it is quite another number.
    mutating func note(connections: Int) {
        let before = self.connections
        self.connections = connections
        if abs(connections - before) * 8 > max(connections, before) { shareOut() }
    }

    var awaitsShare: Bool {
        for slot in subscribers.indices where subscribers[slot].needsShare {
            return true
        }
        return false
    }

    /// Sends what a coming or going forwarder has left to be said.
    mutating func settle(_ registry: Registry, _ loop: inout EventLoop) {
        for slot in subscribers.indices where subscribers[slot].needsShare {
            advance(slot, registry, &loop)
        }
    }

    private func delta(_ slot: Slab<Subscriber>.Index, _ registry: Registry) -> [UInt8]? {
        guard subscribers[slot].hasChanges, let base = subscribers[slot].sent else { return nil }
        var ids: [Int] = []
        var isMore = false
        for word in subscribers[slot].changed.indices where subscribers[slot].changed[word] != 0 {
            while subscribers[slot].changed[word] != 0 {
                guard ids.count < Limits.instancesPerLine else {
                    isMore = true
                    break
                }
                let bit = subscribers[slot].changed[word].trailingZeroBitCount
                subscribers[slot].changed[word] &= ~(1 << UInt64(bit))
                ids.append(word * 64 + bit)
            }
            if isMore { break }
        }
        subscribers[slot].hasChanges = isMore
        // The marks may have gone out within the snapshot itself.
        if ids.isEmpty, base == registry.version { return nil }
        subscribers[slot].sent = registry.version
        return SnapshotLines.delta(
            base: base, registry.version, ids.map { ($0, registry.instances[$0].state) }, isMore: isMore)
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
