import Shared

/// A domain name as it stands in messages (RFC 1035 3.1), in lower case: names are compared without case (RFC 4343).
struct DNSName: Hashable, Sendable {
    /// Labels, each behind its length; the root's empty one is left out.
    private(set) var labels: [UInt8] = []

    /// With the root's label (RFC 1035 2.3.4).
    private static let maxBytes = 255
    private static let maxLabelBytes = 63

    private init() {}

    /// A name as people write it, with or without its final dot. Nil: a part is empty or longer than 63 bytes, or the whole longer than
    /// 255.
    init?(_ text: String) {
        var bytes = Array(text.utf8)
        if bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
        guard !bytes.isEmpty else { return nil }
        for label in bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard append(label) else { return nil }
        }
    }

    /// Whether there was room for it.
    private mutating func append(_ label: some Collection<UInt8>) -> Bool {
        guard !label.isEmpty, label.count <= Self.maxLabelBytes, labels.count + label.count + 2 <= Self.maxBytes else {
            return false
        }
        labels.append(UInt8(label.count))
        for byte in label { labels.append(byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte) }
        return true
    }

    /// This name within a domain; nil: too long.
    func within(_ domain: DNSName) -> DNSName? {
        guard labels.count + domain.labels.count + 1 <= Self.maxBytes else { return nil }
        var name = self
        name.labels += domain.labels
        return name
    }

    /// As it stands in a message, with the root's label.
    var wire: [UInt8] { labels + [0] }

    /// Reads a name at `position`, and moves that behind it. Nil: it is cut or too long, or a pointer does not lead back (RFC 1035
    /// 4.1.4). Reading always ends: a pointer leads back, and each label counts towards the 255 bytes.
    static func read(_ bytes: Span<UInt8>, _ position: inout Int) -> DNSName? {
        var name = DNSName()
        var place = position
        var end: Int?
        while true {
            guard place < bytes.count else { return nil }
            let length = Int(bytes[place])
            switch length {
            case 0:
                position = end ?? place + 1
                return name
            case 1...maxLabelBytes:
                guard length < bytes.count - place, name.append(bytes.array(place + 1, length)) else { return nil }
                place += 1 + length
            case 0xc0...0xff:
                guard place + 1 < bytes.count else { return nil }
                let target = (length & 0x3f) << 8 | Int(bytes[place + 1])
                guard target < place else { return nil }
                if end == nil { end = place + 2 }
                place = target
            default: return nil
            }
        }
    }

    /// As people write it, without the final dot. Bytes that no host name has are shown as RFC 1035 5.1 writes them.
    var text: String {
        var out: [UInt8] = []
        var place = 0
        while place < labels.count {
            if place > 0 { out.append(UInt8(ascii: ".")) }
            let length = Int(labels[place])
            for byte in labels[place + 1..<place + 1 + length] {
                if byte > 0x20, byte < 0x7f, byte != UInt8(ascii: "."), byte != UInt8(ascii: "\\") {
                    out.append(byte)
                } else {
                    out.append(UInt8(ascii: "\\"))
                    for power in [100, 10, 1] as [UInt8] { out.append(0x30 + byte / power % 10) }
                }
            }
            place += 1 + length
        }
        return out.isEmpty ? "." : String(decoding: out, as: UTF8.self)
    }
}
