import Shared

/// A name as a line of the configuration has it.
struct SourceName: Hashable, Sendable {
    /// In lower case.
    let text: String
    let kind: NameKind

    init(_ text: String, _ kind: NameKind) {
        self.text = text.lowercased()
        self.kind = kind
    }
}

/// Where a name leads: one of its addresses.
struct NameTarget: Hashable, Sendable {
    /// Of a host's name without a port, which the line has.
    var address: SocketAddress
    /// What a record of a service (SRV) says; nil: the line decides.
    var service: ServiceShare?

    struct ServiceShare: Hashable, Sendable {
        /// The host that the record names.
        var host: String
        /// 0 for the lowest priority number, which is used first, 1 for the next one.
        var tier: UInt8
        /// 1 to 100.
        var weight: UInt8
    }
}

extension NameTarget {
    /// The records of a service with the addresses of their hosts. `addresses` gives those that are known of a host.
    static func targets(
        _ records: [DNSResponse.Value], addresses: (SourceName) -> [SocketAddress]
    ) -> [NameTarget] {
        var tiers = Set<UInt16>()
        var heaviest: [UInt16: UInt16] = [:]
        for case .service(let priority, let weight, _, _) in records {
            tiers.insert(priority)
            heaviest[priority] = max(heaviest[priority] ?? 0, weight)
        }
        let order = tiers.sorted()
        var targets: [NameTarget] = []
        var known = Set<SocketAddress>()
        for case .service(let priority, let weight, let port, let host) in records {
            // "." says that there is no such service (RFC 2782).
            guard let name = host.sourceName else { continue }
            let found = addresses(name)
            let most = max(100, Int(heaviest[priority] ?? 0))
            let share = Int(weight) * 100 / most / max(1, found.count)
            for var address in found where targets.count < Limits.addressesPerName {
                address.port = port
                guard known.insert(address).inserted else { continue }
                targets.append(
                    NameTarget(
                        address: address,
                        service: ServiceShare(
                            host: host.text, tier: UInt8(clamping: order.firstIndex(of: priority) ?? 0),
                            weight: UInt8(clamping: max(1, share)))))
            }
        }
        return targets
    }
}

extension DNSName {
    /// The host that a record names, looked up as it is. Nil: the root, which stands for none.
    var sourceName: SourceName? { labels.isEmpty ? nil : SourceName(text + ".", .host) }
}
