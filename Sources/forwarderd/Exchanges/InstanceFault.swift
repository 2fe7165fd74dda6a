import Shared

/// Why a try at an instance failed.
enum InstanceFault: Equatable, Sendable {
    /// No connection was established, so nothing was sent.
    case connect(Errno)
    /// No address of the instance is known.
    case noAddress
    /// This forwarder has reached its limit of connections to instances, which is the number.
    case ourLimit(Int)
    case connectTimeout
    /// The instance closed an established connection.
    case closed
    /// The instance reset an established connection.
    case reset
    /// The instance did not respond in time, or a response made no progress for `timeouts.idle`.
    case timeout
    /// The response was not valid HTTP; the text says how.
    case malformed(String)

    /// It is evidence against the instance rather than against this machine or the message.
    var accuses: Bool {
        switch self {
        case .connect(let error): !error.isOurOwn
        case .connectTimeout, .reset: true
        case .noAddress, .ourLimit, .closed, .timeout, .malformed: false
        }
    }

    /// A resource of this machine is exhausted: no instance is at fault, and another try would fail in the same way.
    var isOurOwn: Bool {
        switch self {
        case .connect(let error): error.isOurOwn
        case .ourLimit: true
        case .noAddress, .connectTimeout, .closed, .reset, .timeout, .malformed: false
        }
    }

    /// The error type of `Proxy-Status` (RFC 9209 2.3).
    var proxyError: StaticString {
        switch self {
        case .connect(let error): error == .connectionRefused ? "connection_refused" : "destination_ip_unroutable"
        case .noAddress: "destination_ip_unroutable"
        case .ourLimit: "connection_limit_reached"
        case .connectTimeout: "connection_timeout"
        case .closed, .reset: "connection_terminated"
        case .timeout: "http_response_timeout"
        case .malformed: "http_protocol_error"
        }
    }

    var words: String {
        switch self {
        case .connect(let error): "connect: \(error)"
        case .noAddress: "no address of the instance is known"
        case .ourLimit(let count): "all \(count) connections to instances that this forwarder can have are in use"
        case .connectTimeout: "connect timed out"
        case .closed: "closed without a complete answer"
        case .reset: "connection reset"
        case .timeout: "timed out"
        case .malformed(let reason): "bad answer: \(reason)"
        }
    }

    var status: UInt16 {
        switch self {
        case .connectTimeout, .timeout: 504
        case .ourLimit: 503
        case .connect, .noAddress, .closed, .reset, .malformed: 502
        }
    }
}
