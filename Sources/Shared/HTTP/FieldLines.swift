/// The field section of a message (RFC 9112 5), read over bytes into offsets. Kept and reused, so that reading allocates
/// nothing once its array has grown.
public struct FieldLines: Sendable {
    public private(set) var lines: [FieldLine] = []
    /// The one Content-Length, if any.
    public private(set) var contentLength: UInt64?
    public private(set) var hasTransferEncoding = false
    /// The index of Host; -1 for none.
    public private(set) var hostIndex = -1
    public private(set) var hasHost = false
    /// Tokens of Connection (RFC 9110 7.6.1).
    public private(set) var closes = false
    public private(set) var keepsAlive = false
    public private(set) var connectionUpgrade = false
    /// Names that Connection nominated beside the three above: ranges of (start, count).
    public private(set) var nominated: [(start: Int32, count: Int32)] = []
    public private(set) var viaCount = 0
    public private(set) var upgradeIndex = -1
    /// An Expect, and one other than 100-continue (RFC 9110 10.1.1).
    public private(set) var expects = false
    public private(set) var hasUnknownExpect = false
    public private(set) var maxForwardsIsZero = false
    public private(set) var hasDate = false
    /// The index of the X-Request-Id that counts: the first that is neither empty nor too long; -1 for none.
    public private(set) var requestIDIndex = -1
    /// X-Forwarded-* or Forwarded.
    public private(set) var hasForwarded = false
    public private(set) var teTrailers = false
    public private(set) var keepAliveIndex = -1

    public init() { lines.reserveCapacity(Limits.headFields) }

    mutating func removeAll() {
        lines.removeAll(keepingCapacity: true)
        contentLength = nil
        hasTransferEncoding = false
        hostIndex = -1
        hasHost = false
        closes = false
        keepsAlive = false
        connectionUpgrade = false
        if !nominated.isEmpty { nominated.removeAll(keepingCapacity: true) }
        viaCount = 0
        upgradeIndex = -1
        expects = false
        hasUnknownExpect = false
        maxForwardsIsZero = false
        hasDate = false
        requestIDIndex = -1
        hasForwarded = false
        teTrailers = false
        keepAliveIndex = -1
    }

    /// Which side sent it: requests are refused where responses are mended (RFC 9112 5.1, 5.2).
    public enum Side: Sendable { case request, response }

    /// Reads lines from `position` up to and with the empty one. Returns false when the bytes end before it.
    /// `position` is behind the empty line on success. `isTrailer`: what the fields say counts for nothing, only their syntax does.
    mutating func read(
        _ bytes: Span<UInt8>, from position: inout Int, side: Side, maxFields: Int, isTrailer: Bool = false
    ) throws(HTTPFault) -> Bool {
        let count = bytes.count
        let status: UInt16 = side == .request ? 400 : 502
        var index = position
        while true {
            guard index < count else { return false }
            if bytes[index] == 0x0d {
                guard index &+ 1 < count else { return false }
                guard bytes[index &+ 1] == 0x0a else { throw HTTPFault(status, "bare CR in the head", .bareCR) }
                position = index &+ 2
                return true
            }
            let nameStart = index
            index = Grammar.endOfToken(bytes, index)
            guard index < count else { return false }
            let nameCount = index &- nameStart
            if bytes[index] != 0x3a || nameCount == 0 { try nameEnds(bytes, &index, nameStart, nameCount, side) }
            guard index < count else { return false }
            index &+= 1
            while index < count, bytes[index] == 0x20 || bytes[index] == 0x09 { index &+= 1 }
            let valueStart = index
            index = Grammar.endOfFieldValue(bytes, index)
            guard index < count else { return false }
            guard bytes[index] == 0x0d else { throw Self.badByte(bytes[index], status) }
            guard index &+ 1 < count else { return false }
            guard bytes[index &+ 1] == 0x0a else { throw HTTPFault(status, "bare CR in a field value", .bareCR) }
            var valueEnd = index
            while valueEnd > valueStart, bytes[valueEnd &- 1] == 0x20 || bytes[valueEnd &- 1] == 0x09 { valueEnd &-= 1 }
            index &+= 2
            guard lines.count < maxFields else {
                throw HTTPFault(side == .request ? 431 : 502, "more than \(maxFields) fields", .tooManyFields)
            }
            let name = add(bytes, nameStart, nameCount, valueStart, valueEnd &- valueStart)
            if name != .other, !isTrailer { try note(name, bytes, valueStart, valueEnd &- valueStart, side) }
        }
    }

