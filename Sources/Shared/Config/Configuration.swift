/// What the configuration file means, defaults filled in. See README, "Configuration".
public struct Configuration: Equatable, Sendable {
    public var services: [Service] = []
    public var general = General()

    /// The key `meta-info`.
    public struct General: Equatable, Sendable {
        public var discoveryName = "Discovery Server"
        public var requestProcessorName = "Request Processor"
        public var discoveryHost = "127.0.0.1"
        public var discoveryPort: UInt16 = 8008
        /// Nil: all interfaces, IPv4 and IPv6.
        public var requestProcessorHost: String?
        public var requestProcessorPort: UInt16 = 8001
        /// Nil: one per core given to the process.
        public var forwarders: Int?
        /// What every forwarder does alike.
        public var forwarding = ForwarderSettings()
        /// What the discovery server asks for; nil: nothing.
        public var discoveryToken: String?
        public var onChange: ChangeHook?
        public var resolver = ResolverSettings()

        public init() {}
    }

    public init() {}

    public var instanceCount: Int { services.reduce(0) { $0 + $1.instances.count } }
}

public struct Service: Hashable, Sendable {
    public var name: String
    public var instances: [Instance]
    /// API paths, without a trailing slash unless the path is `/`.
    public var paths: [String]
    public var policy = ServicePolicy()
    /// Over which time availability is reckoned.
    public var availabilityWindowMilliseconds = Limits.availabilityWindowMilliseconds

    public init(name: String, instances: [Instance], paths: [String]) {
        self.name = name
        self.instances = instances
        self.paths = paths
    }
}

public struct Instance: Hashable, Sendable {
    /// As it is written: the name by which people know it.
    public var url: String
    public var endpoint: Endpoint
    public var polling: Polling
    /// Share of requests among equals, 1 to 100.
    public var weight: Int

    public init(url: String, endpoint: Endpoint, polling: Polling, weight: Int = 1) {
        self.url = url
        self.endpoint = endpoint
        self.polling = polling
        self.weight = weight
    }
}

public enum Priority: Int, Sendable, CaseIterable {
    case high = 0
    case medium = 1
    case low = 2

    /// The word in the configuration.
    public var name: String {
        switch self {
        case .high: "high"
        case .medium: "med"
        case .low: "low"
        }
    }

    public init?(name: String) {
        guard let found = Priority.allCases.first(where: { $0.name == name }) else { return nil }
        self = found
    }
}

/// A range of status codes, both ends included.
public struct StatusRange: Hashable, Sendable {
    public var low: UInt16
    public var high: UInt16

    public init(_ low: UInt16, _ high: UInt16) {
        self.low = low
        self.high = high
    }

    public func contains(_ status: UInt16) -> Bool { status >= low && status <= high }
}

/// A field that a health poll carries.
public struct PollHeader: Hashable, Sendable {
    public var name: String
    public var value: String

    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// How one instance is polled.
public struct Polling: Hashable, Sendable {
    public enum Method: Hashable, Sendable {
        /// GET of this path over HTTP.
        case health(endpoint: String)
        /// TCP connect where the address has a port, ICMP echo where it has none.
        case ping
    }

    public var method: Method
    public var frequencyMilliseconds = Limits.frequencyMilliseconds
    /// Further attempts after a failure before the instance counts as inactive.
    public var retries = 0
    public var retryDelayMilliseconds: UInt64 = 0
    /// Packets of history kept.
    public var packetLimit = Limits.packetsPerInstance
    /// From connect to the last header byte.
    public var timeoutMilliseconds = Limits.pollTimeoutMilliseconds
    /// Good polls in a row that bring an inactive instance back.
    public var rise = 1
    /// Polling frequency while inactive.
    public var downFrequencyMilliseconds = Limits.downFrequencyMilliseconds
    public var expect = [StatusRange(200, 299)]
    /// Fields of the health poll beside those of its own.
    public var headers: [PollHeader] = []
    public var priority = Priority.medium

    public init(method: Method) { self.method = method }
}

/// Where an instance is: scheme, host and port.
public struct Endpoint: Hashable, Sendable {
    public enum Scheme: String, Sendable { case http, https }

    /// Before the name of a service that DNS knows (RFC 2782): `srv:_http._tcp.orders.example`.
    public static let servicePrefix = "srv:"

    public var scheme: Scheme
    /// A host name, an IPv4 address or an IPv6 address without brackets.
    public var host: String
    public var port: UInt16
    /// The port is written: a ping means this port.
    public var hasExplicitPort: Bool
    /// `host` is the name of a service, whose records (SRV) say hosts and ports; `port` is 0.
    public var isService = false

    /// The value for a Host field.
    public var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        if isService { return name }
        return port == (scheme == .http ? 80 : 443) ? name : "\(name):\(port)"
    }

    /// The address itself when the host is a literal.
    public var literal: SocketAddress? { isService ? nil : SocketAddress(literal: host, port: port) }

