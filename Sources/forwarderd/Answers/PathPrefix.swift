import Shared

/// The rest of a path after `strip_prefix` has removed the API path.
enum PathPrefix {
    /// Whether the rest begins with two separators in the eyes of some programs, so that a Location field with it would name a host, like
    /// `//host` and `/\host`: a backslash, `%2f` or `%5c` after slashes, or a second slash after parts that some programs ignore (path
    /// parameters such as `;x`, encoded blanks and control bytes).
    static func beginsAnotherAuthority(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Bool {
        var index = start
        let end = start + count
        while index < end, bytes[index] == 0x2f { index += 1 }
        var hasLeftOut = false
        while index < end {
            switch bytes[index] {
            case 0x5c: return true
            case 0x2f: return hasLeftOut
            case 0x3b:
                while index < end, bytes[index] != 0x2f, bytes[index] != 0x5c { index += 1 }
                hasLeftOut = true
            case 0x25:
                guard index + 2 < end, let high = Text.hexValue(bytes[index + 1]),
                    let low = Text.hexValue(bytes[index + 2])
                else { return false }
                switch high << 4 | low {
                case 0x2f, 0x5c: return true
                case 0...0x20, 0x7f: hasLeftOut = true
                default: return false
                }
                index += 3
            default: return false
            }
        }
        return false
    }
}
