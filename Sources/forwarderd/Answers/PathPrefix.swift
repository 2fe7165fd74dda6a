import Shared

/// What is left of a path when `strip_prefix` has taken the API path away.
enum PathPrefix {
    /// Whether the rest begins with what programs take for two separators: a backslash, `%2f` or `%5c` behind slashes, or a second slash
    /// of any kind behind what some of them leave out: path parameters (`;x`), encoded blanks and control bytes. `/\host` and `//host`
    /// name a host to a program that puts such a path into a Location field.
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
