/// discoveryd's side of the protocol: messages as lines of JSON. See README.md in this folder.
public enum SnapshotLines {
    /// The protocol versions spoken.
    public static let protocolVersions = 1...2

    /// The newest version that is spoken here and is in the range that a peer names; nil: there is none.
    public static func newestCommonVersion(_ oldest: UInt64, _ newest: UInt64) -> Int? {
        let version = min(Int(clamping: newest), protocolVersions.upperBound)
        return version >= Int(clamping: oldest) && protocolVersions.contains(version) ? version : nil
    }

    public static func begin(_ version: SnapshotVersion, _ protocolVersion: Int, services: Int, instances: Int)
        -> [UInt8]
    {
        line("snapshot") {
            $0.field("phase", "begin")
            $0.field("protocol", protocolVersion)
            $0.field("epoch", version.epoch)
            $0.field("number", version.number)
            $0.field("services", services)
            $0.field("instances", instances)
        }
    }

    /// What every forwarder does alike, whatever the service; only what differs from the defaults.
    public static func settings(_ settings: ForwarderSettings) -> [UInt8] {
        line("settings") { settings.write(to: &$0) }
    }

    public static func service(
        id: Int, name: String, paths: some Sequence<String>, policy: ServicePolicy = ServicePolicy()
    ) -> [UInt8] {
        line("service") {
            $0.field("id", id)
            $0.field("name", name)
            $0.key("paths")
            $0.beginArray()
            for path in paths { $0.value(path) }
            $0.endArray()
            policy.write(to: &$0)
        }
    }

    /// More API paths of a service that has many.
    public static func paths(service: Int, _ paths: some Sequence<String>) -> [UInt8] {
        line("paths") {
            $0.field("service", service)
            $0.key("paths")
            $0.beginArray()
            for path in paths { $0.value(path) }
            $0.endArray()
        }
    }

    /// In the first version of the protocol an instance's url is its own: where a name has several addresses, it is the address.
    public static func instances(
        service: Int, _ instances: some Sequence<SnapshotInstance>, protocolVersion: Int = protocolVersions.upperBound
    ) -> [UInt8] {
        line("instances") {
            $0.field("service", service)
            $0.key("instances")
            $0.beginArray()
            for instance in instances {
                $0.beginObject()
                $0.field("id", instance.id)
                let address = instance.address.map(\.description)
                if protocolVersion < 2, instance.isOneOfSeveral, let address {
                    $0.field("url", address)
                    $0.field("name", instance.url)
                } else {
                    $0.field("url", instance.url)
                }
                if let address { $0.field("address", address) }
                if instance.isOneOfSeveral { $0.field("several", true) }
                if instance.authority != instance.url || protocolVersion < 2 && instance.isOneOfSeveral {
                    $0.field("authority", instance.authority)
                }
                $0.field("priority", instance.priority.name)
                if instance.tier != 0 { $0.field("tier", instance.tier) }
                $0.field("weight", instance.weight)
                write(instance.state, to: &$0)
                $0.endObject()
            }
            $0.endArray()
        }
    }

    /// `digest`: of all lines between begin and end, their line breaks included (`LineDigest`).
    public static func end(_ version: SnapshotVersion, digest: LineDigest) -> [UInt8] {
        line("snapshot") {
            $0.field("phase", "end")
            $0.field("epoch", version.epoch)
            $0.field("number", version.number)
            $0.field("digest", digest.text)
        }
    }

    /// Services and instances come, go or change: from version 2 on.
    public static func beginChange(base: SnapshotVersion, _ version: SnapshotVersion) -> [UInt8] {
        line("change") {
            $0.field("phase", "begin")
            $0.field("epoch", version.epoch)
            $0.field("base", base.number)
            $0.field("number", version.number)
        }
    }

    /// `isMore`: deltas of the same version follow.
    public static func endChange(_ version: SnapshotVersion, isMore: Bool) -> [UInt8] {
        line("change") {
            $0.field("phase", "end")
            $0.field("epoch", version.epoch)
            $0.field("number", version.number)
            if isMore { $0.field("more", true) }
        }
    }

