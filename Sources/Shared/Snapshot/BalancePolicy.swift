/// How one of a service's instances is chosen among those of the highest priority that can take a request.
public enum BalancePolicy: Hashable, Sendable {
    /// The fewest requests in progress for its weight, among those of nearly the best availability.
    case availability
    /// One after the other, as often as their weights say.
    case roundRobin
    /// The fewest requests in progress for its weight, whatever the availability.
    case leastRequests
    /// By chance, as often as their weights say.
    case random
    /// The least expected wait: a moving average of the latency that follows peaks at once and forgets them slowly, times the
    /// requests in progress.
    case peakEWMA
    /// The same instance for the same key, as long as its load is within a quarter of its share (Mirrokni, Thorup,
    /// Zadimoghaddam, Consistent Hashing with Bounded Loads, 2016).
    case hash(HashKey)

    /// What a request is hashed by; where it has no such field or cookie, by the client's address.
    public enum HashKey: Hashable, Sendable {
        case clientAddress
        case header(String)
        case cookie(String)

        /// As it is written in the configuration: `client`, `header:NAME`, `cookie:NAME`.
        public var text: String {
            switch self {
            case .clientAddress: "client"
            case .header(let name): "header:\(name)"
            case .cookie(let name): "cookie:\(name)"
            }
        }

        public init?(_ text: String) {
            if text == "client" {
                self = .clientAddress
                return
            }
            let parts = text.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, parts[1].utf8.allSatisfy(Grammar.isToken), parts[1].utf8.count <= 128 else {
                return nil
            }
            switch parts[0] {
            case "header": self = .header(parts[1].lowercased())
            case "cookie": self = .cookie(String(parts[1]))
            default: return nil
            }
        }
    }

    /// The word in the configuration.
    public var name: String {
        switch self {
        case .availability: "availability"
        case .roundRobin: "round_robin"
        case .leastRequests: "least_requests"
        case .random: "random"
        case .peakEWMA: "peak_ewma"
        case .hash: "hash"
        }
    }

    static let names = ["availability", "round_robin", "least_requests", "random", "peak_ewma", "hash"]

    /// `hash` alone is by the client's address.
    public init?(name: String) {
        switch name {
        case "availability": self = .availability
        case "round_robin": self = .roundRobin
        case "least_requests": self = .leastRequests
        case "random": self = .random
        case "peak_ewma": self = .peakEWMA
        case "hash": self = .hash(.clientAddress)
        default: return nil
        }
    }
}
