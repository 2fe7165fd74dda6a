/// A request's head (RFC 9112 3): offsets into the bytes it was read from. Kept and reused.
public struct RequestHead: Sendable {
    /// What the target is (RFC 9112 3.2).
    public enum Form: UInt8, Sendable { case origin, absolute, asterisk }

    /// Methods whose meaning matters here; any other token is forwarded as it is.
    public enum Method: UInt8, Sendable {
        case get, head, post, put, delete, options, trace, connect, other

        /// Whether sending it twice has the effect of once (RFC 9110 9.2.2).
        public var isIdempotent: Bool {
            switch self {
            case .get, .head, .put, .delete, .options, .trace: true
            case .post, .connect, .other: false
            }
        }
    }

    public private(set) var method = Method.other
    public private(set) var methodCount = 0
    public private(set) var methodStart = 0
    public private(set) var form = Form.origin
    /// Path and query as they are forwarded; empty for `*` and for an absolute target without a path.
    public private(set) var targetStart = 0
    public private(set) var targetCount = 0
    /// The path alone.
    public private(set) var pathCount = 0
    /// The authority of an absolute target, which replaces Host.
    public private(set) var authorityStart = 0
    public private(set) var authorityCount = 0
    /// 0 for HTTP/1.0, 1 for HTTP/1.1 and later minor versions.
    public private(set) var minorVersion = 1
    public private(set) var fields = FieldLines()
    /// Bytes of the head with its empty line, an empty line before it included.
    public private(set) var byteCount = 0

    public init() {}

    /// Where the authority stands that the request is for: an absolute target's replaces Host (RFC 9112 3.2.2). Nil: HTTP/1.0
    /// without either.
    public var authority: (start: Int, count: Int)? {
        if authorityCount > 0 { return (authorityStart, authorityCount) }
        guard fields.hasHost else { return nil }
        let line = fields.lines[fields.hostIndex]
        return (Int(line.valueStart), Int(line.valueCount))
    }

    /// How the body is delimited (RFC 9112 6.3).
    public var framing: BodyFraming {
        if fields.hasTransferEncoding { return .chunked }
        if let length = fields.contentLength, length > 0 { return .length(length) }
        return .none
    }

    /// Whether the client waits for 100 (Continue) before it sends its body. HTTP/1.0 does not know that (RFC 9110 10.1.1).
    public var withholdsBody: Bool { fields.expects && minorVersion >= 1 }

    /// Whether the connection may serve another request (RFC 9112 9.3).
    public var keepsAlive: Bool { !fields.closes && (minorVersion >= 1 || fields.keepsAlive) }

    /// What bounds a head: bytes and fields.
    public struct Bounds: Sendable {
        public var bytes: Int
        public var targetBytes: Int
        public var fields: Int

        public init(bytes: Int, targetBytes: Int, fields: Int) {
            self.bytes = bytes
            self.targetBytes = targetBytes
            self.fields = fields
        }

        public static let standard = Bounds(
            bytes: Limits.headBytes, targetBytes: Limits.targetBytes, fields: Limits.headFields)
    }

    /// Reads a head from the front of `bytes`. False: not all of it is there yet.
    public mutating func parse(_ bytes: Span<UInt8>, bounds: Bounds = .standard) throws(HTTPFault) -> Bool {
        fields.removeAll()
        var index = 0
        let count = bytes.count
        // One empty line before a request line is skipped (RFC 9112 2.2).
        if count >= 2, bytes[0] == 0x0d, bytes[1] == 0x0a { index = 2 }
        if count == 1, bytes[0] == 0x0d { return false }
        guard try parseLine(bytes, &index, bounds),
            try fields.read(bytes, from: &index, side: .request, maxFields: bounds.fields)
        else {
            if count >= bounds.bytes { throw HTTPFault(431, "a head of more than \(bounds.bytes) bytes") }
            return false
        }
        if index > bounds.bytes { throw HTTPFault(431, "a head of more than \(bounds.bytes) bytes") }
        byteCount = index
        try check(bytes)
        return true
    }

    private mutating func parseLine(_ bytes: Span<UInt8>, _ index: inout Int, _ bounds: Bounds) throws(HTTPFault)
        -> Bool
    {
        let count = bytes.count
        methodStart = index
        index = bytes.end(of: Grammar.token, from: index)
        guard index < count else { return false }
        methodCount = index &- methodStart
        guard bytes[index] == 0x20, methodCount > 0 else {
            throw HTTPFault(400, "a request line that does not begin with a method and one space")
        }
        method = Self.classify(bytes, methodStart, methodCount)
        index &+= 1
        let start = index
        while index < count, Grammar.isTarget(bytes[index]) { index &+= 1 }
        let length = index &- start
        guard length <= bounds.targetBytes else {
            throw HTTPFault(414, "a target of more than \(bounds.targetBytes) bytes")
        }
        guard index < count else { return false }
        guard bytes[index] == 0x20, length > 0 else {
            throw HTTPFault(400, "byte \(Text.hex(bytes[index])) in the target")
        }
        try parseTarget(bytes, start, length)
        index &+= 1
        // HTTP/1.1 CR LF
        guard count &- index >= 10 else {
            try checkPartialVersion(bytes, index)
            return false
        }
        try parseVersion(bytes, index)
        index &+= 10
        return true
    }

