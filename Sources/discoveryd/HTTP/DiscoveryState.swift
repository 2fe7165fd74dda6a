import Shared

/// What the HTTP API tells of discoveryd itself, and its table of paths.
struct DiscoveryState {
    var isReady = false
    /// Why it doubts itself; empty when it does not.
    var degraded: [String] = []
    /// Bound to loopback only: then a Host that is a name other than localhost is somebody's rebinding.
    var isLoopbackOnly = true
    let startedAt = Clock.wallMilliseconds()

    var measures = PollMeasures()
    let traffic: Traffic

    init(_ traffic: Traffic) { self.traffic = traffic }

    static let paths = ["/", "/health", "/ready", "/stats", "/dump", "/metrics", "/explain"]

    func answer(_ head: RequestHead, _ bytes: Span<UInt8>, _ registry: borrowing Registry, now: UInt64) -> APIAnswer {
        if head.fields.hasUnknownExpect, head.minorVersion >= 1 {
            return .json(417) { $0.field("status", "Only Expect: 100-continue is understood") }
        }
        if isLoopbackOnly, !hasLocalHost(head, bytes) {
            return .json(421) { $0.field("status", "this server answers to localhost and addresses only") }
        }
        // An absolute target without a path is the root (RFC 9110 4.2.3).
        let path =
            head.form == .absolute && head.pathCount == 0
            ? "/" : String(decoding: bytes.array(head.targetStart, head.pathCount), as: UTF8.self)
        // Liveness and readiness are everybody's; what is known of the instances is for those who know the token.
        if let token = registry.general.discoveryToken, path != "/health", path != "/ready",
            !Self.carries(token, head, bytes)
        {
            var answer = APIAnswer.json(401) { $0.field("status", "A bearer token is needed") }
            answer.headers.append(("WWW-Authenticate", "Bearer realm=\"serverpy\""))
            return answer
        }
        guard Self.paths.contains(path) else {
            return .json(404) {
                $0.field("status", "No such path")
                $0.key("paths")
                $0.beginArray()
                for path in Self.paths { $0.value(path) }
                $0.endArray()
            }
        }
        guard head.method == .get || head.method == .head else {
            var answer = APIAnswer.json(405) { $0.field("status", "Only GET and HEAD are served here") }
            answer.headers.append(("Allow", "GET, HEAD"))
            return answer
        }
        let query = String(
            decoding: bytes.array(head.targetStart + head.pathCount, head.targetCount - head.pathCount), as: UTF8.self)
        switch path {
        case "/health", "/":
            return .json(200) {
                // The original's words, by which scripts know it, whatever its name.
                $0.field("status", "Discovery Server running")
                $0.field("name", registry.general.discoveryName)
                $0.field("state", degraded.isEmpty ? "ok" : "degraded")
                if !degraded.isEmpty {
                    $0.key("reasons")
                    $0.beginArray()
                    for reason in degraded { $0.value(reason) }
                    $0.endArray()
                }
                $0.field("version", Version.current)
                $0.field("started_at", Timestamp.iso8601(wallMilliseconds: startedAt))
                $0.field("snapshot", registry.version.description)
                $0.field("services", registry.order.count)
                $0.field("instances", registry.instances.count)
                $0.field("instances_up", registry.count(of: .up))
            }
        case "/ready":
            return .json(isReady ? 200 : 503) {
                $0.field("status", isReady ? "ready" : "the first round of polls is not done")
            }
        case "/stats", "/dump":
            // Weak: what changes with time alone (availability) is the same for as long as nothing was polled.
            traffic.refresh(now: now)
            let requests = traffic.totals[.accepted] &* 2 &- traffic.totals.unended
            let tag = "W/\"\(registry.version)-\(registry.polls)-\(requests)\""
            if path == "/stats", Self.lists(tag, head, bytes) {
                return APIAnswer(status: 304, headers: [("ETag", tag)], body: .bytes([]))
            }
            let parameters = Self.parameters(query)
            let cursor = StatisticsCursor(
                withPackets: path == "/dump", service: parameters["service"], instance: parameters["instance"],
                traffic: traffic)
            return APIAnswer(
                status: 200, headers: path == "/stats" ? [("ETag", tag)] : [], body: .pieces(.statistics(cursor)))
        case "/metrics":
            traffic.refresh(now: now)
            let cursor = MetricsCursor(measures, traffic, isDegraded: !degraded.isEmpty, startedAt: startedAt)
            return APIAnswer(
                status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: .pieces(.metrics(cursor)))
        case "/explain":
            let parameters = Self.parameterList(query)
            func all(_ name: String) -> [String] { parameters.filter { $0.name == name }.map(\.value) }
            guard let path = all("path").last, path.hasPrefix("/") else {
                return .json(400) {
                    $0.field("status", "a path is needed: /explain?method=GET&path=/orders/17&header=Name:Value")
                }
            }
            return APIAnswer(
                status: 200,
                body: .later(
                    ForwarderQuestion.Explain(
                        method: all("method").last ?? "GET", path: path, headers: all("header"))))
        default:
            return .json(404) { $0.field("status", "No such path") }
        }
    }

