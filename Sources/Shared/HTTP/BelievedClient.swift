/// For whom a trusted sender asks: one value, which the forwarded fields, the access log and the hash read alike.
///
/// Two families of fields say it: X-Forwarded-For, -Proto and -Host, and Forwarded (RFC 7239). Each fact is taken from the
/// first family where it is there, else from the second, else from the connection. Of a chain of addresses the rightmost that
/// is not trusted itself is the client; if all are trusted, the leftmost.
public struct BelievedClient: Equatable, Sendable {
    /// The client's address as text, without port and brackets.
    public private(set) var address: [UInt8]
    /// The scheme that the client used; nil: the connection's own.
    public private(set) var isSecure: Bool?
    /// The authority that the client asked for; nil: the request's own.
    public private(set) var host: [UInt8]?
    /// Those before the sender, the client's side first, as RFC 7239 6 names them but without quotes: an address (IPv6 in
    /// brackets), `unknown`, or an obfuscated name. At most `Limits.forwardedHops`, the nearest.
    public private(set) var hops: [[UInt8]] = []
    /// The request has a chain in X-Forwarded-For, which goes on as it is.
    public private(set) var hasForwardedFor = false
    /// The request's Forwarded says the same and goes on as it is; otherwise it is written anew from `hops`.
    public private(set) var keepsForwarded = false

    /// One member of a chain.
    struct Hop: Equatable {
        var name: [UInt8]
        var address: SocketAddress?
        var isSecure: Bool?
        var host: [UInt8]?
    }

    /// Reads what a request's fields say. `sender`: the trusted sender's own address as text. `trusts`: whether an address may
    /// speak for others.
    public init(_ fields: FieldLines, _ bytes: Span<UInt8>, sender: [UInt8], trusts: (SocketAddress) -> Bool) {
        let listed = Self.members(.xForwardedFor, fields, bytes).map(Self.hop)
        let forwarded = Self.forwarded(fields, bytes)
        hasForwardedFor = !listed.isEmpty
        let chain = listed.isEmpty ? forwarded ?? [] : listed
        let place = Self.client(chain, trusts)
        address = place.flatMap { chain[$0].address.map { Array($0.host.utf8) } } ?? sender
        // The lists run parallel where each sender has appended to both.
        let fromEnd = place.map { chain.count - 1 - $0 } ?? 0
        isSecure = Self.member(.xForwardedProto, fields, bytes, fromEnd).flatMap(Self.scheme)
        host = Self.member(.xForwardedHost, fields, bytes, fromEnd).flatMap(Self.authority)
        // Where the client is not named, the nearest element, which the sender itself has written, may say the rest.
        let own = forwarded.map { hops in hops[(Self.client(hops, trusts) ?? hops.endIndex - 1)...] }
        let said = (isSecure: own?.lazy.compactMap(\.isSecure).first, host: own?.lazy.compactMap(\.host).first)
        if isSecure == nil { isSecure = said.isSecure }
        if host == nil { host = said.host }
        hops = Self.written(chain, client: place)
        if let own, let forwarded {
            let isSameChain = listed.isEmpty || forwarded.map(\.name) == listed.map(\.name)
            keepsForwarded =
                isSameChain && place != nil && said.isSecure == isSecure && said.host == host
                && own.first == forwarded.first
        }
    }

    /// The chain as it is written anew: where there is more than fits, the client stays in it.
    private static func written(_ chain: [Hop], client: Int?) -> [[UInt8]] {
        // An element of Forwarded without `for` names nobody.
        let named = chain.map(\.name).filter { !$0.isEmpty }
        guard let client, client < chain.count - Limits.forwardedHops else { return named.suffix(Limits.forwardedHops) }
        let behind = chain[(client + 1)...].map(\.name).filter { !$0.isEmpty }
        return [chain[client].name] + behind.suffix(Limits.forwardedHops - 1)
    }

    /// The place of the client in a chain; nil: the chain does not say who it is.
    private static func client(_ chain: [Hop], _ trusts: (SocketAddress) -> Bool) -> Int? {
        var place: Int?
        for index in chain.indices.reversed() {
            // Who is not named by an address is unknown, and so are those before.
            guard let address = chain[index].address else { break }
            place = index
            if !trusts(address) { break }
        }
        return place
    }

    /// The members of a list field, of all its lines in order; empty ones are skipped.
    private static func members(_ name: FieldName, _ fields: FieldLines, _ bytes: Span<UInt8>) -> [[UInt8]] {
        var result: [[UInt8]] = []
        for line in fields.lines where line.name == name {
            FieldLines.forEachListMember(bytes, Int(line.valueStart), Int(line.valueCount)) {
                result.append(bytes.array($0, $1))
            }
        }
        return result
    }

