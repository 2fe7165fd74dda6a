import Shared

/// The protocols of an Upgrade field (RFC 9110 7.8).
enum UpgradeProtocols {
    /// The protocols of a request's Upgrade that are offered to an instance, as one list; empty for none, nil for invalid syntax. Any
    /// method and body may offer an upgrade, in any number of lines (RFC 9110 7.8, 5.3). HTTP itself is left out: it would change this
    /// forwarder's connection to the instance, not the client's.
    static func offer(of head: borrowing RequestHead, _ bytes: Span<UInt8>) -> [UInt8]? {
        guard head.minorVersion == 1, head.fields.connectionUpgrade else { return [] }
        var offer: [UInt8] = []
        for line in head.fields.lines where line.name == .upgrade {
            guard let members = list(bytes.array(Int(line.valueStart), Int(line.valueCount))) else { return nil }
            for member in members {
                if !isOurs(member) { append(member, to: &offer) }
            }
        }
        return offer
    }

    /// The protocols that a response 426 asks for, without those that are never offered; empty for none or invalid syntax.
    static func wanted(_ value: [UInt8]) -> [UInt8] {
        var wanted: [UInt8] = []
        for member in list(value) ?? [] where !isOurs(member) { append(member, to: &wanted) }
        return wanted
    }

    /// HTTP itself, which is each connection's own.
    private static func isOurs(_ member: ArraySlice<UInt8>) -> Bool {
        let lower = member.map(lowercase)
        return lower.starts(with: "h2".utf8) || lower.starts(with: "http".utf8)
    }

    private static func append(_ member: ArraySlice<UInt8>, to list: inout [UInt8]) {
        if !list.isEmpty { list += [0x2c, 0x20] }
        list += member
    }

    private static func lowercase(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

    /// The members of a list without empty ones (RFC 9110 5.6.1); nil if one is not a protocol.
    static func list(_ value: [UInt8]) -> [ArraySlice<UInt8>]? {
        let members = value.split(separator: UInt8(ascii: ",")).map { member in
            member.drop { $0 == 0x20 || $0 == 0x09 }.reversed().drop { $0 == 0x20 || $0 == 0x09 }.reversed()[...]
        }.filter { !$0.isEmpty }
        let isValid = members.allSatisfy { member in
            let parts = member.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            return parts.count <= 2 && parts.allSatisfy { !$0.isEmpty && $0.allSatisfy(Grammar.isToken) }
        }
        return isValid ? members.map { ArraySlice($0) } : nil
    }

    /// An instance switches only to a protocol that the client has offered (RFC 9110 7.8). Throws for any other response 101.
    static func check(_ head: ResponseHead, _ bytes: Span<UInt8>, offered: [UInt8]) throws(HTTPFault) {
        guard !offered.isEmpty else { throw HTTPFault(502, "101 without an upgrade") }
        guard head.fields.upgradeIndex >= 0, head.fields.connectionUpgrade else {
            throw HTTPFault(502, "101 without Upgrade and Connection: upgrade")
        }
        guard allows(head.fields.upgrade(in: bytes), offered: offered) else {
            throw HTTPFault(502, "101 with a protocol that was not offered")
        }
    }

    /// Whether `offered` contains `chosen`, ignoring case.
    static func allows(_ chosen: [UInt8], offered: [UInt8]) -> Bool {
        let offers = list(offered.map(lowercase)) ?? []
        let choices = list(chosen.map(lowercase)) ?? []
        return !choices.isEmpty && choices.allSatisfy { choice in offers.contains { $0.elementsEqual(choice) } }
    }
}
