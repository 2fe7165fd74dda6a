import Shared

/// A file of history: blocks with a checksum each, only ever appended to. A torn end costs the last block.
///
/// The head is `SPYHIST1`, the span class and seven zero bytes. A block is its kind (1: instances, 2: packets) and its payload's length, both 32 bits,
/// the payload's FNV-1a digest (64 bits), and the payload. Instances are 64-bit keys (`CounterKey`), numbered from 0 on in the order in
/// which they come. Packets are a base time (64 bits, milliseconds since 1970) and 8 bytes each: the instance's number (24 bits), the
/// outcome (24 bits) and the start since the base (16 bits). All little-endian.
enum HistorySegment {
    static let headBytes = 16
    private static let magic = Array("SPYHIST1".utf8)
    private static let blockHeadBytes = 16
    static let instancesLimit = 1 << 24

    enum Kind: UInt32 { case instances = 1, packets = 2 }

    static func head(_ spanClass: Int) -> [UInt8] { magic + [UInt8(spanClass), 0, 0, 0, 0, 0, 0, 0] }

    /// `history-CLASS-NUMBER`.
    static func name(_ spanClass: Int, _ number: UInt64) -> String {
        "history-\(spanClass < 10 ? "0" : "")\(spanClass)-" + Text.hexadecimal(number)
    }

    static func parse(name: String) -> (spanClass: Int, number: UInt64)? {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, let spanClass = DecimalDigits.parse(parts[1].utf8, max: 63),
            let number = UInt64(parts[2], radix: 16), number <= Limits.numberMaximum,
            // What is written otherwise is another file's name.
            name == Self.name(Int(spanClass), number)
        else { return nil }
        return (Int(spanClass), number)
    }

    static func append(_ kind: Kind, _ payload: [UInt8], to out: inout [UInt8]) {
        put(UInt64(kind.rawValue) | UInt64(payload.count) << 32, 8, to: &out)
        var digest = LineDigest()
        digest.add(payload)
        put(digest.value, 8, to: &out)
        out += payload
    }

    @inline(__always)
    static func put(_ value: UInt64, _ bytes: Int, to out: inout [UInt8]) {
        for index in 0..<bytes { out.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))) }
    }

    /// What a file holds.
    struct Content {
        var keys: [UInt64] = []
        var packets = 0
        /// When the newest of its packets began.
        var newest: UInt64 = 0
        /// How many bytes of it are whole.
        var wholeBytes = 0
    }

    /// Reads a file; nil: it is none of ours. `packet` gets each one's key, start and outcome.
    static func read(_ bytes: [UInt8], _ packet: (UInt64, UInt64, PollOutcome) -> Void) -> Content? {
        var content = Content()
        // One whose making was interrupted is torn, not foreign.
        if bytes.count < headBytes { return magic.starts(with: bytes.prefix(magic.count)) ? content : nil }
        guard bytes.starts(with: magic) else { return nil }
        let span = bytes.span
        var at = headBytes
        content.wholeBytes = at
        while bytes.count - at >= blockHeadBytes {
            let word = span.word(at: at)
            let length = Int(word >> 32)
            guard let kind = Kind(rawValue: UInt32(truncatingIfNeeded: word)), length % 8 == 0,
                length <= bytes.count - at - blockHeadBytes
            else { break }
            let payload = at + blockHeadBytes
            var digest = LineDigest()
            digest.add(bytes[payload..<payload + length])
            guard digest.value == span.word(at: at + 8) else { break }
            switch kind {
            case .instances:
                for place in stride(from: payload, to: payload + length, by: 8) {
                    content.keys.append(span.word(at: place))
                }
            case .packets:
                guard length >= 8 else { break }
                let base = span.word(at: payload)
                for place in stride(from: payload + 8, to: payload + length, by: 8) {
                    let record = span.word(at: place)
                    let number = Int(record & 0xff_ffff)
                    guard number < content.keys.count else { continue }
                    let start = min(base, Limits.numberMaximum) + record >> 48
                    packet(content.keys[number], start, PollOutcome(rawValue: UInt32(record >> 24 & 0xff_ffff)))
                    content.packets += 1
                    content.newest = max(content.newest, start)
                }
            }
            at = payload + length
            content.wholeBytes = at
        }
        return content
    }
}
