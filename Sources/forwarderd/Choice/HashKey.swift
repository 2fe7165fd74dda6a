import Shared

/// The hash that `balance: hash` chooses by.
enum HashKey {
    /// The hash of the field or cookie, or of the client's address if the request has none.
    static func value(_ by: BalancePolicy.HashKey, _ head: RequestHead, _ bytes: Span<UInt8>, client: [UInt8]) -> UInt64
    {
        named(by, head, bytes) ?? RouteTable.hash(client)
    }

    /// The hash of the field or cookie; nil: the request has none, or the policy hashes the client's address.
    static func named(_ by: BalancePolicy.HashKey, _ head: RequestHead, _ bytes: Span<UInt8>) -> UInt64? {
        switch by {
        case .clientAddress: break
        case .header(let name):
            if name == "host", let host = head.authority {
                return RouteTable.hash(bytes.array(host.start, host.count))
            }
            for line in head.fields.lines where spells(name, bytes, line) { return hash(bytes, line) }
        case .cookie(let name):
            for line in head.fields.lines where spells("cookie", bytes, line) {
                let value = bytes.array(Int(line.valueStart), Int(line.valueCount))
                // cookie-pair *( ";" SP cookie-pair ), RFC 6265 4.2.1.
                for pair in value.split(separator: UInt8(ascii: ";")) {
                    let pair = pair.drop { $0 == 0x20 }
                    if pair.starts(with: name.utf8), pair.dropFirst(name.utf8.count).first == UInt8(ascii: "=") {
                        return RouteTable.hash(Array(pair.dropFirst(name.utf8.count + 1)))
                    }
                }
            }
        }
        return nil
    }

    private static func hash(_ bytes: Span<UInt8>, _ line: FieldLine) -> UInt64 {
        RouteTable.hash(bytes.array(Int(line.valueStart), Int(line.valueCount)))
    }

    /// `name` is in lower case.
    private static func spells(_ name: String, _ bytes: Span<UInt8>, _ line: FieldLine) -> Bool {
        guard Int(line.nameCount) == name.utf8.count else { return false }
        var index = Int(line.nameStart)
        for byte in name.utf8 {
            let other = bytes[index]
            if byte != (other &- 0x41 < 26 ? other | 0x20 : other) { return false }
            index &+= 1
        }
        return true
    }
}
