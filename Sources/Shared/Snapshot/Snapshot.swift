/// Which snapshot: the epoch counts discoveryd's starts with this state directory, the number its changes.
public struct SnapshotVersion: Equatable, Hashable, Comparable, Sendable, CustomStringConvertible {
    public var epoch: UInt64
    public var number: UInt64

    public init(epoch: UInt64, number: UInt64) {
        self.epoch = epoch
        self.number = number
    }

    public static func < (a: SnapshotVersion, b: SnapshotVersion) -> Bool {
        a.epoch != b.epoch ? a.epoch < b.epoch : a.number < b.number
    }

    public var description: String { "\(epoch).\(number)" }

    /// `3.17`; nil when it is none.
    public init?(text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let epoch = DecimalDigits.parse(parts[0].utf8),
            let number = DecimalDigits.parse(parts[1].utf8)
        else { return nil }
        self.init(epoch: epoch, number: number)
    }
}

/// What polling says of an instance, and nothing else.
public enum InstanceStatus: String, Sendable {
    /// Not polled yet.
    case unknown
    case up
    case down
}

/// The part of an instance that changes without a reload: what a delta carries.
public struct InstanceState: Equatable, Sendable {
    public var status: InstanceStatus
    /// A forwarder was refused or reset, and one fresh poll failed since.
    public var suspect: Bool
    public var draining: Bool
    /// Share of time seen up in the window, whole points; nil with less than ten minutes of evidence.
    public var availability: Int?
    /// Where it is, once it has answered a poll.
    public var address: SocketAddress?

    public init(status: InstanceStatus, suspect: Bool, draining: Bool, availability: Int?, address: SocketAddress?) {
        self.status = status
        self.suspect = suspect
        self.draining = draining
        self.availability = availability
        self.address = address
    }
}

/// All that a routing decision needs to know of an instance.
public struct SnapshotInstance: Equatable, Sendable {
    /// A change or a delta names instances by it.
    public var id: Int
    /// As it is written: the name by which people know it.
    public var url: String
    /// Where `url` is a name: which of its addresses it is.
    public var address: SocketAddress?
    /// The name has several addresses.
    public var isOneOfSeveral: Bool
    /// The value for a Host field where the client sent none.
    public var authority: String
    public var priority: Priority
    /// Within its priority: those of a higher tier are used when those of the lower ones are not there.
    public var tier: Int
    public var weight: Int
    public var state: InstanceState

    public init(
        id: Int, url: String, address: SocketAddress? = nil, isOneOfSeveral: Bool = false, authority: String,
        priority: Priority, tier: Int = 0, weight: Int, state: InstanceState
    ) {
        self.id = id
        self.url = url
        self.address = address
        self.isOneOfSeveral = isOneOfSeveral
        self.authority = authority
        self.priority = priority
        self.tier = tier
        self.weight = weight
        self.state = state
    }

    /// By what an instance is known within its service, in counters and files.
    public var label: String { Self.label(url, address) }

    public static func label(_ url: String, _ address: SocketAddress?) -> String {
        address.map { "\(url) \($0)" } ?? url
    }
}

public struct SnapshotService: Equatable, Sendable {
    /// A change names services by it.
    public var id: Int
    public var name: String
    public var paths: [String]
    public var policy: ServicePolicy
    public var instances: [SnapshotInstance]

    public init(
        id: Int = 0, name: String, paths: [String], policy: ServicePolicy = ServicePolicy(),
        instances: [SnapshotInstance] = []
    ) {
        self.id = id
        self.name = name
        self.paths = paths
        self.policy = policy
        self.instances = instances
    }
}

public struct Snapshot: Equatable, Sendable {
    public var version: SnapshotVersion
    public var settings = ForwarderSettings()
    public var services: [SnapshotService]

    public init(version: SnapshotVersion, services: [SnapshotService]) {
        self.version = version
        self.services = services
    }
}

/// What has come, gone or changed otherwise since the version before, from the second version of the protocol on. Ids that are defined again
/// under another name have changed their owner: the former one is gone.
public struct SnapshotChange: Equatable, Sendable {
    public var version: SnapshotVersion
    /// Nil: as before.
    public var settings: ForwarderSettings?
    public var goneServices: [Int] = []
    public var goneInstances: [Int] = []
    /// Services without their instances.
    public var services: [SnapshotService] = []
    public var instances: [Member] = []
    /// Deltas of the same version follow.
    public var isMore = false

    public struct Member: Equatable, Sendable {
        public var service: Int
        public var instance: SnapshotInstance

        public init(service: Int, _ instance: SnapshotInstance) {
            self.service = service
            self.instance = instance
        }
    }

    public init(version: SnapshotVersion) { self.version = version }
}
