import Shared

/// What /etc/hosts says, which comes before DNS: see hosts(5).
struct HostsFile: Equatable, Sendable {
    static let path = "/etc/hosts"

    private var addresses: [String: [SocketAddress]] = [:]

    init(_ bytes: [UInt8] = []) {
        for line in bytes.split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }) {
            let content = line.prefix { $0 != UInt8(ascii: "#") }
            let words = String(decoding: content, as: UTF8.self).split { $0 == " " || $0 == "\t" }
            guard let first = words.first, let address = SocketAddress(literal: String(first), port: 0) else {
                continue
            }
            for name in words.dropFirst() {
                let key = Self.key(String(name))
                if addresses[key]?.contains(address) != true { addresses[key, default: []].append(address) }
            }
        }
    }

    /// The addresses of a name; nil: the file does not have it. `localhost` and what ends in it is this machine, whatever the file says or
    /// lacks (RFC 6761 6.3).
    func addresses(of name: String) -> [SocketAddress]? {
        let key = Self.key(name)
        guard key == "localhost" || key.hasSuffix(".localhost") else { return addresses[key] }
        let found = addresses[key] ?? []
        let loopbacks = [SocketAddress.loopback(port: 0), SocketAddress(ipv6High: 0, low: 1, port: 0)]
        return found + loopbacks.filter { !found.contains($0) }
    }

    private static func key(_ name: String) -> String {
        let name = name.lowercased()
        return name.hasSuffix(".") ? String(name.dropLast()) : name
    }
}
