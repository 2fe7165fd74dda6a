import Shared

/// A request to the discovery port, as its handlers see it.
struct HTTPRequest {
    let head: RequestHead
    /// The head's bytes, to which its places refer.
    private let bytes: [UInt8]
    /// At most `Limits.apiBodyBytes`.
    var body: [UInt8] = []

    init(_ head: RequestHead, _ bytes: Span<UInt8>) {
        self.head = head
        self.bytes = bytes.array(0, head.byteCount)
    }

    /// To HTTP/1.0 each answer ends its connection.
    var closesConnection: Bool { !head.keepsAlive || head.minorVersion == 0 }

    /// An absolute target without a path is the root (RFC 9110 4.2.3).
    var path: String {
        head.form == .absolute && head.pathCount == 0
            ? "/" : String(decoding: bytes.span.array(head.targetStart, head.pathCount), as: UTF8.self)
    }

    /// The values of a field, line by line. `name` in lower case.
    func values(of name: StaticString) -> [[UInt8]] {
        head.fields.lines.filter {
            bytes.span.equalsIgnoringCase(name, at: Int($0.nameStart), count: Int($0.nameCount))
        }.map { bytes.span.array(Int($0.valueStart), Int($0.valueCount)) }
    }

    /// The host that is asked, without its port and brackets; nil: none is named (HTTP/1.0).
    var host: String? {
        guard let authority = head.authority else { return nil }
        var host = Substring(String(decoding: bytes.span.array(authority.start, authority.count), as: UTF8.self))
        if host.hasPrefix("[") {
            host = host.dropFirst().prefix { $0 != "]" }
        } else if let colon = host.lastIndex(of: ":") {
            host = host[..<colon]
        }
        return String(host)
    }

    /// Of `?service=a&instance=b`, percent-decoded, in order.
    var parameters: [(name: String, value: String)] {
        let query = String(
            decoding: bytes.span.array(head.targetStart + head.pathCount, head.targetCount - head.pathCount),
            as: UTF8.self)
        return query.dropFirst().split(separator: "&").compactMap { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return parts.count == 2 ? (Self.decoded(parts[0]), Self.decoded(parts[1])) : nil
        }
    }

    /// The last one of this name counts.
    func parameter(_ name: String) -> String? { parameters.last { $0.name == name }?.value }

    private static func decoded(_ text: Substring) -> String {
        let bytes = Array(text.utf8)
        var out: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count, let high = Text.hexValue(bytes[index + 1]),
                let low = Text.hexValue(bytes[index + 2])
            {
                out.append(high << 4 | low)
                index += 3
            } else {
                out.append(bytes[index] == UInt8(ascii: "+") ? 0x20 : bytes[index])
                index += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