    private static func badByte(_ byte: UInt8, _ status: UInt16) -> HTTPFault {
        switch byte {
        case 0x0a: HTTPFault(status, "bare LF in a field value", .bareLF)
        case 0: HTTPFault(status, "NUL in a field value", .controlByte)
        default: HTTPFault(status, "control byte \(Text.hex(byte)) in a field value", .controlByte)
        }
    }

    /// The rare ends of a field name: obs-fold, white space before the colon, a name-less line, a bad byte.
    private func nameEnds(
        _ bytes: Span<UInt8>, _ index: inout Int, _ nameStart: Int, _ nameCount: Int, _ side: Side
    ) throws(HTTPFault) {
        let status: UInt16 = side == .request ? 400 : 502
        let byte = bytes[index]
        if nameCount == 0 {
            if byte == 0x20 || byte == 0x09 { throw HTTPFault(status, "a folded field line (obs-fold)", .foldedLine) }
            if byte == 0x3a { throw HTTPFault(status, "a field without a name", .fieldName) }
            if byte == 0x0a { throw HTTPFault(status, "bare LF in the head", .bareLF) }
        }
        if byte == 0x20 || byte == 0x09 {
            guard side == .response else { throw HTTPFault(status, "white space before the colon of a field") }
            while index < bytes.count, bytes[index] == 0x20 || bytes[index] == 0x09 { index &+= 1 }
            if index == bytes.count || bytes[index] == 0x3a { return }
        }
        throw HTTPFault(status, "byte \(Text.hex(byte)) in a field name", byte == 0x0a ? .bareLF : .fieldName)
    }

    @inline(__always)
    private mutating func add(
        _ bytes: Span<UInt8>, _ nameStart: Int, _ nameCount: Int, _ valueStart: Int, _ valueCount: Int
    ) -> FieldName {
        let name = FieldName.classify(bytes, nameStart, nameCount)
        lines.append(
            FieldLine(
                nameStart: Int32(truncatingIfNeeded: nameStart), nameCount: Int32(truncatingIfNeeded: nameCount),
                valueStart: Int32(truncatingIfNeeded: valueStart), valueCount: Int32(truncatingIfNeeded: valueCount),
                name: name))
        return name
    }