    /// Parses `host`, `host:port`, `[IPv6]:port`, with or without `http://` or `https://` and a final `/`, and `srv:NAME`.
    /// Throws what is wrong as a sentence.
    public init(_ text: String) throws(AddressFault) {
        // Bytes: configurations hold a hundred thousand of these.
        var rest = Array(text.utf8)[...]
        func shown(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }
        scheme = .http
        if rest.starts(with: Self.servicePrefix.utf8) {
            host = shown(rest.dropFirst(Self.servicePrefix.utf8.count))
            (port, hasExplicitPort, isService) = (0, true, true)
            if host.contains(":") || host.contains("/") {
                throw AddressFault(
                    "behind srv: the name of a service is needed, without port or path: srv:_http._tcp.orders.example")
            }
            if SocketAddress(literal: host, port: 0) != nil {
                throw AddressFault(
                    "behind srv: the name of a service is needed, not an address: srv:_http._tcp.orders.example")
            }
            if let reason = Self.hostFault(host) { throw AddressFault(reason) }
            return
        }
        if let colon = rest.indices.first(where: { rest[$0...].starts(with: "://".utf8) }) {
            let name = shown(rest[..<colon])
            guard let known = Scheme(rawValue: name.lowercased()) else {
                throw AddressFault("the scheme `\(Text.shown(name.utf8))` is not known; http:// and https:// are")
            }
            scheme = known
            rest = rest[(colon + 3)...]
        }
        if rest.last == UInt8(ascii: "/") { rest = rest.dropLast() }
        if rest.contains(UInt8(ascii: "/")) {
            throw AddressFault("an address has no path; API paths belong in `apis`")
        }
        if rest.contains(UInt8(ascii: "@")) { throw AddressFault("an address has no user name or password") }
        if rest.isEmpty { throw AddressFault("the address is empty; allowed are host, host:port and [IPv6]:port") }
        var port: ArraySlice<UInt8>?
        if rest.first == UInt8(ascii: "[") {
            guard let close = rest.firstIndex(of: UInt8(ascii: "]")) else {
                throw AddressFault("the ] of an IPv6 address is missing")
            }
            host = shown(rest[(rest.startIndex + 1)..<close])
            guard host.contains(":"), SocketAddress(literal: host, port: 0) != nil else {
                throw AddressFault("`\(Text.shown(host.utf8))` is not an IPv6 address")
            }
            let behind = rest[(close + 1)...]
            if behind.first == UInt8(ascii: ":") {
                port = behind.dropFirst()
            } else if !behind.isEmpty {
                throw AddressFault("found `\(Text.shown(behind))` after ]; :port is allowed there")
            }
        } else {
            let colon = rest.firstIndex(of: UInt8(ascii: ":"))
            if let colon {
                port = rest[(colon + 1)...]
                if rest[(colon + 1)...].contains(UInt8(ascii: ":")) {
                    throw AddressFault("an IPv6 address must be in brackets: [\(Text.shown(rest))]:port")
                }
            }
            host = shown(rest[..<(colon ?? rest.endIndex)])
            if let reason = Self.hostFault(host) { throw AddressFault(reason) }
        }
        hasExplicitPort = port != nil
        if let port {
            guard let number = DecimalDigits.parse(port, max: 65535), number > 0 else {
                throw AddressFault("the port `\(Text.shown(port))` is not a number from 1 to 65535")
            }
            self.port = UInt16(number)
        } else {
            self.port = scheme == .http ? 80 : 443
        }
    }

    /// Names of hosts: RFC 1123 2.1, with `_` as people use it.
    private static func hostFault(_ host: String) -> String? {
        if host.isEmpty { return "the host is missing" }
        if host.utf8.count > 253 { return "the host name has \(host.utf8.count) characters; at most 253 are allowed" }
        let bytes = Array(host.utf8)
        let labels = (bytes.last == UInt8(ascii: ".") ? bytes.dropLast() : bytes[...]).split(
            separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        if labels.allSatisfy({ !$0.isEmpty && $0.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } }) {
            return SocketAddress(literal: host, port: 0) == nil
                ? "`\(Text.shown(host.utf8))` is not an IPv4 address" : nil
        }
        for label in labels {
            if label.isEmpty { return "the host name `\(Text.shown(host.utf8))` has an empty part" }
            if label.count > 63 {
                return "a part of the host name has \(label.count) characters; at most 63 are allowed"
            }
            if label.first == UInt8(ascii: "-") || label.last == UInt8(ascii: "-") {
                return "a part of the host name `\(Text.shown(host.utf8))` begins or ends with -"
            }
            for byte in label {
                switch byte {
                case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x5f: break
                default:
                    return
                        "the host name `\(Text.shown(host.utf8))` holds a character other than letters, digits, - and _"
                }
            }
        }
        return nil
    }
}

/// What is wrong with an address.
public struct AddressFault: Error, Equatable, Sendable {
    public let reason: String
    init(_ reason: String) { self.reason = reason }
}
