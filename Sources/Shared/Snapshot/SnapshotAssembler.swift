/// The subscriber's side: takes lines, gives whole snapshots and deltas. Nothing half-received is ever seen outside.
public struct SnapshotAssembler: Sendable {
    public enum Output: Sendable {
        /// More lines are needed.
        case nothing
        case snapshot(Snapshot)
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
        case "settings":
            digest.add(line)
            building?.settings = ForwarderSettings(message)
        case "service":
            digest.add(line)
            try service(message)
        case "paths":
            digest.add(line)
            guard let service = message["service"]?.unsigned, let count = building?.services.count,
                count > 0, service == UInt64(count - 1)
            else { throw Fault(reason: "a paths line out of order") }
            building?.services[count - 1].paths += message["paths"]?.elements.compactMap(\.string) ?? []
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

    private mutating func begin(_ message: Document.Value) throws(Fault) {
        building = Snapshot(version: try version(message), services: [])
        expectedServices = Int(clamping: message["services"]?.unsigned ?? 0)
        expectedInstances = Int(clamping: message["instances"]?.unsigned ?? 0)
        guard expectedServices <= Limits.configuredServices, expectedInstances <= Limits.configuredInstances else {
            throw Fault(
                reason:
                    "a snapshot of \(expectedServices) services and \(expectedInstances) instances; at most \(Limits.configuredServices) and \(Limits.configuredInstances) are taken"
            )
        }
        receivedInstances = 0
        digest = LineDigest()
    }

    private mutating func service(_ message: Document.Value) throws(Fault) {
        guard building != nil, let name = message["name"]?.string, let id = message["id"]?.unsigned,
            id == UInt64(building?.services.count ?? 0), building?.services.count ?? 0 < expectedServices
        else { throw Fault(reason: "a service line out of order") }
        let paths = message["paths"]?.elements.compactMap(\.string) ?? []
        building?.services.append(SnapshotService(name: name, paths: paths, policy: ServicePolicy(message)))
    }

    private mutating func instances(_ message: Document.Value) throws(Fault) {
        guard let service = message["service"]?.unsigned, let list = message["instances"],
            let services = building?.services.count,
            service < UInt64(services)
        else { throw Fault(reason: "an instances line out of order") }
        for value in list.elements {
            guard let id = value["id"]?.unsigned, id == UInt64(receivedInstances),
                receivedInstances < expectedInstances,
                let url = value["url"]?.string
            else { throw Fault(reason: "an instance out of order") }
            let instance = SnapshotInstance(
                id: receivedInstances, url: url, authority: value["authority"]?.string ?? url,
                priority: value["priority"]?.string.flatMap(Priority.init(name:)) ?? .medium,
                weight: min(max(1, Int(clamping: value["weight"]?.unsigned ?? 1)), 100), state: try Self.state(value))
            building?.services[Int(service)].instances.append(instance)
            receivedInstances += 1
        }
    }

    private mutating func end(_ message: Document.Value) throws(Fault) -> Snapshot {
        guard var snapshot = building else { throw Fault(reason: "an end without a begin") }
        building = nil
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
            guard let id = value["id"]?.unsigned, id < UInt64(expectedInstances) else {
                throw Fault(reason: "a delta for an unknown instance")
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
        var addresses: [SocketAddress] = []
        for element in value["addresses"]?.elements ?? value.elements {
            guard let text = element.string, let address = SocketAddress(hostPort: text),
                addresses.count < Limits.addressesPerName
            else {
                throw Fault(reason: "an address that is none: \(Text.shown(element.bytes))")
            }
            addresses.append(address)
        }
        return InstanceState(
            status: status, suspect: value["suspect"]?.boolean ?? false, draining: value["draining"]?.boolean ?? false,
            availability: value["availability"]?.unsigned.map { min(100, Int(clamping: $0)) }, addresses: addresses)
    }
}
