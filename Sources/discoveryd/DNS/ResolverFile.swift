import Shared

/// What /etc/resolv.conf says: see resolv.conf(5). What is not understood is passed over, as everywhere.
struct ResolverFile: Equatable, Sendable {
    static let path = "/etc/resolv.conf"

    /// At most three, as in the system's own resolver.
    var servers: [SocketAddress] = []
    /// Domains in which names are looked for.
    var search: [DNSName] = []
    /// A name with so many dots is looked up as it is first.
    var dots = 1
    var timeoutMilliseconds = Limits.lookUpTimeoutMilliseconds
    /// Rounds over the servers.
    var attempts = Limits.lookUpAttempts

    /// `bytes` empty: there is no such file, and the name server is this machine.
    init(_ bytes: [UInt8] = []) {
        for line in bytes.split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }) {
            let words = String(decoding: line, as: UTF8.self).split { $0 == " " || $0 == "\t" }
            guard let keyword = words.first else { continue }
            switch keyword {
            case "nameserver":
                // A zone (fe80::1%eth0) is not supported here.
                if words.count > 1, servers.count < Limits.nameServers,
                    let address = SocketAddress(literal: String(words[1]), port: 53)
                {
                    servers.append(address)
                }
            case "domain", "search":
                // The last of them counts.
                search = words.dropFirst().prefix(keyword == "domain" ? 1 : Limits.searchDomains).compactMap {
                    DNSName(String($0))
                }
            case "options": for option in words.dropFirst() { apply(option) }
            default: break
            }
        }
        if servers.isEmpty { servers = [.loopback(port: 53)] }
    }

    private mutating func apply(_ option: Substring) {
        let parts = option.split(separator: ":", maxSplits: 1)
        guard parts.count == 2, let value = DecimalDigits.parse(parts[1].utf8) else { return }
        switch parts[0] {
        case "ndots": dots = min(Int(clamping: value), 15)
        case "timeout": timeoutMilliseconds = min(max(1, value), 30) * 1000
        case "attempts": attempts = min(max(1, Int(clamping: value)), 5)
        default: break
        }
    }

    /// Under which full names a name is looked for, in order.
    func candidates(of name: String) -> [DNSName] {
        guard let plain = DNSName(name) else { return [] }
        if name.utf8.last == UInt8(ascii: ".") { return [plain] }
        let within = search.compactMap { plain.within($0) }
        let hasDots = name.utf8.count { $0 == UInt8(ascii: ".") } >= dots
        return hasDots ? [plain] + within : within + [plain]
    }
}
