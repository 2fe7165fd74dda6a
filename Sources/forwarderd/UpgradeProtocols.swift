import Shared

/// The protocols of an Upgrade field (RFC 9110 7.8).
enum UpgradeProtocols {
    /// The members of the list, in lower case if `value` is; empty when one of them is none.
    static func list(_ value: [UInt8]) -> [ArraySlice<UInt8>] {
        let members = value.split(separator: UInt8(ascii: ",")).map { member in
            member.drop { $0 == 0x20 || $0 == 0x09 }.reversed().drop { $0 == 0x20 || $0 == 0x09 }.reversed()[...]
        }
        let isValid = members.allSatisfy { member in
            !member.isEmpty && member.allSatisfy { Grammar.isToken($0) || $0 == UInt8(ascii: "/") }
        }
        return isValid ? members.map { ArraySlice($0) } : []
    }

    /// Whether an instance that changed to `chosen` kept to what it was `offered`, lower case.
    static func allows(_ chosen: [UInt8], offered: [UInt8]) -> Bool {
        let offers = list(offered)
        let choices = list(chosen.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 })
        return !choices.isEmpty && choices.allSatisfy { choice in offers.contains { $0.elementsEqual(choice) } }
    }
}
