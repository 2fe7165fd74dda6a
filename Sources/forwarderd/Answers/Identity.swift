import Shared

/// What this forwarder says of itself in messages.
struct Identity {
    /// The pseudonym in Via (RFC 9110 7.6.3).
    private(set) var via: [UInt8]
    /// The value of Date (RFC 9110 6.6.1) for the present second.
    private(set) var date: [UInt8] = []
    private var second: UInt64 = 0

    init(name: String) { via = Self.pseudonym(name) }

    private static func pseudonym(_ name: String) -> [UInt8] {
        let name = name.utf8.filter(Grammar.isToken).prefix(64)
        return name.isEmpty ? Array("serverpy".utf8) : Array(name)
    }

    mutating func rename(_ name: String) { via = Self.pseudonym(name) }

    /// `now`: milliseconds of the loop's clock.
    @inline(__always)
    mutating func refreshDate(now: UInt64) {
        if now / 1000 != second || date.isEmpty { makeDate(now / 1000) }
    }

    private mutating func makeDate(_ second: UInt64) {
        self.second = second
        date = Array(Timestamp(wallMilliseconds: Clock.wallMilliseconds()).httpDate.utf8)
    }
}