    /// Keeps what decides framing and persistence.
    private mutating func note(
        _ name: FieldName, _ bytes: Span<UInt8>, _ valueStart: Int, _ valueCount: Int, _ side: Side
    ) throws(HTTPFault) {
        let status: UInt16 = side == .request ? 400 : 502
        switch name {
        case .host:
            if hasHost { throw HTTPFault(status, "more than one Host", .severalHosts) }
            hasHost = true
            hostIndex = lines.count &- 1
        case .contentLength:
            if contentLength != nil { throw HTTPFault(status, "more than one Content-Length", .severalContentLengths) }
            contentLength = try Self.length(bytes, valueStart, valueCount, status)
            if bytes[valueStart] == 0x30, valueCount > 1 { skipLeadingZeros(bytes) }
            if hasTransferEncoding {
                throw HTTPFault(status, "both Content-Length and Transfer-Encoding", .bothLengths)
            }
        case .transferEncoding:
            if hasTransferEncoding {
                throw HTTPFault(status, "more than one Transfer-Encoding", .severalTransferEncodings)
            }
            if contentLength != nil {
                throw HTTPFault(status, "both Content-Length and Transfer-Encoding", .bothLengths)
            }
            guard bytes.equalsIgnoringCase("chunked", at: valueStart, count: valueCount) else {
                throw HTTPFault(
                    side == .request && Self.endsInChunked(bytes, valueStart, valueCount) ? 501 : status,
                    "a Transfer-Encoding other than chunked", .transferEncoding)
            }
            hasTransferEncoding = true
        case .connection:
            try connection(bytes, valueStart, valueCount, status)
        case .via: viaCount &+= 1
        case .upgrade: upgradeIndex = lines.count &- 1
        case .expect:
            expects = true
            Self.forEachListMember(bytes, valueStart, valueCount) { start, count in
                if !bytes.equalsIgnoringCase("100-continue", at: start, count: count) { hasUnknownExpect = true }
            }
        case .maxForwards:
            // Of several the smallest counts.
            var isZero = valueCount > 0
            for index in valueStart..<valueStart &+ valueCount where bytes[index] != 0x30 { isZero = false }
            if isZero { maxForwardsIsZero = true }
        case .date: hasDate = true
        case .xRequestID:
            if requestIDIndex < 0, valueCount > 0, valueCount <= Limits.requestIDBytes {
                requestIDIndex = lines.count &- 1
            }
        case .keepAlive: keepAliveIndex = lines.count &- 1
        case .te:
            Self.forEachListMember(bytes, valueStart, valueCount) { start, count in
                if bytes.equalsIgnoringCase("trailers", at: start, count: count) { teTrailers = true }
            }
        case .forwarded, .xForwardedFor, .xForwardedProto, .xForwardedHost: hasForwarded = true
        case .other, .proxyConnection, .trailer, .proxyAuthenticate, .proxyAuthorization, .http2Settings, .vouched,
            .disguised:
            break
        }
    }

    /// What is passed on of the last line's value is the number as everybody writes it.
    private mutating func skipLeadingZeros(_ bytes: Span<UInt8>) {
        let line = lines[lines.count &- 1]
        var skipped: Int32 = 0
        while skipped &+ 1 < line.valueCount, bytes[Int(line.valueStart &+ skipped)] == 0x30 { skipped &+= 1 }
        lines[lines.count &- 1] = FieldLine(
            nameStart: line.nameStart, nameCount: line.nameCount, valueStart: line.valueStart &+ skipped,
            valueCount: line.valueCount &- skipped, name: line.name)
    }

    /// 1*DIGIT up to 2^63-1 (RFC 9110 8.6); a list is refused even if its members are equal.
    private static func length(_ bytes: Span<UInt8>, _ start: Int, _ count: Int, _ status: UInt16) throws(HTTPFault)
        -> UInt64
    {
        guard count > 0, count <= 19 else {
            throw HTTPFault(status, "a Content-Length that is no number up to 2^63-1", .contentLength)
        }
        var value: UInt64 = 0
        for index in start..<start &+ count {
            let digit = bytes[index] &- 0x30
            guard digit <= 9 else {
                throw HTTPFault(status, "a Content-Length that is no number up to 2^63-1", .contentLength)
            }
            // 19 digits are below 10^19 and fit in 64 bits.
            value = value &* 10 &+ UInt64(digit)
        }
        guard value <= UInt64(Int64.max) else {
            throw HTTPFault(status, "a Content-Length above 2^63-1", .contentLength)
        }
        return value
    }

