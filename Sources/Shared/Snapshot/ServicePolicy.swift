/// How requests of one service are forwarded: from the configuration, by way of the snapshot.
public struct ServicePolicy: Equatable, Sendable {
    /// Until a connection to an instance stands.
    public var connectTimeoutMilliseconds = Limits.connectTimeoutMilliseconds
    /// From the end of the request to the answer's head.
    public var firstByteTimeoutMilliseconds = Limits.firstByteTimeoutMilliseconds
    /// Between pieces of a body, in both directions.
    public var idleTimeoutMilliseconds = Limits.betweenBytesTimeoutMilliseconds
    /// Host is the instance's own address instead of what the client sent.
    public var sendsInstanceHost = false
    /// The API path that matched is taken away from the front of the request's path.
    public var stripsPrefix = false

    public init() {}

    static let standard = ServicePolicy()

    /// Writes what differs from the defaults.
    func write(to writer: inout JSONWriter) {
        let standard = Self.standard
        if connectTimeoutMilliseconds != standard.connectTimeoutMilliseconds {
            writer.field("connect_timeout_ms", connectTimeoutMilliseconds)
        }
        if firstByteTimeoutMilliseconds != standard.firstByteTimeoutMilliseconds {
            writer.field("first_byte_timeout_ms", firstByteTimeoutMilliseconds)
        }
        if idleTimeoutMilliseconds != standard.idleTimeoutMilliseconds {
            writer.field("idle_timeout_ms", idleTimeoutMilliseconds)
        }
        if sendsInstanceHost { writer.field("host", "instance") }
        if stripsPrefix { writer.field("strip_prefix", true) }
    }

    init(_ message: Document.Value) {
        func time(_ value: Document.Value?, _ standard: UInt64) -> UInt64 {
            value?.unsigned.map { min(max($0, 1), 86_400_000) } ?? standard
        }
        connectTimeoutMilliseconds = time(message["connect_timeout_ms"], connectTimeoutMilliseconds)
        firstByteTimeoutMilliseconds = time(message["first_byte_timeout_ms"], firstByteTimeoutMilliseconds)
        idleTimeoutMilliseconds = time(message["idle_timeout_ms"], idleTimeoutMilliseconds)
        sendsInstanceHost = message["host"]?.string == "instance"
        stripsPrefix = message["strip_prefix"]?.boolean ?? false
    }
}
