/// The subscriber's side: takes lines, gives whole snapshots, changes and deltas. Nothing half-received is ever seen outside.
public struct SnapshotAssembler: Sendable {
    public enum Output: Sendable {
        /// More lines are needed.
        case nothing
        case snapshot(Snapshot)
        /// The whole of it is to be applied at once.
        case change(SnapshotChange)
        /// `isMore`: further parts of the same version follow.
        case delta(SnapshotVersion, [(id: Int, state: InstanceState)], isMore: Bool)
        case ping(SnapshotVersion)
        case share(Share)
        case ask(ForwarderQuestion)
        /// The other side refused us, with its reason.
        case refused(String)
    }

    /// Why a line cannot be used; the connection is given up and begun anew.
    public struct Fault: Error, Equatable, Sendable {
        public let reason: String
        public init(reason: String) { self.reason = reason }
    }

    private var building: Snapshot?
    private var change: SnapshotChange?
    /// Where services are in what is being built, by their ids.
    private var places: [Int: Int] = [:]
    private var expectedServices = 0
    private var expectedInstances = 0
    private var receivedInstances = 0
    private var digest = LineDigest()
    private var version: SnapshotVersion?

    public init() {}

    /// `line` with its line break.
    public mutating func receive(_ line: [UInt8]) throws(Fault) -> Output {
        let document: Document
        do {
            document = try JSONReader.parse(line)
        } catch {
            throw Fault(reason: "a line is not JSON: \(error.message)")
        }
        let message = document.root
        switch message["type"]?.string {
        case "snapshot":
            switch message["phase"]?.string {
            case "begin": try begin(message)
            case "end": return .snapshot(try end(message))
            default: throw Fault(reason: "a snapshot line without a known phase")
            }
        case "change":
            switch message["phase"]?.string {
            case "begin": try beginChange(message)
            case "end": return .change(try endChange(message))
            default: throw Fault(reason: "a change without a known phase")
            }
        case "gone":
            guard change != nil else { throw Fault(reason: "a gone line without a change") }
            change?.goneServices = try Self.ids(message["services"], Limits.registeredServices)
            change?.goneInstances = try Self.ids(message["instances"], Limits.registeredInstances)
        case "settings":
            digest.add(line)
            if change != nil { change?.settings = ForwarderSettings(message) }
            building?.settings = ForwarderSettings(message)
        case "service":
            digest.add(line)
            try service(message)
        case "paths":
            digest.add(line)
            try paths(message)
        case "instances":
            digest.add(line)
            try instances(message)
        case "delta": return try delta(message)
        case "ping": return .ping(try version(message))
        case "share":
            return .share(
                Share(
                    index: Int(clamping: message["index"]?.unsigned ?? 0),
                    of: min(Int(clamping: message["forwarders"]?.unsigned ?? 1), Limits.forwarders),
                    connections: min(Int(clamping: message["connections"]?.unsigned ?? 0), Int(Int32.max))))
        case "ask":
            if let question = ForwarderQuestion(message) { return .ask(question) }
        case "error": return .refused(message["reason"]?.string ?? "no reason given")
        default: break  // A later protocol's message.
        }
        return .nothing
    }

    private func version(_ message: Document.Value) throws(Fault) -> SnapshotVersion {
        guard let epoch = message["epoch"]?.unsigned, let number = message["number"]?.unsigned else {
            throw Fault(reason: "a message without epoch and number")
        }
        return SnapshotVersion(epoch: epoch, number: number)
    }

    private static func ids(_ list: Document.Value?, _ limit: Int) throws(Fault) -> [Int] {
        var ids: [Int] = []
        guard let list else { return [] }
        for value in list.elements {
            guard let id = value.unsigned, id < UInt64(limit) else { throw Fault(reason: "an id that is none") }
            ids.append(Int(id))
        }
        return ids
    }

    private mutating func begin(_ message: Document.Value) throws(Fault) {
        change = nil
        places = [:]
        building = Snapshot(version: try version(message), services: [])
        expectedServices = Int(clamping: message["services"]?.unsigned ?? 0)
        expectedInstances = Int(clamping: message["instances"]?.unsigned ?? 0)
        guard expectedServices <= Limits.configuredServices, expectedInstances <= Limits.registeredInstances else {
            throw Fault(
                reason:
                    "a snapshot of \(expectedServices) services and \(expectedInstances) instances; at most \(Limits.configuredServices) and \(Limits.registeredInstances) are taken"
            )
        }
        receivedInstances = 0
        digest = LineDigest()
    }

    private mutating func beginChange(_ message: Document.Value) throws(Fault) {
        let next = try version(message)
        guard building == nil, let base = message["base"]?.unsigned,
            version == SnapshotVersion(epoch: next.epoch, number: base)
        else { throw Fault(reason: "a change that does not follow what was received") }
        change = SnapshotChange(version: next)
    }

    private mutating func endChange(_ message: Document.Value) throws(Fault) -> SnapshotChange {
        let end = try version(message)
        guard var change, change.version == end else { throw Fault(reason: "an end of a change without its begin") }
        self.change = nil
        change.isMore = message["more"]?.boolean ?? false
        version = end
        return change
    }

