/// Character classes of RFC 9110 5.6 and RFC 3986, as bit sets over ASCII.
@usableFromInline
struct ASCIISet: Sendable {
    @usableFromInline let low: UInt64
    @usableFromInline let high: UInt64

    @usableFromInline init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    @inlinable @inline(__always)
    func contains(_ byte: UInt8) -> Bool {
        let word = byte & 0x40 == 0 ? low : high
        return byte < 0x80 && word >> UInt64(byte & 0x3f) & 1 == 1
    }
}

public enum Grammar {
    /// tchar: ! # $ % & ' * + - . ^ _ ` | ~ digits letters (RFC 9110 5.6.2).
    @inlinable @inline(__always)
    static var token: ASCIISet { ASCIISet(low: 0x03ff_6cfa_0000_0000, high: 0x57ff_ffff_c7ff_fffe) }

    /// Letters, digits and `-`.
    @inlinable @inline(__always)
    static var plainName: ASCIISet { ASCIISet(low: 0x03ff_2000_0000_0000, high: 0x07ff_fffe_07ff_fffe) }

    @inlinable @inline(__always)
    public static func isToken(_ byte: UInt8) -> Bool { token.contains(byte) }

    /// Bytes of a request target: visible ASCII without `#`: no control, space, DEL, non-ASCII.
    @inlinable @inline(__always)
    public static func isTarget(_ byte: UInt8) -> Bool { byte > 0x20 && byte < 0x7f && byte != 0x23 }

    /// Bytes of a field value: visible ASCII, obs-text, SP and HTAB (RFC 9110 5.5).
    @inlinable @inline(__always)
    public static func isFieldValue(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != 0x7f || byte == 0x09 }

    /// Characters of a name that is not encoded: unreserved and sub-delims (RFC 3986 3.2.2).
    @inlinable @inline(__always)
    static var host: ASCIISet { ASCIISet(low: 0x2bff_7fd2_0000_0000, high: 0x47ff_fffe_87ff_fffe) }

