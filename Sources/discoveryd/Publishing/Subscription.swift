import Shared

/// What one connection to discovery.sock has been told and has said. Decides which line it gets next; `Publisher` has the sockets.
struct Subscription {
    /// Nil until it has said hello, or has been silent for long enough to count as an observer.
    private(set) var role: PeerRole?
    /// What is spoken with it: the newest version that both know. One that has said nothing gets the first.
    private(set) var protocolVersion = 1
    /// The whole snapshot that is on its way; nil when it has been sent.
    private var stream: SnapshotStream?
    /// The version it has been sent whole.
    private(set) var sent: SnapshotVersion?
    /// The version it says it has applied.
    private(set) var applied: SnapshotVersion?
    private var news = News()
    /// Forwarders have come or gone since it was told its share.
    var needsShare = false

    /// What a line has said.
    enum Said {
        case nothing
        case hello(PeerRole)
        case observed(service: String, instance: String, address: SocketAddress?, cause: String)
        /// A forwarder's answer.
        case told(Document.Value)
        /// An operator's.
        case command(Document.Value)
    }

    /// Why a peer is given up.
    struct Fault: Error, Equatable {
        let reason: String
        /// What it is told first.
        var refusal = ""
    }

    // MARK: What it says

    mutating func receive(_ line: [UInt8]) throws(Fault) -> Said {
        let message: Document.Value
        do {
            message = try JSONReader.parse(line).root
        } catch {
            throw Fault(reason: "a line is not JSON: \(error.message)")
        }
        switch message["type"]?.string {
        case "hello": return try receiveHello(message)
        case "applied":
            if let epoch = message["epoch"]?.unsigned, let number = message["number"]?.unsigned {
                applied = SnapshotVersion(epoch: epoch, number: number)
            }
        case "observed":
            guard role == .forwarder, let service = message["service"]?.string,
                let instance = message["instance"]?.string
            else { throw Fault(reason: "observed without service and instance") }
            return .observed(
                service: service, instance: instance,
                address: message["address"]?.string.flatMap(SocketAddress.init(hostPort:)),
                cause: message["cause"]?.string ?? "")
        case "told":
            guard role == .forwarder else { throw Fault(reason: "an answer of one that is no forwarder") }
            return .told(message)
        case "command":
            guard role == .operator else { throw Fault(reason: "a command of one that is no operator") }
            return .command(message)
        default: break  // A later protocol's message.
        }
        return .nothing
    }

    private mutating func receiveHello(_ message: Document.Value) throws(Fault) -> Said {
        guard let role = message["role"]?.string.flatMap(PeerRole.init(rawValue:)) else {
            throw Fault(reason: "hello without a known role (forwarder, observer, operator)")
        }
        let range = message["protocol"]?.elements.compactMap(\.unsigned) ?? []
        guard range.count == 2, let version = SnapshotLines.newestCommonVersion(range[0], range[1]) else {
            throw Fault(
                reason: "hello with another protocol version",
                refusal:
                    "protocols \(SnapshotLines.protocolVersions.lowerBound) to \(SnapshotLines.protocolVersions.upperBound) are spoken here"
            )
        }
        guard self.role == nil else { return .nothing }
        protocolVersion = version
        return .hello(role)
    }

    /// It is known now: all that it gets begins with a whole snapshot.
    mutating func begin(_ role: PeerRole) {
        self.role = role
        beginSnapshot()
    }

    // MARK: What it is told

    /// It gets a whole snapshot, whatever it had before.
    private mutating func beginSnapshot() {
        stream = SnapshotStream(protocolVersion: protocolVersion)
        news = News()
    }

    /// A snapshot has been sent whole, and nothing more is on its way.
    var isQuiet: Bool { role != nil && stream == nil }

    /// The states of these have changed.
    mutating func mark(_ changed: [Registry.InstanceID]) { news.mark(changed) }

    /// Services or instances have come, gone or changed. Who cannot be told in small, or has much to be told, gets a whole snapshot.
    mutating func mark(_ change: MembershipChange) {
        if !change.isEmpty { news.mark(change) }
        if protocolVersion < 2 || stream != nil || news.memberCount > Limits.membersPerChange { beginSnapshot() }
    }

    /// The next line; nil: it knows all. `share`: what it is told of its share, if it needs that. `places`: the instances' numbers in the
    /// first version of the protocol.
    mutating func nextLine(_ registry: borrowing Registry, _ share: Share?, _ places: inout SnapshotPlaces) -> [UInt8]?
    {
        guard role != .operator else { return nil }
        var told: [Registry.InstanceID] = []
        if let line = stream?.nextLine(registry, told: { told = $0 }) {
            news.told(told)
            if stream?.isDone ?? false {
                stream = nil
                sent = registry.version
            }
            return line
        }
        if let share {
            needsShare = false
            return SnapshotLines.share(share)
        }
        if news.hasMembers {
            if let lines = changeLines(registry) { return lines }
            beginSnapshot()
            return nextLine(registry, nil, &places)
        }
        return delta(registry, &places)
    }

    /// What has come, gone or changed, as one change. Nil: it is too much for one.
    private mutating func changeLines(_ registry: borrowing Registry) -> [UInt8]? {
        guard let base = sent else { return nil }
        let change = news.takeMembers()
        let lines = ChangeLines.make(
            change, registry, base: base, isMore: news.hasStates, limit: Limits.subscriberBufferBytes)
        if lines != nil { sent = registry.version }
        return lines
    }

    private mutating func delta(_ registry: borrowing Registry, _ places: inout SnapshotPlaces) -> [UInt8]? {
        guard news.hasVersion, let base = sent else { return nil }
        let ids = news.takeStates(Limits.instancesPerLine)
        // The marks may have gone out within the snapshot itself.
        if ids.isEmpty, base == registry.version { return nil }
        sent = registry.version
        var states: [(id: Int, state: InstanceState)] = []
        for id in ids {
            let number = protocolVersion < 2 ? places.place(of: id, registry) : id.position
            states.append((number, registry.instances[id].state))
        }
        return SnapshotLines.delta(base: base, registry.version, states, isMore: news.hasStates)
    }
}

/// By which numbers the first version of the protocol knows instances: it counts them in order.
struct SnapshotPlaces {
    private var places: InstanceTable<Int32>?

    /// Services or instances have come or gone, or stand in another order.
    mutating func forget() { places = nil }

    mutating func place(of id: Registry.InstanceID, _ registry: borrowing Registry) -> Int {
        if places == nil {
            var all = InstanceTable(Int32(0))
            var count: Int32 = 0
            for service in registry.order {
                for instance in registry.services[service].instances {
                    all.begin(instance)
                    all[instance] = count
                    count += 1
                }
            }
            places = all
        }
        return Int(places?[id] ?? 0)
    }
}