    private mutating func service(_ message: Document.Value) throws(Fault) {
        guard let name = message["name"]?.string, let id = message["id"]?.unsigned,
            id < UInt64(Limits.registeredServices)
        else { throw Fault(reason: "a service without id and name") }
        let service = SnapshotService(
            id: Int(id), name: name, paths: message["paths"]?.elements.compactMap(\.string) ?? [],
            policy: ServicePolicy(message))
        if change != nil {
            guard change?.services.count ?? 0 < Limits.membersPerChange else {
                throw Fault(reason: "a change of more than \(Limits.membersPerChange) services")
            }
            change?.services.append(service)
            return
        }
        guard let count = building?.services.count, count < expectedServices, places[Int(id)] == nil else {
            throw Fault(reason: "a service line out of order")
        }
        places[Int(id)] = count
        building?.services.append(service)
    }

    /// More paths of the last service.
    private mutating func paths(_ message: Document.Value) throws(Fault) {
        let paths = message["paths"]?.elements.compactMap(\.string) ?? []
        let id = message["service"]?.unsigned.map { Int(clamping: $0) }
        if let last = change?.services.indices.last, change?.services[last].id == id {
            change?.services[last].paths += paths
        } else if change == nil, let last = building?.services.indices.last, building?.services[last].id == id {
            building?.services[last].paths += paths
        } else {
            throw Fault(reason: "a paths line out of order")
        }
    }

    private mutating func instances(_ message: Document.Value) throws(Fault) {
        guard let service = message["service"]?.unsigned.map({ Int(clamping: $0) }), let list = message["instances"],
            change != nil || places[service] != nil
        else { throw Fault(reason: "an instances line out of order") }
        for value in list.elements {
            guard let id = value["id"]?.unsigned, id < UInt64(Limits.registeredInstances),
                let url = (value["name"] ?? value["url"])?.string
            else { throw Fault(reason: "an instance without id and url") }
            let instance = SnapshotInstance(
                id: Int(id), url: url, address: value["address"]?.string.flatMap(SocketAddress.init(hostPort:)),
                isOneOfSeveral: value["several"]?.boolean ?? false,
                authority: value["authority"]?.string ?? url,
                priority: value["priority"]?.string.flatMap(Priority.init(name:)) ?? .medium,
                tier: min(Int(clamping: value["tier"]?.unsigned ?? 0), 255),
                weight: min(max(1, Int(clamping: value["weight"]?.unsigned ?? 1)), 100), state: try Self.state(value))
            if change != nil {
                guard change?.instances.count ?? 0 < Limits.membersPerChange else {
                    throw Fault(reason: "a change of more than \(Limits.membersPerChange) instances")
                }
                change?.instances.append(SnapshotChange.Member(service: service, instance))
            } else if let place = places[service], receivedInstances < expectedInstances {
                building?.services[place].instances.append(instance)
                receivedInstances += 1
            } else {
                throw Fault(reason: "more instances than were announced")
            }
        }
    }

    private mutating func end(_ message: Document.Value) throws(Fault) -> Snapshot {
        guard var snapshot = building else { throw Fault(reason: "an end without a begin") }
        building = nil
        places = [:]
        guard snapshot.services.count == expectedServices, receivedInstances == expectedInstances else {
            throw Fault(
                reason:
                    "a snapshot with \(snapshot.services.count) services and \(receivedInstances) instances where \(expectedServices) and \(expectedInstances) were announced"
            )
        }
        guard message["digest"]?.string == digest.text else {
            throw Fault(reason: "a snapshot whose digest does not match its lines")
        }
        snapshot.version = try version(message)
        version = snapshot.version
        return snapshot
    }

    private mutating func delta(_ message: Document.Value) throws(Fault) -> Output {
        let next = try version(message)
        guard let base = message["base"]?.unsigned, version == SnapshotVersion(epoch: next.epoch, number: base) else {
            throw Fault(reason: "a delta that does not follow what was received")
        }
        var changes: [(id: Int, state: InstanceState)] = []
        for value in message["instances"]?.elements ?? message.elements {
            guard let id = value["id"]?.unsigned, id < UInt64(Limits.registeredInstances) else {
                throw Fault(reason: "a delta for an id that is none")
            }
            changes.append((Int(id), try Self.state(value)))
        }
        version = next
        return .delta(next, changes, isMore: message["more"]?.boolean ?? false)
    }

    private static func state(_ value: Document.Value) throws(Fault) -> InstanceState {
        guard let status = value["status"]?.string.flatMap(InstanceStatus.init(rawValue:)) else {
            throw Fault(reason: "an instance without a known status")
        }
        // A discoveryd of before may name several: then it is the first.
        var address: SocketAddress?
        for element in (value["addresses"]?.elements ?? value.elements).prefix(1) {
            guard let text = element.string, let first = SocketAddress(hostPort: text) else {
                throw Fault(reason: "an address that is none: \(Text.shown(element.bytes))")
            }
            address = first
        }
        return InstanceState(
            status: status, suspect: value["suspect"]?.boolean ?? false, draining: value["draining"]?.boolean ?? false,
            availability: value["availability"]?.unsigned.map { min(100, Int(clamping: $0)) }, address: address)
    }
}
