/// What `meta-info` says about forwarding, the same for all services: from the configuration, by way of the snapshot.
public struct ForwarderSettings: Equatable, Sendable {
    /// Bytes of a request's head.
    public var headBytes = Limits.headBytes
    /// Field lines of a request's head.
    public var headFields = Limits.headFields
    /// Bytes of a request's body; nil: no limit.
    public var bodyBytes: UInt64?
    /// Client connections of all forwarders together; nil: as many as each can serve.
    public var connections: Int?
    /// From a connection's or a request's first byte to the end of its head.
    public var headTimeoutMilliseconds = Limits.headTimeoutMilliseconds
    /// Between requests on a client's connection.
    public var clientIdleTimeoutMilliseconds = Limits.clientIdleTimeoutMilliseconds
    /// Who may say on whose behalf it asks (X-Forwarded-*, Forwarded, PROXY protocol).
    public var trustedProxies: [AddressRange] = []
    /// Connections from trusted addresses begin with a PROXY header.
    public var expectsProxyProtocol = false
    /// Between the announcement of a drain and the end of accepting.
    public var drainDelayMilliseconds: UInt64 = 0
    /// How long open exchanges may take when draining.
    public var drainTimeoutMilliseconds = Limits.drainTimeoutMilliseconds
    public var accessLog = AccessLogTarget.off
    public var logFormat = Log.Format.text
    /// `/.serverpy/ready` is answered here, and `/` unless a service claims it.
    public var answersReady = true

    /// The pseudonym in Via (RFC 9110 7.6.3); nil: the host's name.
    public var via: String?

    public init() {}

    public func isTrusted(_ address: SocketAddress) -> Bool { trustedProxies.contains { $0.contains(address) } }

    static let standard = ForwarderSettings()

    private static var times: [(StaticString, WritableKeyPath<ForwarderSettings, UInt64>)] {
        [
            ("head_timeout_ms", \.headTimeoutMilliseconds), ("client_idle_timeout_ms", \.clientIdleTimeoutMilliseconds),
            ("drain_delay_ms", \.drainDelayMilliseconds), ("drain_timeout_ms", \.drainTimeoutMilliseconds),
        ]
    }

    /// Writes what differs from the defaults.
    func write(to writer: inout JSONWriter) {
        let standard = Self.standard
        for (name, time) in Self.times where self[keyPath: time] != standard[keyPath: time] {
            writer.field(name, self[keyPath: time])
        }
        if headBytes != standard.headBytes { writer.field("head_size", headBytes) }
        if headFields != standard.headFields { writer.field("header_count", headFields) }
        if let bodyBytes { writer.field("body_size", bodyBytes) }
        if let connections { writer.field("connections", connections) }
        if !trustedProxies.isEmpty {
            writer.key("trusted_proxies")
            writer.beginArray()
            for range in trustedProxies { writer.value(range.description) }
            writer.endArray()
        }
        if expectsProxyProtocol { writer.field("proxy_protocol", true) }
        if accessLog != standard.accessLog { writer.field("access_log", accessLog.text) }
        if logFormat != standard.logFormat { writer.field("log_format", logFormat.rawValue) }
        if let via { writer.field("via", via) }
        if !answersReady { writer.field("ready_path", false) }
    }

    init(_ message: Document.Value) {
        for (name, time) in Self.times {
            if let value = message[name]?.unsigned { self[keyPath: time] = min(value, 86_400_000) }
        }
        func number(_ name: StaticString, _ range: ClosedRange<Int>) -> Int? {
            message[name]?.unsigned.map { min(max(Int(clamping: $0), range.lowerBound), range.upperBound) }
        }
        headBytes = number("head_size", Limits.headBytesRange) ?? headBytes
        headFields = number("header_count", Limits.headFieldsRange) ?? headFields
        bodyBytes = message["body_size"]?.unsigned
        connections = number("connections", 1...Int.max)
        trustedProxies = message["trusted_proxies"]?.elements.compactMap { $0.string.flatMap(AddressRange.init) } ?? []
        expectsProxyProtocol = message["proxy_protocol"]?.boolean ?? false
        accessLog = message["access_log"]?.string.map(AccessLogTarget.init) ?? .off
        logFormat = message["log_format"]?.string.flatMap(Log.Format.init) ?? .text
        via = message["via"]?.string
        answersReady = message["ready_path"]?.boolean ?? true
    }
}

/// Where forwarders write one line per exchange.
public enum AccessLogTarget: Equatable, Sendable {
    case off
    case standardError
    case file(String)

    /// As it is written in the configuration.
    public var text: String {
        switch self {
        case .off: "off"
        case .standardError: "stderr"
        case .file(let path): path
        }
    }

    public init(_ text: String) {
        switch text {
        case "off": self = .off
        case "stderr", "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2": self = .standardError
        default: self = .file(text)
        }
    }
}