    /// Whether a range is `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, without userinfo; not empty.
    static func isAuthority(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Bool {
        let end = start &+ count
        var index = start
        // A name has at most 253 bytes (RFC 1035 2.3.4); what is longer would grow the forwarded head without bound.
        guard index < end, count <= Limits.authorityBytes else { return false }
        if bytes[index] == 0x5b {
            index += 1
            let first = index
            while index < end, bytes[index] != 0x5d { index += 1 }
            guard index < end, isIPv6(bytes, first, index) else { return false }
            index += 1
        } else {
            let first = index
            let name = bytes.extracting(0..<end)
            index = name.end(of: host, from: first)
            while index < end, bytes[index] == 0x25 {
                guard index &+ 2 < end, Text.hexValue(bytes[index &+ 1]) != nil, Text.hexValue(bytes[index &+ 2]) != nil
                else { return false }
                index = name.end(of: host, from: index &+ 3)
            }
            guard index > first else { return false }
        }
        if index == end { return true }
        guard bytes[index] == 0x3a else { return false }
        index += 1
        guard end - index <= 5 else { return false }
        var port = 0
        while index < end {
            guard bytes[index] >= 0x30, bytes[index] <= 0x39 else { return false }
            port = port * 10 + Int(bytes[index] - 0x30)
            index += 1
        }
        return port <= 65535
    }

    /// An IPv6 address as RFC 3986 3.2.2 has it: eight groups, `::` for one or more of them, the last two as IPv4 perhaps.
    static func isIPv6(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
        var groups = 0
        var isCompressed = false
        var index = start
        if index + 1 < end, bytes[index] == 0x3a, bytes[index + 1] == 0x3a {
            isCompressed = true
            index += 2
        }
        while index < end {
            let first = index
            while index < end, Text.hexValue(bytes[index]) != nil { index += 1 }
            if index < end, bytes[index] == 0x2e {
                guard isIPv4(bytes, first, end) else { return false }
                groups += 2
                break
            }
            guard index > first, index - first <= 4 else { return false }
            groups += 1
            if index == end { break }
            guard bytes[index] == 0x3a, index + 1 < end else { return false }
            index += 1
            if bytes[index] == 0x3a {
                guard !isCompressed else { return false }
                isCompressed = true
                index += 1
            }
        }
        return isCompressed ? groups <= 7 : groups == 8
    }

    private static func isIPv4(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
        var parts = 0
        var index = start
        while true {
            let first = index
            var value = 0
            while index < end, index - first < 3, bytes[index] >= 0x30, bytes[index] <= 0x39 {
                value = value * 10 + Int(bytes[index] - 0x30)
                index += 1
            }
            guard index > first, value <= 255, index - first == 1 || bytes[first] != 0x30 else { return false }
            parts += 1
            if index == end { return parts == 4 }
            guard parts < 4, bytes[index] == 0x2e else { return false }
            index += 1
        }
    }

    /// Whether a path holds a `.` or `..` segment, also percent-encoded, also where the separator is `%2f`, `\` or `%5c`, and where
    /// parameters (`..;x`, RFC 3986 3.3), white space or NUL stand behind the dots, which many servers cut off: such a path could
    /// mean one thing here and another at the instance.
    static func hasDotSegment(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Bool {
        let end = start + count
        var index = start
        var dots = 0
        var others = false
        var inSegment = false
        var inParameters = false
        while index < end {
            var byte = bytes[index]
            var width = 1
            if byte == 0x25, index + 2 < end, let high = Text.hexValue(bytes[index + 1]),
                let low = Text.hexValue(bytes[index + 2])
            {
                byte = high << 4 | low
                width = 3
            }
            if byte == 0x2f || byte == 0x5c {
                if inSegment, !others, dots == 1 || dots == 2 { return true }
                inSegment = true
                dots = 0
                others = false
                inParameters = false
            } else if inParameters || byte == 0x3b {
                inParameters = true
            } else if byte == 0 || byte == 0x09 || byte == 0x20 {
                // As if it were not there.
            } else if byte == 0x2e {
                dots += 1
            } else {
                others = true
            }
            index += width
        }
        return inSegment && !others && (dots == 1 || dots == 2)
    }

    /// Where the token that begins at `start` ends.
    @inline(__always)
    static func endOfToken(_ bytes: Span<UInt8>, _ start: Int) -> Int {
        var index = start
        // Letters and `-`, of which nearly all names of fields consist, eight at a time: each byte's highest bit says whether it is one.
        while index <= bytes.count &- 8 {
            let word = bytes.word(at: index)
            let lower = (word | 0x2020_2020_2020_2020) & 0x7f7f_7f7f_7f7f_7f7f
            let letters = (lower &+ 0x1f1f_1f1f_1f1f_1f1f) & ~(lower &+ 0x0505_0505_0505_0505) & ~word
            let difference = word ^ 0x2d2d_2d2d_2d2d_2d2d
            let hyphens = ~((difference & 0x7f7f_7f7f_7f7f_7f7f &+ 0x7f7f_7f7f_7f7f_7f7f) | difference)
            let others = ~(letters | hyphens) & 0x8080_8080_8080_8080
            if others != 0 {
                index &+= others.trailingZeroBitCount / 8
                break
            }
            index &+= 8
        }
        return bytes.end(of: token, from: index)
    }

    /// The first byte at or after `start` that cannot be in a field value (usually the CR); `bytes.count` if there is none.
    @inline(__always)
    static func endOfFieldValue(_ bytes: Span<UInt8>, _ start: Int) -> Int {
        var index = start
        let count = bytes.count
        while true {
            // Eight bytes at a time: is any below 0x20, or 0x7f? (Bit tricks: Warren, Hacker's Delight, 6-1.)
            while index <= count &- 8 {
                let word = bytes.word(at: index)
                let low = (word &- 0x2020_2020_2020_2020) & ~word
                let delete = word ^ 0x7f7f_7f7f_7f7f_7f7f
                let mask = (low | ((delete &- 0x0101_0101_0101_0101) & ~delete)) & 0x8080_8080_8080_8080
                if mask != 0 {
                    index &+= mask.trailingZeroBitCount / 8
                    break
                }
                index &+= 8
            }
            while index < count, isFieldValue(bytes[index]) {
                index &+= 1
                if index & 7 == 0, index <= count &- 8 { break }
            }
            if index >= count || !isFieldValue(bytes[index]) { return index }
        }
    }
}
