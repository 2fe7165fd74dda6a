import Shared

/// One instance as discoveryd knows it: what the configuration says and what its polls have shown. There may be a hundred
/// thousand, so it is small, and what many have in common stands elsewhere.
struct RegisteredInstance: Sendable {
    let service: Registry.ServiceID
    /// As it is written: the name by which people know it.
    let url: String
    /// Nil: it is a name that has no address.
    let address: SocketAddress?
    /// The line that it is an instance of, if that is a name.
    let line: Registry.LineID?
    /// The port is written: a ping means this port.
    let hasExplicitPort: Bool
    var priority: Priority
    var weight: UInt8
    /// Of a service's records (SRV): those of a higher tier are used when those of the lower ones are not there.
    var tier: UInt8 = 0
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
    /// It has answered a poll.
    var hasAnswered = false
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

    /// At an address that is written.
    init(
        service: Registry.ServiceID, _ instance: Instance, plan: PollPlans.Index, packetLimit: Int, window: UInt64,
        now: UInt64
    ) {
        self.service = service
        line = nil
        url = instance.url
        address = instance.endpoint.literal
        hasExplicitPort = instance.endpoint.hasExplicitPort
        priority = instance.polling.priority
        weight = UInt8(clamping: instance.weight)
        (authorityStart, authorityCount) = instance.endpoint.authorityPlace(in: instance.url)
        self.plan = plan
        history = History(limit: packetLimit)
        availability = Availability(windowMilliseconds: window, now: now)
    }

    /// Of a line that is a name. `address` nil: it has none.
    init(
        of id: Registry.LineID, _ line: NameLine, _ address: SocketAddress?, priority: Priority, packetLimit: Int,
        window: UInt64, now: UInt64
    ) {
        service = line.service
        self.line = id
        url = line.url
        self.address = address
        hasExplicitPort = line.hasExplicitPort
        self.priority = priority
        weight = line.weight
        (authorityStart, authorityCount) = line.authorityPlace
        plan = line.plan
        history = History(limit: packetLimit)
        availability = Availability(windowMilliseconds: window, now: now)
    }

    /// The value for a Host field, as far as the url says it.
    var authority: Substring {
        let bytes = url.utf8
        let start = bytes.index(bytes.startIndex, offsetBy: Int(authorityStart))
        return url[start..<bytes.index(start, offsetBy: Int(authorityCount))]
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

    /// What forwarders are told, as far as it changes with polls and drains.
    var state: InstanceState {
        InstanceState(
            status: health.status, suspect: health.isSuspect, draining: isDraining,
            availability: publishedAvailability.map(Int.init), address: hasAnswered ? address : nil)
    }
}

extension Endpoint {
    /// Where in the text the value for a Host field stands.
    func authorityPlace(in text: String) -> (start: UInt8, count: UInt16) {
        let bytes = Array(text.utf8)
        let authority = Array(authority.utf8)
        let start = bytes.indices.first { bytes[$0...].starts(with: authority) } ?? 0
        return (UInt8(clamping: start), UInt16(clamping: authority.count))
    }
}