    private func checkPartialVersion(_ bytes: Span<UInt8>, _ index: Int) throws(HTTPFault) {
        let expected: [UInt8] = Array("HTTP/".utf8)
        for offset in 0..<min(5, bytes.count - index) where bytes[index + offset] != expected[offset] {
            throw HTTPFault(400, "a request line that does not end in an HTTP version")
        }
        for offset in index..<bytes.count where bytes[offset] == 0x0a {
            throw HTTPFault(400, "bare LF at the end of the request line")
        }
    }

    private mutating func parseVersion(_ bytes: Span<UInt8>, _ index: Int) throws(HTTPFault) {
        let expected = 0x2f50_5454_48 as UInt64  // "HTTP/" little-endian
        let word = bytes.word(at: index)
        guard word & 0xff_ffff_ffff == expected, bytes[index &+ 6] == 0x2e else {
            throw HTTPFault(400, "a request line that does not end in an HTTP version")
        }
        let major = bytes[index &+ 5] &- 0x30
        let minor = bytes[index &+ 7] &- 0x30
        guard major <= 9, minor <= 9 else { throw HTTPFault(400, "an HTTP version that is no number") }
        guard bytes[index &+ 8] == 0x0d, bytes[index &+ 9] == 0x0a else {
            throw HTTPFault(
                400,
                bytes[index &+ 8] == 0x0a ? "bare LF at the end of the request line" : "bytes after the HTTP version")
        }
        guard major == 1 else {
            throw HTTPFault(major == 0 ? 400 : 505, "HTTP/\(major).\(minor); HTTP/1.0 and HTTP/1.1 are served")
        }
        minorVersion = minor == 0 ? 0 : 1
    }

    private static func classify(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Method {
        @inline(__always) func spells(_ name: StaticString) -> Bool {
            guard count == name.utf8CodeUnitCount else { return false }
            return bytes.spells(name, at: start)
        }
        switch count {
        case 3: return spells("GET") ? .get : spells("PUT") ? .put : .other
        case 4: return spells("POST") ? .post : spells("HEAD") ? .head : .other
        case 5: return spells("TRACE") ? .trace : .other
        case 6: return spells("DELETE") ? .delete : .other
        case 7: return spells("OPTIONS") ? .options : spells("CONNECT") ? .connect : .other
        default: return .other
        }
    }

    private mutating func parseTarget(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) throws(HTTPFault) {
        authorityCount = 0
        targetStart = start
        targetCount = count
        let first = bytes[start]
        if first == 0x2f {
            form = .origin
        } else if first == 0x2a, count == 1 {
            guard method == .options else { throw HTTPFault(400, "the target * is for OPTIONS only") }
            form = .asterisk
            targetCount = 0
            pathCount = 0
            return
        } else if method == .connect {
            form = .origin
            pathCount = 0
            return
        } else {
            form = .absolute
            try parseAbsolute(bytes, start, count)
        }
        var index = targetStart
        let end = targetStart &+ targetCount
        var suspicious = false
        // A dot behind a separator, or anything encoded, is worth a closer look.
        var previous: UInt8 = 0
        while index < end, bytes[index] != 0x3f {
            let byte = bytes[index]
            if byte == 0x25 || byte == 0x5c || byte == 0x2e && previous == 0x2f { suspicious = true }
            previous = byte
            index &+= 1
        }
        pathCount = index &- targetStart
        if suspicious, Grammar.hasDotSegment(bytes, targetStart, pathCount) {
            throw HTTPFault(400, "a . or .. segment in the path")
        }
    }

    private mutating func parseAbsolute(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) throws(HTTPFault) {
        let scheme: Int
        if count > 7, bytes.equalsIgnoringCase("http://", at: start, count: 7) {
            scheme = 7
        } else if count > 8, bytes.equalsIgnoringCase("https://", at: start, count: 8) {
            scheme = 8
        } else {
            throw HTTPFault(400, "a target that is neither a path nor an http URL")
        }
        authorityStart = start &+ scheme
        var index = authorityStart
        let end = start &+ count
        while index < end, bytes[index] != 0x2f, bytes[index] != 0x3f { index &+= 1 }
        authorityCount = index &- authorityStart
        guard Grammar.isAuthority(bytes, authorityStart, authorityCount) else {
            throw HTTPFault(400, "an invalid host in the target")
        }
        targetStart = index
        targetCount = end &- index
    }

    /// What can only be judged when all fields are there.
    private func check(_ bytes: Span<UInt8>) throws(HTTPFault) {
        if fields.hasHost {
            let host = fields.lines[fields.hostIndex]
            guard Grammar.isAuthority(bytes, Int(host.valueStart), Int(host.valueCount)) else {
                throw HTTPFault(400, "an invalid Host")
            }
        } else if minorVersion >= 1 {
            throw HTTPFault(400, "HTTP/1.1 without Host")
        }
        if minorVersion == 0, fields.hasTransferEncoding { throw HTTPFault(400, "Transfer-Encoding in HTTP/1.0") }
        if method == .connect { throw HTTPFault(501, "CONNECT is not done here") }
        if method == .trace || method == .options, let bad = fields.badMaxForwards(in: bytes) {
            throw HTTPFault(400, "Max-Forwards is `\(bad)`, which is not a number")
        }
    }
}

/// How a message body is delimited (RFC 9112 6.3).
public enum BodyFraming: Equatable, Sendable {
    case none
    case length(UInt64)
    case chunked
    /// Responses only: the end of the connection is the end of the body.
    case untilClose
}