    /// The member that belongs to the hop `fromEnd`; of a shorter list the first.
    private static func member(_ name: FieldName, _ fields: FieldLines, _ bytes: Span<UInt8>, _ fromEnd: Int)
        -> [UInt8]?
    {
        let members = members(name, fields, bytes)
        return fromEnd < members.count ? members[members.count - 1 - fromEnd] : members.first
    }

    /// `http` or `https`, whatever the case; nil for anything else.
    private static func scheme(_ text: [UInt8]) -> Bool? {
        let text = text.span
        if text.equalsIgnoringCase("https", at: 0, count: text.count) { return true }
        return text.equalsIgnoringCase("http", at: 0, count: text.count) ? false : nil
    }

    private static func authority(_ text: [UInt8]) -> [UInt8]? {
        Grammar.isAuthority(text.span, 0, text.count) ? text : nil
    }

    /// A node (RFC 7239 6, and as X-Forwarded-For has it): an address with or without port, `unknown`, `_name`.
    private static func hop(_ text: [UInt8]) -> Hop {
        let string = String(decoding: text, as: UTF8.self)
        let bare = string.hasPrefix("[") && string.hasSuffix("]") ? String(string.dropFirst().dropLast()) : string
        if let address = SocketAddress(literal: bare, port: 0) ?? SocketAddress(hostPort: string) {
            let plain = address.unmapped
            let name = plain.family == .ipv6 ? "[\(plain.host)]" : plain.host
            return Hop(name: Array(name.utf8), address: plain)
        }
        let isObfuscated =
            text.count > 1 && text.count <= 40 && text[0] == UInt8(ascii: "_") && text.allSatisfy(Grammar.isToken)
        return Hop(name: isObfuscated ? text : Array("unknown".utf8))
    }

    /// The elements of Forwarded (RFC 7239 4); nil where there is none, or what is there does not keep to the grammar.
    private static func forwarded(_ fields: FieldLines, _ bytes: Span<UInt8>) -> [Hop]? {
        var hops: [Hop] = []
        for line in fields.lines where line.name == .forwarded {
            guard let elements = elements(bytes, Int(line.valueStart), Int(line.valueCount)) else { return nil }
            hops += elements
        }
        return hops.isEmpty ? nil : hops
    }

    /// The elements of one line: separated by commas, their pairs by semicolons; values are tokens or quoted strings.
    private static func elements(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> [Hop]? {
        var index = start
        let end = start + count
        var result: [Hop] = []
        var element: Hop?
        var seen: Set<String> = []
        while true {
            skipBlanks(bytes, &index, end)
            if index < end, bytes[index] != 0x2c, bytes[index] != 0x3b {
                // Each name is there once in an element (RFC 7239 4).
                guard let (name, value) = pair(bytes, &index, end), seen.insert(name).inserted else { return nil }
                var present = element ?? Hop(name: [])
                switch name {
                case "for":
                    let node = hop(value)
                    (present.name, present.address) = (node.name, node.address)
                case "proto": present.isSecure = scheme(value)
                case "host": present.host = authority(value)
                default: break
                }
                element = present
                skipBlanks(bytes, &index, end)
            }
            let isEnd = index >= end
            if isEnd || bytes[index] == 0x2c {
                if let element { result.append(element) }
                element = nil
                seen = []
                if isEnd { return result }
            } else if bytes[index] != 0x3b {
                return nil
            }
            index += 1
        }
    }

    private static func skipBlanks(_ bytes: Span<UInt8>, _ index: inout Int, _ end: Int) {
        while index < end, bytes[index] == 0x20 || bytes[index] == 0x09 { index += 1 }
    }

    /// `name=value` with the name in lower case; nil where there is none.
    private static func pair(_ bytes: Span<UInt8>, _ index: inout Int, _ end: Int) -> (name: String, value: [UInt8])? {
        let first = index
        while index < end, Grammar.isToken(bytes[index]) { index += 1 }
        guard index > first, index < end, bytes[index] == 0x3d else { return nil }
        let name = String(decoding: bytes.array(first, index - first), as: UTF8.self).lowercased()
        index += 1
        let valueStart = index
        guard index < end, bytes[index] == 0x22 else {
            while index < end, Grammar.isToken(bytes[index]) { index += 1 }
            return index > valueStart ? (name, bytes.array(valueStart, index - valueStart)) : nil
        }
        index += 1
        var value: [UInt8] = []
        while index < end, bytes[index] != 0x22 {
            if bytes[index] == 0x5c { index += 1 }
            guard index < end else { return nil }
            value.append(bytes[index])
            index += 1
        }
        guard index < end else { return nil }
        index += 1
        return (name, value)
    }
}
