/// A block of IPv4 or IPv6 addresses in CIDR notation (RFC 4632, RFC 4291 2.3): `10.0.0.0/8`, `fd00::/8`, or one address.
public struct AddressRange: Hashable, Sendable, CustomStringConvertible {
    /// The first address of the block.
    public let base: SocketAddress
    /// Leading bits that an address must share with `base`: up to 32 or 128.
    public let prefixBits: Int

    /// Parses an address with or without `/bits`. Nil when it is none, has too many bits, or sets bits behind them.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = SocketAddress(literal: String(parts[0]), port: 0) else { return nil }
        let width = address.family == .ipv4 ? 32 : 128
        var bits = width
        if parts.count > 1 {
            guard let written = DecimalDigits.parse(parts[1].utf8, max: UInt64(width)) else { return nil }
            bits = Int(written)
        }
        // Addresses are compared in their IPv4 form where they have one.
        let isMapped = address.unmapped.family != address.family && bits >= 96
        base = isMapped ? address.unmapped : address
        prefixBits = isMapped ? bits - 96 : bits
        let (high, low) = Self.masks(address.family, prefixBits)
        guard base.high & ~high == 0, base.low & ~low == 0 else { return nil }
    }

    /// Whether the block holds an address, whatever its port. An IPv4 address mapped into IPv6 counts as the IPv4 one.
    public func contains(_ address: SocketAddress) -> Bool {
        let address = address.unmapped
        guard address.family == base.family else { return false }
        let (high, low) = Self.masks(base.family, prefixBits)
        return address.high & high == base.high && address.low & low == base.low
    }

    /// IPv4 addresses are the low 32 bits of `low`.
    private static func masks(_ family: SocketAddress.Family, _ bits: Int) -> (high: UInt64, low: UInt64) {
        switch family {
        case .ipv4: (.max, ~(UInt64(UInt32.max) >> UInt64(bits)))
        // A shift by 64 gives 0.
        case .ipv6: (~(UInt64.max >> UInt64(min(bits, 64))), ~(UInt64.max >> UInt64(max(0, bits - 64))))
        }
    }

    public var description: String { "\(base.host)/\(prefixBits)" }
}
