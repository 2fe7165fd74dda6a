/// How names are looked up: `resolver` of `meta-info`.
public struct ResolverSettings: Equatable, Sendable {
    public enum Use: String, CaseIterable, Sendable {
        /// A DNS client of our own, which knows how long an answer is good for.
        case own
        /// getaddrinfo(3), with all that the system's nsswitch.conf says.
        case system
    }

    public var use = Use.own
    /// The name servers to ask; empty: those of /etc/resolv.conf.
    public var servers: [SocketAddress] = []

    public init() {}
}
