/// Small conversions between bytes and words for people.
public enum Text {
    /// `0x1f`.
    public static func hex(_ byte: UInt8) -> String {
        "0x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }

    @inlinable
    public static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x61...0x66: byte - 0x57
        case 0x41...0x46: byte - 0x37
        default: nil
        }
    }

    /// What stands at an offset, for a message: `x`, a control character by number, or the end.
    static func describe(_ source: [UInt8], at offset: Int) -> String {
        guard offset < source.count else { return "the end of the text" }
        let byte = source[offset]
        switch byte {
        case 0x0a, 0x0d: return "a line break"
        case 0x09: return "a tab"
        case 0x20: return "a space"
        case 0..<0x20, 0x7f: return "the control character \(hex(byte))"
        default: break
        }
        var end = offset + 1
        while end < source.count, source[end] & 0xc0 == 0x80 { end += 1 }
        return "`\(String(decoding: source[offset..<end], as: UTF8.self))`"
    }

    /// Untrusted bytes for a message: shortened, control characters escaped.
    public static func shown(_ bytes: some Collection<UInt8>, limit: Int = 60) -> String {
        var out = ""
        for scalar in String(decoding: bytes.prefix(limit), as: UTF8.self).unicodeScalars {
            if scalar.value < 0x20 || scalar.value == 0x7f {
                out += "\\x" + hex(UInt8(scalar.value)).dropFirst(2)
            } else {
                out.unicodeScalars.append(scalar)
            }
        }
        return bytes.count > limit ? out + "..." : out
    }

    /// The nearest of `allowed` to what was written, if it is near enough to be a slip (Damerau-Levenshtein distance of at
    /// most a third of its length).
    public static func nearest(_ word: String, _ allowed: [String]) -> String? {
        let written = Array(word.lowercased().utf8.prefix(64))
        var best: (distance: Int, word: String)?
        for candidate in allowed {
            let distance = editDistance(written, Array(candidate.lowercased().utf8))
            if distance < best?.distance ?? Int.max { best = (distance, candidate) }
        }
        guard let best, best.distance <= max(1, max(written.count, best.word.utf8.count) / 3) else { return nil }
        return best.word
    }

    private static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var beforeLast = [Int](repeating: 0, count: b.count + 1)
        var last = Array(0...b.count)
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, beforeLast[j - 1] + 1) }
                row.append(cost)
            }
            beforeLast = last
            last = row
        }
        return last[b.count]
    }
}

extension Text {
    /// Sixteen lower-case hexadecimal digits.
    public static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}
