import Shared

/// What is kept of an instance in the state directory: all that a restart must not forget, as one line of JSON.
struct SavedInstance: Equatable, Sendable {
    var service: String
    var url: String
    /// Of a name: which of its addresses.
    var address: SocketAddress?
    /// What a record of a service (SRV) said of it.
    var share: NameTarget.ServiceShare?
    /// When this was true: wall clock, milliseconds.
    var at: UInt64
    var status: InstanceStatus
    var isSuspect: Bool
    var isDraining: Bool
    /// When that was asked; 0 where it is not.
    var drainingSince: UInt64
    var failedRetries: UInt16
    var goodInRow: UInt16
    var firstCheckedAt: UInt64
    var lastCheckedAt: UInt64
    var lastFailureAt: UInt64
    var since: UInt64
    var lastFailure: PollOutcome
    var lastResult: PollOutcome
    var statusCause: PollOutcome
    var suspectCause: PollOutcome
    var availability: Availability.Saved
    /// It has answered a poll.
    var hasAnswered: Bool

    /// Of an earlier program, which knew a name as one instance: the addresses that had answered.
    private var formerAddresses: [SocketAddress] = []

    /// One for each address, where an earlier program has kept a name with its addresses; `isName`: it is one.
    func byAddress(isName: Bool) -> [SavedInstance] {
        guard isName, address == nil, !formerAddresses.isEmpty else { return [self] }
        return formerAddresses.map { address in
            var saved = self
            saved.address = address
            saved.formerAddresses = []
            return saved
        }
    }

    var name: InstanceName { InstanceName(service: service, url: url, address: address) }

    func write(to writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("service", service)
        writer.field("instance", url)
        if let address { writer.field("address", address.description) }
        if let share {
            writer.field("host", share.host)
            writer.field("tier", Int(share.tier))
            writer.field("weight", Int(share.weight))
        }
        writer.field("at", at)
        writer.field("status", status.rawValue)
        writer.field("suspect", isSuspect)
        writer.field("draining", isDraining)
        if isDraining { writer.field("draining_since", drainingSince) }
        writer.field("retries", UInt64(failedRetries))
        writer.field("good", UInt64(goodInRow))
        writer.field("first", firstCheckedAt)
        writer.field("last", lastCheckedAt)
        writer.field("failed", lastFailureAt)
        writer.field("since", since)
        writer.key("outcomes")
        writer.beginArray()
        for outcome in [lastFailure, lastResult, statusCause, suspectCause] { writer.value(UInt64(outcome.rawValue)) }
        writer.endArray()
        writer.field("window", availability.windowMilliseconds)
        if let isUp = availability.isUp { writer.field("up", isUp) }
        writer.key("buckets")
        writer.beginArray()
        for value in availability.buckets { writer.value(value) }
        writer.endArray()
        writer.field("answered", hasAnswered)
        writer.endObject()
        writer.endLine()
    }

    /// Nil: not such a line, or one with a value that cannot be.
    init?(_ value: Document.Value) {
        guard let service = value["service"]?.string, let url = value["instance"]?.string,
            let at = value["at"]?.unsigned,
            let status = value["status"]?.string.flatMap(InstanceStatus.init(rawValue:)),
            let window = value["window"]?.unsigned, let buckets = value["buckets"]?.elements.compactMap(\.unsigned),
            buckets.count % 2 == 0, buckets.count <= Int(Availability.buckets) * 2,
            let outcomes = value["outcomes"]?.elements.compactMap(\.unsigned), outcomes.count == 4
        else { return nil }
        func number(_ key: StaticString) -> UInt64 { value[key]?.unsigned ?? 0 }
        self.service = service
        self.url = url
        address = value["address"]?.string.flatMap(SocketAddress.init(hostPort:))
        if let host = value["host"]?.string {
            share = NameTarget.ServiceShare(
                host: host, tier: UInt8(clamping: value["tier"]?.unsigned ?? 0),
                weight: UInt8(clamping: min(max(1, value["weight"]?.unsigned ?? 1), 100)))
        }
        self.at = at
        self.status = status
        isSuspect = value["suspect"]?.boolean ?? false
        isDraining = value["draining"]?.boolean ?? false
        drainingSince = number("draining_since")
        failedRetries = UInt16(clamping: number("retries"))
        goodInRow = UInt16(clamping: number("good"))
        firstCheckedAt = number("first")
        lastCheckedAt = number("last")
        lastFailureAt = number("failed")
        since = number("since")
        let words = outcomes.map { PollOutcome(rawValue: UInt32(clamping: $0)) }
        lastFailure = words[0]
        lastResult = words[1]
        statusCause = words[2]
        suspectCause = words[3]
        availability = Availability.Saved(
            windowMilliseconds: window, isUp: value["up"]?.boolean, buckets: buckets)
        formerAddresses = (value["addresses"]?.elements ?? value.elements).prefix(Limits.addressesPerName).compactMap {
            $0.string.flatMap(SocketAddress.init(hostPort:))
        }
        hasAnswered = value["answered"]?.boolean ?? !formerAddresses.isEmpty
    }
}

extension SavedInstance {
    init(
        _ entry: RegisteredInstance, _ name: InstanceName, _ share: NameTarget.ServiceShare?, at wall: UInt64,
        now: UInt64
    ) {
        service = name.service
        url = name.url
        address = name.address
        self.share = share
        at = wall
        status = entry.health.status
        isSuspect = entry.health.isSuspect
        isDraining = entry.isDrainAsked
        drainingSince = entry.isDrainAsked ? entry.drainingSince : 0
        failedRetries = entry.health.failedRetries
        goodInRow = entry.health.goodInRow
        firstCheckedAt = entry.firstCheckedAt
        lastCheckedAt = entry.lastCheckedAt
        lastFailureAt = entry.lastFailureAt
        since = entry.since
        lastFailure = entry.lastFailure
        lastResult = entry.lastResult
        statusCause = entry.statusCause
        suspectCause = entry.suspectCause
        var availability = entry.availability
        self.availability = availability.saved(now: now)
        hasAnswered = entry.hasAnswered
    }
}
