/// What an API path may be.
public enum PathRule {
    /// What is wrong with a path, as the end of a sentence; nil when nothing is.
    static func fault(_ path: String) -> String? {
        let bytes = Array(path.utf8)
        guard bytes.first == UInt8(ascii: "/") else { return "does not begin with /" }
        if bytes.count > Limits.keyBytes { return "has \(bytes.count) bytes; at most \(Limits.keyBytes) are allowed" }
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            if byte == UInt8(ascii: "?") { return "holds a query; paths alone are matched" }
            if byte == UInt8(ascii: "#") { return "holds a fragment, which no request carries" }
            if byte == UInt8(ascii: "%") {
                guard index + 2 < bytes.count, Text.hexValue(bytes[index + 1]) != nil,
                    Text.hexValue(bytes[index + 2]) != nil
                else {
                    return "holds a % without two hex digits"
                }
            }
            if !Grammar.isTarget(byte) { return "holds a character that no request can carry; write it as %XX" }
            index += 1
        }
        if Grammar.hasDotSegment(bytes.span, 0, bytes.count) {
            return "holds a . or .. segment, which requests may not have"
        }
        if path.contains("//") { return "holds //" }
        return nil
    }

    /// Without a trailing slash: `/orders/` and `/orders` are one route.
    static func normal(_ path: String) -> String {
        path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    }
}

/// Times as people write them.
public enum Duration {
    /// `250ms`, `5s`, `1m`, `2h`, `1d`, or a number of seconds; fractions allowed. Milliseconds, rounded; nil when it is none.
    public static func parse(_ text: String) -> UInt64? {
        for (unit, factor) in [("ms", 1.0), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
        where text.hasSuffix(unit) {
            let digits = text.dropLast(unit.count)
            if digits.last?.isNumber ?? false { return scaled(String(digits), factor) }
        }
        return scaled(text, 1000)
    }

    /// Rounded; nil below zero and above what a time can be.
    static func milliseconds(seconds: Double) -> UInt64? {
        let scaled = (seconds * 1000).rounded()
        return scaled >= 0 && scaled < 1e15 ? UInt64(scaled) : nil
    }

    private static func scaled(_ text: String, _ factor: Double) -> UInt64? {
        guard
            text.utf8.allSatisfy({
                $0 >= 0x30 && $0 <= 0x39 || $0 == 0x2e || $0 == 0x65 || $0 == 0x45 || $0 == 0x2b || $0 == 0x2d
            }),
            let value = Double(text), value.isFinite, value >= 0
        else { return nil }
        let scaled = (value * factor).rounded()
        return scaled < 1e15 ? UInt64(scaled) : nil
    }

    /// `250 ms`, `5 s`.
    public static func text(_ milliseconds: UInt64) -> String {
        milliseconds % 1000 == 0 ? "\(milliseconds / 1000) s" : "\(milliseconds) ms"
    }
}
