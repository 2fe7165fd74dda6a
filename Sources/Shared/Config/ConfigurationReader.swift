/// Turns a document into a configuration and collects everything that is wrong with it.
struct ConfigurationReader {
    private(set) var diagnostics: [Diagnostic] = []
    /// Where each API path was claimed first, and by whom.
    private var claimed: [String: (service: String, offset: Int)] = [:]

    typealias Value = Document.Value

    mutating func error(_ value: Value, _ message: String) { note(.error, value, message) }

    private mutating func note(_ severity: Diagnostic.Severity, _ value: Value, _ message: String) {
        if diagnostics.count < Limits.diagnostics {
            diagnostics.append(Diagnostic(severity, at: value.offset, message))
        }
    }

    mutating func read(_ document: Document) -> Configuration {
        var configuration = Configuration()
        let root = document.root
        guard root.kind == .mapping else {
            error(root, "found \(root.kind.name); a map from service names to services is needed")
            return configuration
        }
        for (key, value) in root.members {
            let name = key.text
            if name == "meta-info" {
                configuration.general = general(value)
            } else if name.isEmpty || name.utf8.count > 255 || name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) {
                error(key, "a service name has 1 to 255 bytes and no control characters")
            } else if let service = service(name, key, value) {
                configuration.services.append(service)
            }
        }
        if configuration.services.isEmpty, diagnostics.isEmpty {
            error(root, "there is no service; at least one is needed beside `meta-info`")
        }
        return configuration
    }

    // MARK: meta-info

    private static let generalKeys = [
        "discovery_server_name", "request_processor_name", "discovery_server_host", "discovery_server_port",
        "request_processor_host", "request_processor_port", "forwarders", "drain_timeout",
    ]

    private mutating func general(_ value: Value) -> Configuration.General {
        var general = Configuration.General()
        guard value.kind == .mapping else {
            error(value, "`meta-info` is \(value.kind.name); a map is needed")
            return general
        }
        for (key, value) in value.members {
            switch key.text {
            case "discovery_server_name": if let name = text(key, value) { general.discoveryName = name }
            case "request_processor_name": if let name = text(key, value) { general.requestProcessorName = name }
            case "discovery_server_host": general.discoveryHost = address(key, value)
            case "request_processor_host": general.requestProcessorHost = address(key, value)
            case "discovery_server_port":
                if let port = integer(key, value, 0...65535) { general.discoveryPort = UInt16(port) }
            case "request_processor_port":
                if let port = integer(key, value, 0...65535) { general.requestProcessorPort = UInt16(port) }
            case "forwarders":
                if value.string != "auto", let count = integer(key, value, 1...Limits.forwarders, orWord: "auto") {
                    general.forwarders = count
                }
            case "drain_timeout":
                if let time = duration(key, value, 0...3_600_000) { general.drainTimeoutMilliseconds = time }
            default: unknown(key, Self.generalKeys, in: "`meta-info`")
            }
        }
        if general.discoveryPort == general.requestProcessorPort, general.discoveryPort != 0 {
            error(
                value,
                "`discovery_server_port` and `request_processor_port` are both \(general.discoveryPort); they must differ"
            )
        }
        return general
    }

    /// An IP address to listen on.
    private mutating func address(_ key: Value, _ value: Value) -> String? {
        guard let text = text(key, value) else { return nil }
        if text == "localhost" { return "127.0.0.1" }
        if SocketAddress(literal: text, port: 0) != nil { return text }
        error(
            value,
            "`\(key.text)` is `\(Text.shown(text.utf8))`; an IPv4 or IPv6 address is needed, such as 127.0.0.1 or ::")
        return nil
    }

    // MARK: Services

    private static let serviceKeys = ["servers", "polling", "apis"]

    private mutating func service(_ name: String, _ key: Value, _ value: Value) -> Service? {
        guard value.kind == .mapping else {
            error(
                value,
                "the service `\(Text.shown(name.utf8))` is \(value.kind.name); a map with `servers` and `apis` is needed"
            )
            return nil
        }
        var servers: Value?
        var shared: (key: Value, value: Value)?
        var paths: [String] = []
        var hasPaths = false
        for (key, value) in value.members {
            switch key.text {
            case "servers": servers = value
            case "polling": shared = (key, value)
            case "apis":
                hasPaths = true
                paths = apis(name, value)
            default: unknown(key, Self.serviceKeys, in: "a service")
            }
        }
        if !hasPaths {
            error(
                key, "the service `\(Text.shown(name.utf8))` has no `apis`; a list of the API paths it serves is needed"
            )
        }
        guard let servers else {
            error(
                key,
                "the service `\(Text.shown(name.utf8))` has no `servers`; a list of addresses, or a map from addresses to their polling, is needed"
            )
            return nil
        }
        let instances = instances(servers, shared, service: key)
        return Service(name: name, instances: instances, paths: paths)
    }

    private mutating func instances(_ servers: Value, _ shared: (key: Value, value: Value)?, service: Value)
        -> [Instance]
    {
        var instances: [Instance] = []
        var seen: [String: Int] = [:]
        switch servers.kind {
        case .sequence:
            guard let shared else {
                error(servers, "`servers` is a list, then `polling` is required beside it and shared by all")
                return []
            }
            let polling = polling(shared.value, own: false)
            for element in servers.elements {
                guard let instance = instance(element, element, polling?.polling, 1, &seen) else { continue }
                instances.append(instance)
            }
        case .mapping:
            if let shared {
                error(shared.key, "`polling` beside a map of `servers`; each server has its own polling there")
            }
            for (key, value) in servers.members {
                let own = polling(value, own: true)
                guard let instance = instance(key, value, own?.polling, own?.weight ?? 1, &seen) else { continue }
                instances.append(instance)
            }
        case .null, .boolean, .integer, .number, .string, .alias:
            error(
                servers,
                "`servers` is \(servers.kind.name); a list of addresses or a map from addresses to polling is needed")
            return []
        }
        if servers.count == 0 { error(servers, "`servers` is empty; at least one address is needed") }
        return instances
    }

    private mutating func instance(
        _ address: Value, _ place: Value, _ polling: Polling?, _ weight: Int, _ seen: inout [String: Int]
    ) -> Instance? {
        guard address.kind == .string || address.kind == .integer || address.kind == .number else {
            error(address, "found \(address.kind.name); an address is needed: host, host:port or [IPv6]:port")
            return nil
        }
        let url = address.text
        let endpoint: Endpoint
        do {
            endpoint = try Endpoint(url)
        } catch {
            self.error(address, "the address `\(Text.shown(url.utf8))`: \(error.reason)")
            return nil
        }
        if endpoint.scheme == .https {
            error(
                address,
                "the address `\(Text.shown(url.utf8))`: https is understood but TLS is not there yet; use http://")
        }
        let identity = "\(endpoint.host.lowercased()):\(endpoint.port)"
        if let before = seen[identity] {
            let line = SourcePosition(offset: before, in: address.document.source).line
            error(address, "the instance `\(Text.shown(url.utf8))` is in this service already, on line \(line)")
            return nil
        }
        seen[identity] = address.offset
        guard let polling else { return nil }
        return Instance(url: url, endpoint: endpoint, polling: polling, weight: weight)
    }

    private mutating func apis(_ service: String, _ value: Value) -> [String] {
        guard value.kind == .sequence, value.count > 0 else {
            error(
                value,
                value.kind == .sequence
                    ? "`apis` is empty; at least one path is needed"
                    : "`apis` is \(value.kind.name); a list of paths is needed")
            return []
        }
        var paths: [String] = []
        for element in value.elements {
            guard let path = element.string else {
                error(element, "found \(element.kind.name); a path such as /orders is needed")
                continue
            }
            if let fault = PathRule.fault(path) {
                error(element, "the path `\(Text.shown(path.utf8))` \(fault)")
                continue
            }
            let normal = PathRule.normal(path)
            if let first = claimed[normal] {
                let line = SourcePosition(offset: first.offset, in: element.document.source).line
                error(
                    element,
                    "the path `\(Text.shown(path.utf8))` is claimed already by `\(Text.shown(first.service.utf8))` on line \(line)"
                )
                continue
            }
            claimed[normal] = (service, element.offset)
            paths.append(normal)
        }
        return paths
    }

    // MARK: Polling

    private static let pollingKeys = [
        "method", "endpoint", "frequency", "retries", "retry_delay", "packet_limit", "priority", "timeout", "rise",
        "down_frequency", "expect", "weight",
    ]

    /// `own`: the instance has its own polling, where priority and weight are allowed.
    private mutating func polling(_ value: Value, own: Bool) -> (polling: Polling, weight: Int)? {
        guard value.kind == .mapping else {
            error(value, "polling is \(value.kind.name); a map with `method` is needed")
            return nil
        }
        var polling = Polling(method: .ping)
        var method: String?
        var endpoint: (value: Value, path: String)?
        var retryDelay: Value?
        var timeout: Value?
        var down: UInt64?
        var weight = 1
        let before = diagnostics.count
        for (key, value) in value.members {
            switch key.text {
            case "method": method = word(key, value, ["health", "ping"])
            case "endpoint": endpoint = endpointPath(key, value).map { (key, $0) }
            case "frequency":
                if let time = duration(key, value, 10...86_400_000) { polling.frequencyMilliseconds = time }
            case "retries": if let count = integer(key, value, 0...100) { polling.retries = count }
            case "retry_delay":
                retryDelay = value
                if let time = duration(key, value, 0...3_600_000) { polling.retryDelayMilliseconds = time }
            case "packet_limit":
                if let count = integer(key, value, 1...Limits.packetsPerInstanceMaximum) { polling.packetLimit = count }
            case "timeout":
                timeout = value
                if let time = duration(key, value, 1...3_600_000) { polling.timeoutMilliseconds = time }
            case "rise": if let count = integer(key, value, 1...100) { polling.rise = count }
            case "down_frequency": down = duration(key, value, 10...86_400_000)
            case "expect": if let ranges = statusRanges(key, value) { polling.expect = ranges }
            case "priority", "weight":
                guard own else {
                    error(
                        key,
                        "`\(key.text)` is accepted only where each server has its own polling: write `servers` as a map"
                    )
                    continue
                }
                if key.text == "weight" {
                    if let number = integer(key, value, 1...100) { weight = number }
                } else if let name = word(key, value, Priority.allCases.map(\.name)),
                    let priority = Priority(name: name)
                {
                    polling.priority = priority
                }
            default: unknown(key, Self.pollingKeys, in: "polling")
            }
        }
        if method == nil, !value.members.contains(where: { $0.key.text == "method" }) {
            error(value, "polling has no `method`; `health` or `ping` is needed")
        }
        if method == "health" {
            if let endpoint {
                polling.method = .health(endpoint: endpoint.path)
            } else if !value.members.contains(where: { $0.key.text == "endpoint" }) {
                error(value, "`method: health` needs an `endpoint`, such as /health")
            }
        } else if method == "ping", let endpoint {
            error(endpoint.value, "`endpoint` belongs to `method: health`; `ping` has none")
        }
        if polling.retries > 0, retryDelay == nil {
            error(value, "`retries` is \(polling.retries), then `retry_delay` (seconds) is required")
        }
        if let timeout {
            if polling.timeoutMilliseconds > polling.frequencyMilliseconds {
                error(
                    timeout,
                    "`timeout` is longer than `frequency` (\(Duration.text(polling.frequencyMilliseconds))); at most that is allowed"
                )
            }
        } else {
            polling.timeoutMilliseconds = min(Limits.pollTimeoutMilliseconds, polling.frequencyMilliseconds)
        }
        polling.downFrequencyMilliseconds = down ?? min(polling.frequencyMilliseconds, Limits.downFrequencyMilliseconds)
        return diagnostics.count == before ? (polling, weight) : nil
    }

    private mutating func endpointPath(_ key: Value, _ value: Value) -> String? {
        guard let path = text(key, value) else { return nil }
        guard path.hasPrefix("/"), path.utf8.allSatisfy(Grammar.isTarget) else {
            error(
                value,
                "`endpoint` is `\(Text.shown(path.utf8))`; a path that begins with / and holds neither spaces, # nor control characters is needed"
            )
            return nil
        }
        return path
    }

    /// A code, a range `200-299`, or a list of these.
    private mutating func statusRanges(_ key: Value, _ value: Value) -> [StatusRange]? {
        var ranges: [StatusRange] = []
        for element in value.kind == .sequence ? Array(value.elements) : [value] {
            let parts = element.text.split(separator: "-", omittingEmptySubsequences: false)
            let codes = parts.compactMap { DecimalDigits.parse($0.utf8, max: 599) }
            guard codes.count == parts.count, codes.count == 1 || codes.count == 2, codes[0] >= 100,
                codes[codes.count - 1] >= codes[0]
            else {
                error(
                    element,
                    "`expect` holds `\(Text.shown(element.text.utf8))`; a status code from 100 to 599 or a range such as 200-299 is needed"
                )
                continue
            }
            ranges.append(StatusRange(UInt16(codes[0]), UInt16(codes[codes.count - 1])))
        }
        if ranges.isEmpty, value.kind == .sequence, value.count == 0 {
            error(value, "`expect` is empty; at least one status code is needed")
        }
        return ranges.isEmpty ? nil : ranges
    }

    // MARK: Scalars

    private mutating func text(_ key: Value, _ value: Value) -> String? {
        if let text = value.string, !text.isEmpty, text.utf8.count <= 1024 { return text }
        let found = value.kind == .string ? (value.bytes.isEmpty ? "empty" : "longer than 1024 bytes") : value.kind.name
        error(value, "`\(key.text)` is \(found); text is needed")
        return nil
    }

    private mutating func word(_ key: Value, _ value: Value, _ allowed: [String]) -> String? {
        let word = value.kind == .sequence || value.kind == .mapping ? "" : value.text
        if allowed.contains(word) { return word }
        var message =
            "`\(key.text)` is \(word.isEmpty ? value.kind.name : "`\(Text.shown(word.utf8))`"); allowed are \(list(allowed))"
        if let near = Text.nearest(word, allowed) { message += " (did you mean `\(near)`?)" }
        error(value, message)
        return nil
    }

    private mutating func integer(_ key: Value, _ value: Value, _ range: ClosedRange<Int>, orWord word: String? = nil)
        -> Int?
    {
        if let number = value.unsigned, number <= UInt64(Int.max), range.contains(Int(number)) { return Int(number) }
        let found =
            value.kind == .sequence || value.kind == .mapping ? value.kind.name : "`\(Text.shown(value.text.utf8))`"
        let also = word.map { ", or `\($0)`" } ?? ""
        error(
            value,
            "`\(key.text)` is \(found); a whole number from \(range.lowerBound) to \(range.upperBound)\(also) is needed"
        )
        return nil
    }

    /// Milliseconds. A number is seconds.
    private mutating func duration(_ key: Value, _ value: Value, _ range: ClosedRange<UInt64>) -> UInt64? {
        let parsed =
            switch value.kind {
            case .integer, .number: Duration.parse(seconds: value.text)
            case .string: Duration.parse(value.text)
            case .null, .boolean, .sequence, .mapping, .alias: UInt64?.none
            }
        if let parsed, range.contains(parsed) { return parsed }
        let found =
            value.kind == .sequence || value.kind == .mapping ? value.kind.name : "`\(Text.shown(value.text.utf8))`"
        error(
            value,
            "`\(key.text)` is \(found); a time from \(Duration.text(range.lowerBound)) to \(Duration.text(range.upperBound)) is needed: seconds as a number, or such as \"250ms\", \"5s\", \"1m\""
        )
        return nil
    }

    private mutating func unknown(_ key: Value, _ allowed: [String], in place: String) {
        var message = "`\(Text.shown(key.bytes))` is not known in \(place); allowed are \(list(allowed))"
        if let near = Text.nearest(key.text, allowed) { message += " (did you mean `\(near)`?)" }
        error(key, message)
    }

    private func list(_ words: [String]) -> String { words.map { "`\($0)`" }.joined(separator: ", ") }
}
