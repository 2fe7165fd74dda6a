import Shared

/// One name as a source: what its look-ups have found, and when the next one is due. A value without IO.
struct NameSource {
    let name: SourceName
    private(set) var health = SourceHealth.never
    private(set) var version: UInt64 = 0
    /// What the last answer said, sorted: whether it says something else depends on no order.
    private var addresses: [SocketAddress.Family: [SocketAddress]] = [:]
    /// The records of a service.
    private(set) var records: [DNSResponse.Value] = []
    /// A host with addresses of both families is not twice as many hosts: those of one are used.
    private(set) var family: SocketAddress.Family?
    /// Why the last look-up has failed, in words.
    private(set) var reason = ""
    /// The last answer was that there is nothing.
    var saidNothing = false

    /// A look-up is under way.
    private(set) var isAsking = false
    private var askedAt: UInt64?
    /// When the next one is due, milliseconds of the loop's clock; nil: while one is under way.
    private(set) var dueAt: UInt64?
    /// How long after a look-up another may follow sooner than its time says. It grows while that brings nothing new.
    private var gap = Limits.lookUpGapMilliseconds

    init(_ name: SourceName, now: UInt64) {
        self.name = name
        dueAt = now
    }

    /// Something is known of it.
    var isKnown: Bool { !records.isEmpty || !addresses.isEmpty }

    /// The addresses in use.
    var inUse: [SocketAddress] { family.flatMap { addresses[$0] } ?? [] }

    /// The addresses of the family that is not in use.
    var others: [SocketAddress] { family.flatMap { addresses[$0 == .ipv4 ? .ipv6 : .ipv4] } ?? [] }

    /// Its addresses of before a restart, until a look-up says more.
    mutating func restore(_ known: [SocketAddress]) {
        guard version == 0, !known.isEmpty else { return }
        sort(known)
    }

    private mutating func sort(_ found: [SocketAddress]) {
        for family in [SocketAddress.Family.ipv4, .ipv6] {
            let own = Set(found.filter { $0.family == family })
            addresses[family] = own.isEmpty ? nil : Array(own.sorted(by: Self.precedes).prefix(Limits.addressesPerName))
        }
        if inUse.isEmpty { family = addresses[.ipv4] != nil ? .ipv4 : addresses[.ipv6] != nil ? .ipv6 : nil }
    }

    private static func goesFirst(_ a: DNSResponse.Value, _ b: DNSResponse.Value) -> Bool {
        guard case .service(let priority, let weight, let port, let host) = a,
            case .service(let otherPriority, let otherWeight, let otherPort, let otherHost) = b
        else { return false }
        return (priority, otherWeight, port, host.text) < (otherPriority, weight, otherPort, otherHost.text)
    }

    private static func precedes(_ a: SocketAddress, _ b: SocketAddress) -> Bool {
        (a.high, a.low) < (b.high, b.low)
    }

    // MARK: Look-ups

    mutating func begin(now: UInt64) {
        isAsking = true
        askedAt = now
        dueAt = nil
    }

    /// A look-up has ended. False: it has found out nothing, and what was known stands.
    mutating func receive(_ result: LookUp.Result, now: UInt64) -> Bool {
        isAsking = false
        switch result {
        case .noAnswer(let reason):
            self.reason = reason
            if case .fresh = health { health = .stale(since: now) }
            dueAt = now + gap
            gap = min(gap * 2, Limits.lookUpRestMilliseconds)
            return false
        case .found(let found):
            let before = (addresses, records)
            adopt(found)
            health = .fresh
            reason = ""
            if before != (addresses, records) { gap = Limits.lookUpGapMilliseconds }
            let held = min(
                max(UInt64(found.seconds ?? 0) * 1000, Limits.lookUpGapMilliseconds), Limits.lookUpHeldMilliseconds)
            // What is not there yet is awaited.
            dueAt = now + (found.values.isEmpty ? min(held, Limits.absenceHeldMilliseconds) : held)
            return true
        }
    }

    private mutating func adopt(_ found: LookUp.Found) {
        if name.kind == .service {
            // In their order of use: in which order an answer has them is no news.
            records = Array(found.values.sorted(by: Self.goesFirst).prefix(Limits.addressesPerName))
            return
        }
        var all: [SocketAddress] = found.values.compactMap {
            if case .address(let address) = $0 { address } else { nil }
        }
        for family in found.unanswered { all += addresses[family] ?? [] }
        if all.isEmpty { family = nil }
        sort(all)
    }

    /// Where the name leads now. `addresses`: those in use of a host.
    mutating func change(_ addresses: (SourceName) -> [SocketAddress]) -> SourceChange<NameTarget> {
        version += 1
        let targets =
            name.kind == .host
            ? inUse.map { NameTarget(address: $0) } : NameTarget.targets(records, addresses: addresses)
        return SourceChange(version: version, content: .reset(targets))
    }

    /// The hosts that the records of a service name.
    var hosts: Set<SourceName> {
        Set(records.compactMap { if case .service(_, _, _, let host) = $0 { host.sourceName } else { nil } })
    }

    /// An address has refused, or a poll of one has failed: perhaps the name has others now. True: the next look-up is due sooner.
    mutating func doubt(now: UInt64) -> Bool {
        guard !isAsking, let due = dueAt else { return false }
        let at = max(now, (askedAt ?? 0) + gap)
        guard at < due else { return false }
        dueAt = at
        gap = min(gap * 2, Limits.lookUpRestMilliseconds)
        return true
    }

    /// An address of this family answers, and none of the one in use does. False: it is in use, or has no addresses any more.
    mutating func use(_ family: SocketAddress.Family) -> Bool {
        guard family != self.family, addresses[family] != nil else { return false }
        self.family = family
        return true
    }
}
