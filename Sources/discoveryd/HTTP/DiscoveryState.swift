import Shared

/// What the discovery port tells of discoveryd itself, and the answers to its routes.
struct DiscoveryState {
    var isReady = false
    /// Why it doubts itself; empty when it does not.
    var degraded: [String] = []
    var authorization = Authorization()
    let startedAt = Clock.wallMilliseconds()

    var measures = PollMeasures()
    let traffic: Traffic

    init(_ traffic: Traffic) { self.traffic = traffic }

    /// The answer to a request that `Authorization` lets pass.
    func answer(_ request: HTTPRequest, _ registry: borrowing Registry, now: UInt64) -> HTTPAnswer {
        switch Route(rawValue: request.path) {
        case .health, .root:
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
        case .ready:
            return .json(isReady ? 200 : 503) {
                $0.field("status", isReady ? "ready" : "the first round of polls is not done")
            }
        case .stats: return statistics(request, registry, withPackets: false, now: now)
        case .dump: return statistics(request, registry, withPackets: true, now: now)
        case .metrics:
            traffic.refresh(now: now)
            let cursor = MetricsCursor(measures, traffic, isDegraded: !degraded.isEmpty, startedAt: startedAt)
            return HTTPAnswer(
                status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: .pieces(.metrics(cursor)))
        case .explain:
            guard let path = request.parameter("path"), path.hasPrefix("/") else {
                return .json(400) {
                    $0.field("status", "a path is needed: /explain?method=GET&path=/orders/17&header=Name:Value")
                }
            }
            return HTTPAnswer(
                status: 200,
                body: .later(
                    ForwarderQuestion.Explain(
                        method: request.parameter("method") ?? "GET", path: path,
                        headers: request.parameters.filter { $0.name == "header" }.map(\.value))))
        case nil: return .json(404) { $0.field("status", "No such path") }
        }
    }

    private func statistics(
        _ request: HTTPRequest, _ registry: borrowing Registry, withPackets: Bool, now: UInt64
    ) -> HTTPAnswer {
        // Weak: what changes with time alone (availability) is the same for as long as nothing was polled.
        traffic.refresh(now: now)
        let requests = traffic.totals[.accepted] &* 2 &- traffic.totals.unended
        let tag = "W/\"\(registry.version)-\(registry.polls)-\(requests)\""
        if !withPackets, Self.lists(tag, request) {
            return HTTPAnswer(status: 304, headers: [("ETag", tag)], body: .bytes([]))
        }
        let cursor = StatisticsCursor(
            withPackets: withPackets, service: request.parameter("service"), instance: request.parameter("instance"),
            traffic: traffic)
        return HTTPAnswer(
            status: 200, headers: withPackets ? [] : [("ETag", tag)], body: .pieces(.statistics(cursor)))
    }

    /// Whether If-None-Match names this entity tag (RFC 9110 13.1.2); what it lists is compared as text.
    private static func lists(_ tag: String, _ request: HTTPRequest) -> Bool {
        request.values(of: "if-none-match").contains { value in
            String(decoding: value, as: UTF8.self).split(separator: ",").contains { entry in
                let entry = entry.drop { $0 == " " }
                return entry == "*" || entry.hasPrefix(tag)
            }
        }
    }
}