    /// Whether If-None-Match names this entity tag (RFC 9110 13.1.2); what it lists is compared as text.
    private static func lists(_ tag: String, _ head: RequestHead, _ bytes: Span<UInt8>) -> Bool {
        head.fields.lines.contains { line in
            guard bytes.equalsIgnoringCase("if-none-match", at: Int(line.nameStart), count: Int(line.nameCount)) else {
                return false
            }
            let value = String(decoding: bytes.array(Int(line.valueStart), Int(line.valueCount)), as: UTF8.self)
            return value.split(separator: ",").contains { entry in
                let entry = entry.drop { $0 == " " }
                return entry == "*" || entry.hasPrefix(tag)
            }
        }
    }

    /// Whether the request's one Authorization field holds the token (RFC 6750 2.1). As long for a wrong one as for the right one.
    private static func carries(_ token: String, _ head: RequestHead, _ bytes: Span<UInt8>) -> Bool {
        let fields = head.fields.lines.filter {
            bytes.equalsIgnoringCase("authorization", at: Int($0.nameStart), count: Int($0.nameCount))
        }
        guard fields.count == 1, fields[0].valueCount > 7,
            bytes.equalsIgnoringCase("bearer ", at: Int(fields[0].valueStart), count: 7)
        else { return false }
        let given = bytes.array(Int(fields[0].valueStart) + 7, Int(fields[0].valueCount) - 7)
        let expected = Array(token.utf8)
        var difference: UInt8 = given.count == expected.count ? 0 : 1
        for index in given.indices { difference |= given[index] ^ expected[index % expected.count] }
        return difference == 0
    }

    /// An address, localhost, or nothing (HTTP/1.0).
    private func hasLocalHost(_ head: RequestHead, _ bytes: Span<UInt8>) -> Bool {
        guard let authority = head.authority else { return true }
        var host = Substring(String(decoding: bytes.array(authority.start, authority.count), as: UTF8.self))
        if host.hasPrefix("[") {
            host = host.dropFirst().prefix { $0 != "]" }
        } else if let colon = host.lastIndex(of: ":") {
            host = host[..<colon]
        }
        if host.hasSuffix(".") { host = host.dropLast() }
        return host.lowercased() == "localhost" || SocketAddress(literal: String(host), port: 0) != nil
    }

    /// `?service=a&instance=b`, percent-decoded.
    static func parameters(_ query: String) -> [String: String] {
        Dictionary(parameterList(query).map { ($0.name, $0.value) }) { _, last in last }
    }

    /// The same where a name may come several times.
    static func parameterList(_ query: String) -> [(name: String, value: String)] {
        query.dropFirst().split(separator: "&").compactMap { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return parts.count == 2 ? (decoded(parts[0]), decoded(parts[1])) : nil
        }
    }

    private static func decoded(_ text: Substring) -> String {
        let bytes = Array(text.utf8)
        var out: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count, let high = Text.hexValue(bytes[index + 1]),
                let low = Text.hexValue(bytes[index + 2])
            {
                out.append(high << 4 | low)
                index += 3
            } else {
                out.append(bytes[index] == UInt8(ascii: "+") ? 0x20 : bytes[index])
                index += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
