import Shared

/// Which records of which name (RFC 1035 4.1.2).
struct DNSQuestion: Hashable, Sendable {
    enum RecordType: UInt16, Sendable {
        /// An IPv4 address.
        case a = 1
        /// An IPv6 address (RFC 3596).
        case aaaa = 28
        /// Where a service is (RFC 2782).
        case srv = 33
    }

    let name: DNSName
    let type: RecordType

    static let classInternet: UInt16 = 1
    /// The pseudo record by which both sides say how long a datagram may be (RFC 6891 6.1.2).
    static let typeOptions: UInt16 = 41

    /// The message that asks it. `withOptions`: with EDNS, which lets an answer have 1232 bytes: so many pass any IPv6 network in one piece.
    func message(id: UInt16, withOptions: Bool) -> [UInt8] {
        // A query for which recursion is desired; one question, no answers, no authorities, perhaps one more record.
        var bytes: [UInt8] = []
        for word in [id, 0x0100, 1, 0, 0, withOptions ? 1 : 0] { Self.put(word, to: &bytes) }
        bytes += name.wire
        Self.put(type.rawValue, to: &bytes)
        Self.put(Self.classInternet, to: &bytes)
        if withOptions {
            bytes.append(0)
            for word in [Self.typeOptions, UInt16(Limits.datagramBytes), 0, 0, 0] { Self.put(word, to: &bytes) }
        }
        return bytes
    }

    private static func put(_ word: UInt16, to bytes: inout [UInt8]) {
        bytes.append(UInt8(word >> 8))
        bytes.append(UInt8(word & 0xff))
    }
}
