/// Where each change of an instance's status is posted: `on_change` in the configuration.
public struct ChangeHook: Equatable, Sendable {
    /// As it is written.
    public let url: String
    public let endpoint: Endpoint
    /// Path and query.
    public let target: String

    /// Parses `http://host[:port]/path`. Throws what is wrong as the end of a sentence.
    public init(_ url: String) throws(AddressFault) {
        self.url = url
        guard url.lowercased().hasPrefix("http://") || url.lowercased().hasPrefix("https://") else {
            throw AddressFault("an http:// URL is needed")
        }
        let scheme = url.lowercased().hasPrefix("https://") ? 8 : 7
        let rest = url.dropFirst(scheme)
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        endpoint = try Endpoint(String(url.prefix(scheme) + rest[..<end]))
        if endpoint.scheme == .https {
            throw AddressFault("https is understood but TLS is not there yet; use http://")
        }
        let behind = String(rest[end...])
        target = behind.hasPrefix("/") ? behind : "/" + behind
        guard target.utf8.allSatisfy(Grammar.isTarget), target.utf8.count <= Limits.keyBytes else {
            throw AddressFault(
                "its path holds spaces, # or control characters, or is longer than \(Limits.keyBytes) bytes")
        }
    }
}
