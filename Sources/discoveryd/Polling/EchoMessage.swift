import Shared

/// Echo requests and replies: matched by a secret in the payload, because a datagram socket rewrites the identifier.
enum EchoMessage {
    static func request(_ family: SocketAddress.Family, sequence: UInt16, cookie: UInt64) -> [UInt8] {
        var bytes: [UInt8] = [family == .ipv4 ? 8 : 128, 0, 0, 0, 0, 0, UInt8(sequence >> 8), UInt8(sequence & 255)]
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: cookie >> UInt64(shift)))
        }
        if family == .ipv4 {
            // The kernel fills in ICMPv6 checksums; for a raw IPv4 socket it is ours (RFC 1071).
            var sum: UInt32 = 0
            for index in stride(from: 0, to: bytes.count, by: 2) {
                sum += UInt32(bytes[index]) << 8 | UInt32(bytes[index + 1])
            }
            while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
            bytes[2] = UInt8(truncatingIfNeeded: ~sum >> 8)
            bytes[3] = UInt8(truncatingIfNeeded: ~sum)
        }
        return bytes
    }

    /// The sequence number of a reply to one of our requests; nil for anything else.
    static func reply(_ family: SocketAddress.Family, _ bytes: [UInt8], isRaw: Bool, cookie: UInt64) -> UInt16? {
        var start = 0
        if isRaw, family == .ipv4 {
            guard let first = bytes.first, first >> 4 == 4 else { return nil }
            start = Int(first & 15) * 4
        }
        guard bytes.count >= start + 16, bytes[start] == (family == .ipv4 ? 0 : 129), bytes[start + 1] == 0 else {
            return nil
        }
        var found: UInt64 = 0
        for index in start + 8..<start + 16 { found = found << 8 | UInt64(bytes[index]) }
        return found == cookie ? UInt16(bytes[start + 6]) << 8 | UInt16(bytes[start + 7]) : nil
    }
}
