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
        let scalars = String(decoding: source[offset..<end], as: UTF8.self).unicodeScalars
        if let scalar = scalars.first, isInvisible(scalar) { return "the invisible character \(codePoint(scalar))" }
        return "`\(String(scalars))`"
    }

    /// `U+202E`.
    static func codePoint(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16, uppercase: true)
        return "U+" + String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
    }

    /// Characters that a reader does not see, or that a terminal obeys instead of showing them: controls, spaces other than the
    /// usual one, those that change the direction of writing or break lines (Unicode Standard Annex 9 and 14), and those that are
    /// ignored where they are not known (Default_Ignorable_Code_Point).
    public static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7f...0xa0: return true
        case 0..<0xa0: return false
        case 0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x1680, 0x17b4, 0x17b5, 0x180b...0x180f, 0x2000...0x200f,
            0x2028...0x202f,
            0x205f...0x206f, 0x3000, 0x3164, 0xfe00...0xfe0f, 0xfeff, 0xffa0, 0xfff0...0xfffb, 0xe0000...0xe0fff:
            return true
        default: return false
        }
    }

    /// What a reader of these bytes would not see, for the end of a message: ` (it holds the invisible character U+00A0)`; empty where
    /// there is nothing.
    static func unseen(_ bytes: some Collection<UInt8>) -> String {
        guard bytes.contains(where: { $0 >= 0x80 || $0 < 0x20 || $0 == 0x7f }) else { return "" }
        let scalars = String(decoding: bytes, as: UTF8.self).unicodeScalars
        if let scalar = scalars.first(where: isInvisible) {
            return " (it holds the invisible character \(codePoint(scalar)))"
        }
        // Letters and signs of other scripts that look like those of keys and numbers.
        if let scalar = scalars.first(where: { !$0.isASCII }) {
            return " (it holds \(codePoint(scalar)) `\(scalar)`, which is not an ASCII character)"
        }
        return ""
    }

    /// Cells of a terminal that a character takes: 2 for the wide ones of East Asia and for pictures (Unicode Standard Annex
    /// 11), 0 for those that are drawn over the one before.
    static func cells(_ scalar: Unicode.Scalar) -> Int {
        switch scalar.value {
        case 0..<0x300: return 1
        case 0x1100...0x115f, 0x2e80...0x303e, 0x3041...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f,
            0xff00...0xff60, 0xffe0...0xffe6, 0x1f300...0x1f64f, 0x1f680...0x1f6ff, 0x1f900...0x1faff,
            0x20000...0x3fffd:
            return 2
        default: break
        }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return 0
        default: return 1
        }
    }

    /// Untrusted bytes for a message: shortened, control characters escaped.
    public static func shown(_ bytes: some Collection<UInt8>, limit: Int = 60) -> String {
        var out = ""
        for scalar in String(decoding: bytes.prefix(limit), as: UTF8.self).unicodeScalars {
            if scalar.value < 0x80, isInvisible(scalar) {
                out += "\\x" + hex(UInt8(scalar.value)).dropFirst(2)
            } else if isInvisible(scalar) {
                out += "<\(codePoint(scalar))>"
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
