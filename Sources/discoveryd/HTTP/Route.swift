import Shared

/// The paths of the discovery port.
enum Route: String, CaseIterable {
    case root = "/"
    case health = "/health"
    case ready = "/ready"
    case stats = "/stats"
    case dump = "/dump"
    case metrics = "/metrics"
    case explain = "/explain"

    /// Everybody's, whether or not there is a token: liveness, with counts and reasons, and readiness.
    var isOpen: Bool {
        switch self {
        case .health, .ready: true
        case .root, .stats, .dump, .metrics, .explain: false
        }
    }
}

/// Who may ask the discovery port what.
struct Authorization {
    /// Bound to loopback only: then a Host that is a name other than localhost is somebody's rebinding.
    var isLoopbackOnly = true

    /// The answer to a request that is refused before its body is read; nil: it is served.
    func refusal(_ request: HTTPRequest, token: String?) -> HTTPAnswer? {
        if request.head.fields.hasUnknownExpect, request.head.minorVersion >= 1 {
            return .json(417) { $0.field("status", "Only Expect: 100-continue is understood") }
        }
        if isLoopbackOnly, !Self.isLocal(request.host) {
            return .json(421) { $0.field("status", "this server answers to localhost and addresses only") }
        }
        let route = Route(rawValue: request.path)
        if let token, !(route?.isOpen ?? false), !Self.carries(token, request) {
            var answer = HTTPAnswer.json(401) { $0.field("status", "A bearer token is needed") }
            answer.headers.append(("WWW-Authenticate", "Bearer realm=\"serverpy\""))
            return answer
        }
        guard route != nil else {
            return .json(404) {
                $0.field("status", "No such path")
                $0.key("paths")
                $0.beginArray()
                for route in Route.allCases { $0.value(route.rawValue) }
                $0.endArray()
            }
        }
        guard request.head.method == .get || request.head.method == .head else {
            var answer = HTTPAnswer.json(405) { $0.field("status", "Only GET and HEAD are served here") }
            answer.headers.append(("Allow", "GET, HEAD"))
            return answer
        }
        return nil
    }

    /// Whether the request's one Authorization field holds the token (RFC 6750 2.1). It takes as long for a wrong token as for the right one.
    private static func carries(_ token: String, _ request: HTTPRequest) -> Bool {
        let fields = request.values(of: "authorization")
        guard fields.count == 1, let value = fields.first, value.count > 7 else { return false }
        let span = value.span
        guard span.equalsIgnoringCase("bearer ", at: 0, count: 7) else { return false }
        let given = value.dropFirst(7)
        let expected = Array(token.utf8)
        var difference: UInt8 = given.count == expected.count ? 0 : 1
        for (index, byte) in given.enumerated() { difference |= byte ^ expected[index % expected.count] }
        return difference == 0
    }

    /// An address, localhost, or nothing.
    private static func isLocal(_ host: String?) -> Bool {
        guard var host = host.map({ Substring($0) }) else { return true }
        if host.hasSuffix(".") { host = host.dropLast() }
        return host.lowercased() == "localhost" || SocketAddress(literal: String(host), port: 0) != nil
    }
}
