/// The PROXY protocol's header, by which a forwarder in front says whose connection it is (HAProxy's proxy-protocol.txt,
/// versions 1 and 2).
public enum ProxyHeader {
    public enum Parsed: Equatable, Sendable {
        /// Not all of it is here.
        case needsMore
        /// `source`: nil where the sender speaks for itself (LOCAL, UNKNOWN, families other than TCP).
        case header(byteCount: Int, source: SocketAddress?)
    }

    private static let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
    private static let word = Array("PROXY ".utf8)
    /// The longest line of version 1 with its CR LF.
    private static let lineBytes = 107

    /// Reads a header from the front of `bytes`.
    public static func parse(_ bytes: Span<UInt8>) throws(HTTPFault) -> Parsed {
        guard bytes.count > 0 else { return .needsMore }
        if bytes[0] == signature[0] { return try parseBinary(bytes) }
        for index in 0..<min(word.count, bytes.count) where bytes[index] != word[index] {
            throw HTTPFault(400, "a connection that does not begin with a PROXY header")
        }
        var end = word.count
        while end + 1 < bytes.count, end < lineBytes, bytes[end] != 0x0d {
            guard bytes[end] >= 0x20 else { throw HTTPFault(400, "a control byte in a PROXY line") }
            end += 1
        }
        guard end + 1 < bytes.count else {
            if bytes.count >= lineBytes { throw HTTPFault(400, "a PROXY line of more than \(lineBytes) bytes") }
            return .needsMore
        }
        guard bytes[end] == 0x0d, bytes[end + 1] == 0x0a, end + 2 <= lineBytes else {
            throw HTTPFault(400, "a PROXY line of more than \(lineBytes) bytes, or without CR LF")
        }
        let line = String(decoding: bytes.array(word.count, end - word.count), as: UTF8.self)
        return .header(byteCount: end + 2, source: try source(line))
    }

    /// `TCP4 source destination sourcePort destinationPort`, or `UNKNOWN` and anything.
    private static func source(_ line: String) throws(HTTPFault) -> SocketAddress? {
        let parts = line.split(separator: " ", omittingEmptySubsequences: false)
        if parts[0] == "UNKNOWN" { return nil }
        guard parts.count == 5, parts[0] == "TCP4" || parts[0] == "TCP6",
            let port = DecimalDigits.parse(parts[3].utf8, max: 65535),
            DecimalDigits.parse(parts[4].utf8, max: 65535) != nil,
            let source = SocketAddress(literal: String(parts[1]), port: UInt16(port)),
            let destination = SocketAddress(literal: String(parts[2]), port: 0),
            source.family == (parts[0] == "TCP4" ? .ipv4 : .ipv6), destination.family == source.family
        else { throw HTTPFault(400, "a PROXY line that is none: `\(Text.shown(line.utf8))`") }
        return source
    }

    /// What is attached behind the addresses (2.2, Type-Length-Value): each a kind, a length of two bytes and as many bytes, up to
    /// the end. What they say is not needed here.
    private static func checkAttachments(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) throws(HTTPFault) {
        var index = start
        while index < end {
            guard end - index >= 3, case let length = Int(bytes[index + 1]) << 8 | Int(bytes[index + 2]),
                length <= end - index - 3
            else { throw HTTPFault(400, "a PROXY header whose attachments do not end with it") }
            index += 3 + length
        }
    }

    private static func parseBinary(_ bytes: Span<UInt8>) throws(HTTPFault) -> Parsed {
        for index in 0..<min(signature.count, bytes.count) where bytes[index] != signature[index] {
            throw HTTPFault(400, "a connection that does not begin with a PROXY header")
        }
        guard bytes.count >= 16 else { return .needsMore }
        guard bytes[12] == 0x20 || bytes[12] == 0x21 else {
            throw HTTPFault(400, "a PROXY header of version and command \(Text.hex(bytes[12]))")
        }
        let length = Int(bytes[14]) << 8 | Int(bytes[15])
        let byteCount = 16 + length
        guard byteCount <= Limits.proxyHeaderBytes else {
            throw HTTPFault(400, "a PROXY header of more than \(Limits.proxyHeaderBytes) bytes")
        }
        // The family decides how long the addresses are; both ends, then both ports. LOCAL, the sender's own connection such as
        // a health check, has none that count.
        let isLocal = bytes[12] == 0x20
        let addresses: Int
        switch bytes[13] {
        case 0x11, 0x12: addresses = 12
        case 0x21, 0x22: addresses = 36
        case 0x31, 0x32: addresses = min(216, length)
        case 0x00: addresses = 0
        default:
            // LOCAL's is to be ignored, whatever it says.
            guard isLocal else { throw HTTPFault(400, "a PROXY header of family and protocol \(Text.hex(bytes[13]))") }
            addresses = 0
        }
        guard isLocal || length >= addresses else {
            throw HTTPFault(400, "a PROXY header that is shorter than its addresses")
        }
        guard bytes.count >= byteCount else { return .needsMore }
        if !isLocal, bytes[13] != 0 { try checkAttachments(bytes, 16 + addresses, byteCount) }
        guard !isLocal, bytes[13] == 0x11 || bytes[13] == 0x21 else {
            return .header(byteCount: byteCount, source: nil)
        }
        func number(_ start: Int, _ count: Int) -> UInt64 {
            (start..<start + count).reduce(0) { $0 << 8 | UInt64(bytes[$1]) }
        }
        let source =
            addresses == 12
            ? SocketAddress(
                ipv4: UInt32(truncatingIfNeeded: number(16, 4)), port: UInt16(truncatingIfNeeded: number(24, 2)))
            : SocketAddress(
                ipv6High: number(16, 8), low: number(24, 8), port: UInt16(truncatingIfNeeded: number(48, 2)))
        return .header(byteCount: byteCount, source: source)
    }
}