    /// Ids that name nothing any more.
    public static func gone(services: [Int], instances: [Int]) -> [UInt8] {
        line("gone") {
            $0.key("services")
            $0.beginArray()
            for id in services { $0.value(id) }
            $0.endArray()
            $0.key("instances")
            $0.beginArray()
            for id in instances { $0.value(id) }
            $0.endArray()
        }
    }

    public static func delta(
        base: SnapshotVersion, _ version: SnapshotVersion, _ changes: some Sequence<(id: Int, state: InstanceState)>,
        isMore: Bool = false
    ) -> [UInt8] {
        line("delta") {
            $0.field("epoch", version.epoch)
            $0.field("base", base.number)
            $0.field("number", version.number)
            // Only with the last part is the version complete.
            if isMore { $0.field("more", true) }
            $0.key("instances")
            $0.beginArray()
            for (id, state) in changes {
                $0.beginObject()
                $0.field("id", id)
                write(state, to: &$0)
                $0.endObject()
            }
            $0.endArray()
        }
    }

    public static func ping(_ version: SnapshotVersion) -> [UInt8] {
        line("ping") {
            $0.field("epoch", version.epoch)
            $0.field("number", version.number)
        }
    }

    /// Which of how many forwarders the receiver is: the limits are shared out by it.
    public static func share(_ share: Share) -> [UInt8] {
        line("share") {
            $0.field("index", share.index)
            $0.field("forwarders", share.of)
            $0.field("connections", share.connections)
        }
    }

    public static func refusal(_ reason: String) -> [UInt8] {
        line("error") { $0.field("reason", reason) }
    }

    /// One message: an object with its type.
    public static func line(_ type: StaticString, _ body: (inout JSONWriter) -> Void) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("type", type.description)
        body(&writer)
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }

    private static func write(_ state: InstanceState, to writer: inout JSONWriter) {
        writer.field("status", state.status.rawValue)
        writer.field("suspect", state.suspect)
        writer.field("draining", state.draining)
        writer.key("availability")
        if let availability = state.availability { writer.value(availability) } else { writer.null() }
        writer.key("addresses")
        writer.beginArray()
        if let address = state.address { writer.value(address.description) }
        writer.endArray()
    }
}

/// What a subscriber says.
public enum SubscriberLines {
    public static func hello(role: PeerRole, pid: Int32, index: Int?) -> [UInt8] {
        SnapshotLines.line("hello") {
            $0.field("role", role.rawValue)
            $0.key("protocol")
            $0.beginArray()
            $0.value(SnapshotLines.protocolVersions.lowerBound)
            $0.value(SnapshotLines.protocolVersions.upperBound)
            $0.endArray()
            $0.field("pid", pid)
            if let index { $0.field("index", index) }
        }
    }

    public static func applied(_ version: SnapshotVersion) -> [UInt8] {
        SnapshotLines.line("applied") {
            $0.field("epoch", version.epoch)
            $0.field("number", version.number)
        }
    }

    /// Passive evidence against an instance, at once.
    public static func observed(service: String, instance: String, address: SocketAddress?, cause: String) -> [UInt8] {
        SnapshotLines.line("observed") {
            $0.field("service", service)
            $0.field("instance", instance)
            if let address { $0.field("address", address.description) }
            $0.field("cause", cause)
        }
    }
}

extension SubscriberLines {
    /// The answer to an `ask`.
    public static func told(_ id: UInt64, _ body: (inout JSONWriter) -> Void) -> [UInt8] {
        SnapshotLines.line("told") {
            $0.field("id", id)
            $0.field("pid", Process.pid)
            body(&$0)
        }
    }
}

/// Who is at the other end of discovery.sock.
public enum PeerRole: String, Sendable {
    /// Applies snapshots, reports evidence.
    case forwarder
    /// Just gets snapshots: also whoever says nothing.
    case observer
    /// Asks and commands.
    case `operator`
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): tells a torn or mixed-up snapshot, not an attacker.
public struct LineDigest: Equatable, Sendable {
    public private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    public init() {}

    public init(of bytes: some Sequence<UInt8>) { add(bytes) }

    public mutating func add(_ bytes: some Sequence<UInt8>) {
        var value = value
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
        self.value = value
    }

    /// Sixteen hex digits.
    public var text: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}