    /// A list whose last member is chunked and whose others are registered codings: known, but not done here.
    private static func endsInChunked(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Bool {
        var known = true
        var last = false
        var members = 0
        forEachListMember(bytes, start, count) { memberStart, memberCount in
            members += 1
            if last { known = false }
            last = bytes.equalsIgnoringCase("chunked", at: memberStart, count: memberCount)
            let coding =
                bytes.equalsIgnoringCase("gzip", at: memberStart, count: memberCount)
                || bytes.equalsIgnoringCase("x-gzip", at: memberStart, count: memberCount)
                || bytes.equalsIgnoringCase("deflate", at: memberStart, count: memberCount)
                || bytes.equalsIgnoringCase("compress", at: memberStart, count: memberCount)
                || bytes.equalsIgnoringCase("x-compress", at: memberStart, count: memberCount)
            if !last, !coding { known = false }
        }
        return known && last && members > 1
    }

    private mutating func connection(_ bytes: Span<UInt8>, _ start: Int, _ count: Int, _ status: UInt16)
        throws(HTTPFault)
    {
        var bad = false
        var tooMany = false
        Self.forEachListMember(bytes, start, count) { memberStart, memberCount in
            for index in memberStart..<memberStart + memberCount where !Grammar.isToken(bytes[index]) { bad = true }
            if bytes.equalsIgnoringCase("close", at: memberStart, count: memberCount) {
                closes = true
            } else if bytes.equalsIgnoringCase("keep-alive", at: memberStart, count: memberCount) {
                keepsAlive = true
            } else if bytes.equalsIgnoringCase("upgrade", at: memberStart, count: memberCount) {
                connectionUpgrade = true
            } else if nominated.count < Limits.headFields {
                nominated.append((Int32(truncatingIfNeeded: memberStart), Int32(truncatingIfNeeded: memberCount)))
            } else {
                tooMany = true
            }
        }
        if bad { throw HTTPFault(status, "a Connection option that is no token", .connectionOptions) }
        if tooMany { throw HTTPFault(status, "more than \(Limits.headFields) Connection options", .connectionOptions) }
    }

    /// Members of a comma-separated list without the white space around them; empty ones are skipped (RFC 9110 5.6.1).
    @inline(__always)
    static func forEachListMember(_ bytes: Span<UInt8>, _ start: Int, _ count: Int, _ body: (Int, Int) -> Void) {
        let end = start + count
        var index = start
        while index < end {
            while index < end, bytes[index] == 0x20 || bytes[index] == 0x09 || bytes[index] == 0x2c { index += 1 }
            let first = index
            while index < end, bytes[index] != 0x2c { index += 1 }
            var last = index
            while last > first, bytes[last - 1] == 0x20 || bytes[last - 1] == 0x09 { last -= 1 }
            if last > first { body(first, last - first) }
        }
    }

    /// The nominated names in lower case: what no trailer may be called either.
    public func nominatedNames(in bytes: Span<UInt8>) -> [[UInt8]] {
        nominated.map { name in
            bytes.array(Int(name.start), Int(name.count)).map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 }
        }
    }

    /// The value of `timeout` in Keep-Alive, seconds (RFC 2068 19.7.1); nil without one.
    public func announcedTimeout(in bytes: Span<UInt8>) -> UInt64? {
        guard keepAliveIndex >= 0 else { return nil }
        let line = lines[keepAliveIndex]
        var result: UInt64?
        Self.forEachListMember(bytes, Int(line.valueStart), Int(line.valueCount)) { start, count in
            if count > 8, bytes.equalsIgnoringCase("timeout=", at: start, count: 8) {
                result = DecimalDigits.parse(bytes.array(start + 8, count - 8), max: 86_400)
            }
        }
        return result
    }

    /// All lines of Upgrade as one list (RFC 9110 5.3).
    public func upgrade(in bytes: Span<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        for line in lines where line.name == .upgrade {
            if !result.isEmpty { result += [0x2c, 0x20] }
            result += bytes.array(Int(line.valueStart), Int(line.valueCount))
        }
        return result
    }

    /// The value of a Max-Forwards that is not a number (RFC 9110 7.6.2); nil: there is none.
    func badMaxForwards(in bytes: Span<UInt8>) -> String? {
        for line in lines where line.name == .maxForwards {
            let value = bytes.array(Int(line.valueStart), Int(line.valueCount))
            if value.isEmpty || !value.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) { return Text.shown(value) }
        }
        return nil
    }

    /// Whether Connection named this field, so that it ends here.
    public func isNominated(_ line: FieldLine, in bytes: Span<UInt8>) -> Bool {
        for name in nominated where name.count == line.nameCount {
            var same = true
            for index in 0..<Int(name.count) {
                let a = bytes[Int(name.start) + index]
                let b = bytes[Int(line.nameStart) + index]
                if (a &- 0x41 < 26 ? a | 0x20 : a) != (b &- 0x41 < 26 ? b | 0x20 : b) {
                    same = false
                    break
                }
            }
            if same { return true }
        }
        return false
    }
}
