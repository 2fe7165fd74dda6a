import Shared

/// The Via field: `protocol name (comment)`, in lists (RFC 9110 7.6.3).
enum Via {
    /// How often a pseudonym is in it; case does not matter.
    static func count(of name: [UInt8], _ head: borrowing RequestHead, _ bytes: Span<UInt8>) -> Int {
        var count = 0
        for line in head.fields.lines where line.name == .via {
            let end = Int(line.valueStart) + Int(line.valueCount)
            var index = Int(line.valueStart)
            var depth = 0
            var wordStart = index
            while index <= end {
                let byte = index < end ? bytes[index] : 0x2c
                if byte == 0x28 {
                    depth += 1
                } else if byte == 0x29, depth > 0 {
                    depth -= 1
                } else if depth == 0, byte == 0x20 || byte == 0x09 || byte == 0x2c {
                    if spells(name, bytes, wordStart, index) { count += 1 }
                    wordStart = index + 1
                }
                index += 1
            }
        }
        return count
    }

    private static func spells(_ name: [UInt8], _ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
        guard end - start == name.count else { return false }
        for offset in name.indices {
            let (a, b) = (bytes[start + offset], name[offset])
            if (a &- 0x41 < 26 ? a | 0x20 : a) != (b &- 0x41 < 26 ? b | 0x20 : b) { return false }
        }
        return true
    }
}
