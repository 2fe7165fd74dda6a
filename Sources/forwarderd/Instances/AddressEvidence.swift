import Shared

/// Evidence against single addresses of a name with several: a refusing or silent address is avoided while the others serve. For an
/// instance with one address all evidence is the instance's (`PassiveHealth`), and nothing is kept here.
struct AddressEvidence {
    private struct Entry {
        let address: SocketAddress
        var health = PassiveHealth()
        /// When the last response head came, milliseconds of the loop's clock.
        var answeredAt: UInt64 = 0
    }

    private var entries: [Entry] = []
    private var turn = 0

    /// What a failure has led to.
    enum Outcome: Equatable {
        /// There is one address only, or the evidence is not enough.
        case nothing
        /// The address is avoided for this many milliseconds.
        case avoided(UInt64)
        /// All addresses are avoided: the instance fails.
        case allAvoided
    }

    /// The address for the next request: the next in turn that is neither avoided nor in `tried`, else one that is not in `tried`. Nil: all
    /// are in `tried`.
    mutating func next(_ addresses: [SocketAddress], tried: [SocketAddress], now: UInt64) -> SocketAddress? {
        if addresses.count <= 1 { return addresses.first.flatMap { tried.contains($0) ? nil : $0 } }
        var fallback: SocketAddress?
        for step in 1...addresses.count {
            let index = (turn &+ step) % addresses.count
            let address = addresses[index]
            if tried.contains(address) { continue }
            if !isAvoided(address, now: now) {
                turn = index
                return address
            }
            if fallback == nil { fallback = address }
        }
        return fallback
    }

    /// Whether a request that has failed at the addresses `tried` has one left to go to.
    static func hasMore(_ addresses: [SocketAddress], tried: [SocketAddress]) -> Bool {
        addresses.count > 1 && tried.count < Limits.instancesTriedPerRequest
            && addresses.contains { !tried.contains($0) }
    }

    private func isAvoided(_ address: SocketAddress, now: UInt64) -> Bool {
        guard let entry = entries.first(where: { $0.address == address }), let until = entry.health.ejectedUntil else {
            return false
        }
        return until > now
    }

    private mutating func place(_ address: SocketAddress) -> Int {
        if let index = entries.firstIndex(where: { $0.address == address }) { return index }
        entries.append(Entry(address: address))
        return entries.count - 1
    }

    /// A connection to it was refused, reset or timed out.
    mutating func failed(
        _ address: SocketAddress, of addresses: [SocketAddress], now: UInt64, random: inout SplitMix
    ) -> Outcome {
        guard addresses.count > 1, addresses.contains(address) else { return .nothing }
        let index = place(address)
        if let until = entries[index].health.ejectedUntil, until <= now { entries[index].health.expire() }
        let span = entries[index].health.failed(now: now, random: &random)
        if addresses.allSatisfy({ isAvoided($0, now: now) }) { return .allAvoided }
        return span.map(Outcome.avoided) ?? .nothing
    }

    /// The address responds 5xx, or not in time. At most half of the addresses are avoided for that.
    mutating func weakened(
        _ address: SocketAddress, _ weakness: PassiveHealth.Weakness, of addresses: [SocketAddress], now: UInt64,
        random: inout SplitMix
    ) -> Outcome {
        guard addresses.count > 1, addresses.contains(address) else { return .nothing }
        let index = place(address)
        guard entries[index].health.weakened(weakness) else { return .nothing }
        let avoided = addresses.count { isAvoided($0, now: now) }
        guard (avoided + 1) * 2 <= addresses.count else { return .nothing }
        return failed(address, of: addresses, now: now, random: &random)
    }

    /// A response head has come from the address. `isGood`: not 5xx.
    mutating func answered(_ address: SocketAddress, of addresses: [SocketAddress], isGood: Bool, now: UInt64) {
        guard addresses.count > 1 else { return }
        let index = place(address)
        entries[index].answeredAt = now
        guard isGood else { return }
        if let until = entries[index].health.ejectedUntil, until <= now { entries[index].health.expire() }
        entries[index].health.succeeded()
    }

    /// When the address last responded, milliseconds of the loop's clock; nil: the instance has one address only.
    func answeredAt(_ address: SocketAddress, of addresses: [SocketAddress]) -> UInt64? {
        guard addresses.count > 1 else { return nil }
        return entries.first { $0.address == address }?.answeredAt ?? 0
    }

    /// The name has these addresses from now on: evidence of others is forgotten.
    mutating func keep(_ addresses: [SocketAddress]) {
        if addresses.count <= 1 { entries = [] } else { entries.removeAll { !addresses.contains($0.address) } }
    }

    /// discoveryd has polled the instance with success after the evidence.
    mutating func clear() { entries = [] }
}
