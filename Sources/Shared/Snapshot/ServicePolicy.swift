/// How requests of one service are forwarded: from the configuration, by way of the snapshot.
public struct ServicePolicy: Hashable, Sendable {
    /// Until a connection to an instance stands.
    public var connectTimeoutMilliseconds = Limits.connectTimeoutMilliseconds
    /// From the end of the request to the answer's head.
    public var firstByteTimeoutMilliseconds = Limits.firstByteTimeoutMilliseconds
    /// Between pieces of a body, in both directions.
    public var idleTimeoutMilliseconds = Limits.betweenBytesTimeoutMilliseconds
    /// Between bytes of a tunnel (Upgrade), in either direction.
    public var tunnelTimeoutMilliseconds = Limits.tunnelTimeoutMilliseconds
    /// For an instance with room for the request.
    public var queueTimeoutMilliseconds = Limits.queueTimeoutMilliseconds
    /// Host is the instance's own address instead of what the client sent.
    public var sendsInstanceHost = false
    /// The API path that matched is taken away from the front of the request's path.
    public var stripsPrefix = false
    public var balance = BalancePolicy.availability
    /// Instances that one request may be tried at.
    public var tries = Limits.instancesTriedPerRequest
    /// Retries in progress at one time, percent of the service's requests in progress.
    public var retryBudgetPercent = Limits.retryBudgetPercent
    /// Connections to one instance, of all forwarders together; nil: no limit.
    public var maxConnections: Int?
    /// Requests that wait for an instance with room, of all forwarders together.
    public var queue = Limits.queuedRequests

    public init() {}

    static let standard = ServicePolicy()

    /// Writes what differs from the defaults.
    func write(to writer: inout JSONWriter) {
        let standard = Self.standard
        for (name, time) in Self.times where self[keyPath: time] != standard[keyPath: time] {
            writer.field(name, self[keyPath: time])
        }
        if sendsInstanceHost { writer.field("host", "instance") }
        if stripsPrefix { writer.field("strip_prefix", true) }
        if balance != standard.balance {
            writer.field("balance", balance.name)
            if case .hash(let key) = balance { writer.field("hash", key.text) }
        }
        if tries != standard.tries { writer.field("tries", tries) }
        if retryBudgetPercent != standard.retryBudgetPercent { writer.field("retry_budget", retryBudgetPercent) }
        if let maxConnections {
            writer.field("max_connections", maxConnections)
            writer.field("queue", queue)
        }
    }

    private static var times: [(StaticString, WritableKeyPath<ServicePolicy, UInt64>)] {
        [
            ("connect_timeout_ms", \.connectTimeoutMilliseconds),
            ("first_byte_timeout_ms", \.firstByteTimeoutMilliseconds),
            ("idle_timeout_ms", \.idleTimeoutMilliseconds), ("tunnel_timeout_ms", \.tunnelTimeoutMilliseconds),
            ("queue_timeout_ms", \.queueTimeoutMilliseconds),
        ]
    }

    init(_ message: Document.Value) {
        for (name, time) in Self.times {
            if let value = message[name]?.unsigned { self[keyPath: time] = min(max(value, 1), 86_400_000) }
        }
        sendsInstanceHost = message["host"]?.string == "instance"
        stripsPrefix = message["strip_prefix"]?.boolean ?? false
        if let name = message["balance"]?.string, let known = BalancePolicy(name: name) {
            balance = known
            if case .hash = known, let key = message["hash"]?.string.flatMap(BalancePolicy.HashKey.init) {
                balance = .hash(key)
            }
        }
        if let value = message["tries"]?.unsigned { tries = min(max(1, Int(clamping: value)), tries) }
        if let value = message["retry_budget"]?.unsigned { retryBudgetPercent = min(Int(clamping: value), 100) }
        if let value = message["max_connections"]?.unsigned { maxConnections = max(1, Int(clamping: value)) }
        if let value = message["queue"]?.unsigned { queue = min(Int(clamping: value), Limits.queuedRequestsMaximum) }
    }
}
