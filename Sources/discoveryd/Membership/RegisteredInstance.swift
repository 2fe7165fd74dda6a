import Shared

/// Where an instance is.
enum PollTarget: Equatable, Sendable {
    case address(SocketAddress)
    /// To be resolved.
    case name(String, port: UInt16)
}

/// One instance as discoveryd knows it: what the configuration says and what its polls have shown. There may be a hundred
/// thousand, so it is small, and what many have in common stands elsewhere.
struct RegisteredInstance: Sendable {
    let service: Registry.ServiceID
    /// As it is written: the name by which people know it.
    let url: String
    let target: PollTarget
    /// The port is written: a ping means this port.
    let hasExplicitPort: Bool
    var priority: Priority
    var weight: UInt8
    var plan: PollPlans.Index
    /// Where in `url` the value for a Host field stands.
    private let authorityStart: UInt8
    private let authorityCount: UInt16

    var health = Health()
    var history: History
    var availability: Availability
    /// What forwarders are told.
    var isDraining = false
    /// What an operator has asked for: on the disk first, then told.
    var isDrainAsked = false
    /// When a drain was asked for: wall clock, milliseconds; 0 where none was.
    var drainingSince: UInt64 = 0
    /// The address written answered the last good poll; addresses of a name that did.
    private var answersItself = false
    private var answeringOfName: [SocketAddress] = []
    /// Wall clock, milliseconds; 0 for never.
    var firstCheckedAt: UInt64 = 0
    var lastCheckedAt: UInt64 = 0
    var lastFailureAt: UInt64 = 0
    /// When the status became what it is.
    var since: UInt64 = 0
    var lastFailure = PollOutcome.none
    var lastResult = PollOutcome.none
    /// The polls that made status and suspicion what they are.
    var statusCause = PollOutcome.none
    var suspectCause = PollOutcome.none
    var polls: UInt64 = 0
    /// Changes of status.
    var changes: UInt32 = 0
    private(set) var publishedAvailability: UInt8?

    init(
        service: Registry.ServiceID, _ instance: Instance, plan: PollPlans.Index, window: UInt64, now: UInt64
    ) {
        self.service = service
        self.plan = plan
        url = instance.url
        target =
            instance.endpoint.literal.map { .address($0) }
            ?? .name(instance.endpoint.host, port: instance.endpoint.port)
        hasExplicitPort = instance.endpoint.hasExplicitPort
        priority = instance.polling.priority
        weight = UInt8(clamping: instance.weight)
        let bytes = Array(instance.url.utf8)
        let authority = Array(instance.endpoint.authority.utf8)
        let start = bytes.indices.first { bytes[$0...].starts(with: authority) } ?? 0
        authorityStart = UInt8(clamping: start)
        authorityCount = UInt16(clamping: authority.count)
        history = History(limit: instance.polling.packetLimit)
        availability = Availability(windowMilliseconds: window, now: now)
    }

    /// The value for a Host field.
    var authority: Substring.UTF8View {
        let bytes = url.utf8
        let start = bytes.index(bytes.startIndex, offsetBy: Int(authorityStart))
        return Substring(url).utf8[start..<bytes.index(start, offsetBy: Int(authorityCount))]
    }

    /// Addresses that answered the last good poll.
    var answering: [SocketAddress] {
        guard case .address(let address) = target else { return answeringOfName }
        return answersItself ? [address] : []
    }

    /// A poll was good. `addresses`: those of a name that have answered; nil where the address is written.
    mutating func answered(_ addresses: [SocketAddress]?) {
        guard let addresses else {
            answersItself = true
            return
        }
        if answeringOfName != addresses { answeringOfName = addresses }
    }

    /// Addresses that had answered before a restart.
    mutating func restoreAddresses(_ addresses: [SocketAddress]) {
        if case .address(let address) = target {
            answersItself = addresses.contains(address)
        } else {
            answeringOfName = addresses
        }
    }

    /// Buckets of another width cannot be taken over; the state goes on in new ones.
    mutating func changeWindow(_ milliseconds: UInt64, now: UInt64) {
        availability = Availability(windowMilliseconds: milliseconds, now: now)
        if health.status != .unknown { availability.set(up: health.status == .up, now: now) }
    }

    /// There is something of it that a restart must not forget.
    var isRemembered: Bool { health.status != .unknown || isDrainAsked || isDraining }

    /// Time has passed, or the status has changed.
    mutating func reckonAvailability(now: UInt64) {
        publishedAvailability = availability.points(now: now).map { UInt8(clamping: $0) }
    }

    /// What forwarders are told, as far as it can be compared in a moment.
    struct Facts: Equatable {
        let status: InstanceStatus
        let isSuspect: Bool
        let isDraining: Bool
        let answersItself: Bool
        let answeringOfName: [SocketAddress]
        let availability: UInt8?
    }

    var facts: Facts {
        Facts(
            status: health.status, isSuspect: health.isSuspect, isDraining: isDraining, answersItself: answersItself,
            answeringOfName: answeringOfName, availability: publishedAvailability)
    }

    var state: InstanceState {
        InstanceState(
            status: health.status, suspect: health.isSuspect, draining: isDraining,
            availability: publishedAvailability.map(Int.init), addresses: answering)
    }

    /// `id`: by which the subscriber knows it.
    func snapshotInstance(_ id: Int) -> SnapshotInstance {
        SnapshotInstance(
            id: id, url: url, authority: String(Substring(authority)), priority: priority, weight: Int(weight),
            state: state)
    }
}
