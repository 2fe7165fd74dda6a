/// The key `meta-info`: ports, and what is the same for all services.
extension ConfigurationReader {
    static let generalKeys = [
        "discovery_server_name", "request_processor_name", "discovery_server_host", "discovery_server_port",
        "request_processor_host", "request_processor_port", "forwarders", "limits", "timeouts", "trusted_proxies",
        "proxy_protocol", "via", "ready_path", "drain_delay", "drain_timeout", "access_log", "log_format",
        "discovery_token",
        "on_change", "resolver",
    ]

    mutating func general(_ value: Value) -> Configuration.General {
        var general = Configuration.General()
        guard value.kind == .mapping else {
            error(value, "`meta-info` is \(value.kind.name); a map is needed")
            return general
        }
        var proxyProtocol: Value?
        var namesProxies = false
        var portFaults = 0
        for (key, value) in value.members {
            switch key.text {
            case "discovery_server_name": if let name = text(key, value) { general.discoveryName = name }
            case "request_processor_name": if let name = text(key, value) { general.requestProcessorName = name }
            case "discovery_server_host": if let address = address(key, value) { general.discoveryHost = address }
            case "request_processor_host": general.requestProcessorHost = address(key, value)
            case "discovery_server_port":
                if let port = integer(key, value, 0...65535) {
                    general.discoveryPort = UInt16(port)
                } else {
                    portFaults += 1
                }
            case "request_processor_port":
                if let port = integer(key, value, 0...65535) {
                    general.requestProcessorPort = UInt16(port)
                } else {
                    portFaults += 1
                }
            case "forwarders":
                if scalarText(value) != "auto", let count = integer(key, value, 1...Limits.forwarders, orWord: "auto") {
                    general.forwarders = count
                }
            case "limits": limits(value, &general.forwarding)
            case "timeouts": clientTimeouts(value, &general.forwarding)
            case "trusted_proxies":
                namesProxies = value.kind != .sequence || value.count > 0
                general.forwarding.trustedProxies = addressRanges(key, value)
            case "proxy_protocol":
                proxyProtocol = key
                if let flag = flag(key, value) { general.forwarding.expectsProxyProtocol = flag }
            case "via": if let name = via(key, value) { general.forwarding.via = name }
            case "ready_path": if let flag = flag(key, value) { general.forwarding.answersReady = flag }
            case "drain_delay":
                if let time = duration(key, value, 0...3_600_000) { general.forwarding.drainDelayMilliseconds = time }
            case "drain_timeout":
                if let time = duration(key, value, 0...3_600_000) { general.forwarding.drainTimeoutMilliseconds = time }
            case "access_log": if let target = accessLog(key, value) { general.forwarding.accessLog = target }
            case "log_format":
                if let format = word(key, value, Log.Format.allCases.map(\.rawValue)).flatMap(Log.Format.init) {
                    general.forwarding.logFormat = format
                }
            case "discovery_token": general.discoveryToken = token(key, value)
            case "on_change": general.onChange = changeHook(key, value)
            case "resolver": resolver(value, &general.resolver)
            default: unknown(key, Self.generalKeys, in: "`meta-info`", hidesSource: true)
            }
        }
        if portFaults == 0, general.discoveryPort == general.requestProcessorPort, general.discoveryPort != 0 {
            error(
                value,
                "`discovery_server_port` and `request_processor_port` are both \(general.discoveryPort); they must differ"
            )
        }
        if let proxyProtocol, general.forwarding.expectsProxyProtocol, !namesProxies {
            error(
                proxyProtocol,
                "`proxy_protocol` is true, then `trusted_proxies` must name those who send it: a client could say anything"
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

    static let limitKeys = ["head_size", "header_count", "body_size", "connections"]

    private mutating func limits(_ value: Value, _ settings: inout ForwarderSettings) {
        guard value.kind == .mapping else {
            return error(
                value, "`limits` is \(value.kind.name); a map of \(list(Self.limitKeys)) is needed")
        }
        for (key, value) in value.members {
            switch key.text {
            case "head_size":
                let range = Limits.headBytesRange
                if let size = size(key, value, UInt64(range.lowerBound)...UInt64(range.upperBound)) {
                    settings.headBytes = Int(clamping: size)
                }
            case "header_count":
                if let count = integer(key, value, Limits.headFieldsRange) { settings.headFields = count }
            case "body_size": settings.bodyBytes = size(key, value, 0...UInt64(Int64.max)) ?? settings.bodyBytes
            case "connections":
                settings.connections = integer(key, value, 1...Limits.instanceConnectionsMaximum)
            default: unknown(key, Self.limitKeys, in: "`limits`")
            }
        }
    }

    static let resolverKeys = ["servers", "use"]

    private mutating func resolver(_ value: Value, _ settings: inout ResolverSettings) {
        guard value.kind == .mapping else {
            return error(value, "`resolver` is \(value.kind.name); a map of \(list(Self.resolverKeys)) is needed")
        }
        var servers: Value?
        for (key, value) in value.members {
            switch key.text {
            case "use":
                if let use = word(key, value, ResolverSettings.Use.allCases.map(\.rawValue)).flatMap(
                    ResolverSettings.Use.init)
                {
                    settings.use = use
                }
            case "servers":
                servers = key
                settings.servers = nameServers(key, value)
            default: unknown(key, Self.resolverKeys, in: "`resolver`")
            }
        }
        if let servers, settings.use == .system {
            error(servers, "`servers` beside `use: system`; the system asks its own name servers")
        }
    }

    /// Addresses of name servers, with their ports where those are not 53.
    private mutating func nameServers(_ key: Value, _ value: Value) -> [SocketAddress] {
        var servers: [SocketAddress] = []
        for element in value.kind == .sequence ? Array(value.elements) : [value] {
            let text = scalarText(element) ?? ""
            if let address = SocketAddress(literal: text, port: 53) ?? SocketAddress(hostPort: text), address.port > 0 {
                servers.append(address)
            } else {
                error(
                    element,
                    "`servers` of `resolver` holds \(found(element)); an IP address is needed, with a port where that is not 53: 10.0.0.2 or 10.0.0.2:5353"
                )
            }
        }
        if servers.count > Limits.nameServers {
            error(value, "`\(key.text)` holds \(servers.count) entries; at most \(Limits.nameServers) are allowed")
        }
        return servers
    }

    static let clientTimeoutKeys = ["head", "idle"]

    private mutating func clientTimeouts(_ value: Value, _ settings: inout ForwarderSettings) {
        guard value.kind == .mapping else {
            return error(value, "`timeouts` is \(value.kind.name); a map of \(list(Self.clientTimeoutKeys)) is needed")
        }
        for (key, value) in value.members {
            switch key.text {
            case "head":
                if let time = duration(key, value, 1...3_600_000) { settings.headTimeoutMilliseconds = time }
            case "idle":
                if let time = duration(key, value, 1...86_400_000) { settings.clientIdleTimeoutMilliseconds = time }
            default: unknown(key, Self.clientTimeoutKeys, in: "`timeouts` of `meta-info`")
            }
        }
    }

    /// A list of addresses and blocks, or one of them.
    private mutating func addressRanges(_ key: Value, _ value: Value) -> [AddressRange] {
        var ranges: [AddressRange] = []
        for element in value.kind == .sequence ? Array(value.elements) : [value] {
            if let range = scalarText(element).flatMap(AddressRange.init) {
                ranges.append(range)
            } else {
                error(
                    element,
                    "`\(key.text)` holds \(found(element)); an address or a block such as 10.0.0.0/8 or fd00::/8 is needed, without bits set behind the prefix"
                )
            }
        }
        if ranges.count > Limits.trustedProxies {
            error(value, "`\(key.text)` holds \(ranges.count) entries; at most \(Limits.trustedProxies) are allowed")
        }
        return ranges
    }

    /// A pseudonym (RFC 9110 7.6.3): a token.
    private mutating func via(_ key: Value, _ value: Value) -> String? {
        if let text = scalarText(value), !text.isEmpty, text.utf8.count <= 64, text.utf8.allSatisfy(Grammar.isToken) {
            return text
        }
        error(value, "`\(key.text)` is \(foundText(value)); 1 to 64 letters, digits and !#$%&'*+-.^_`|~ are needed")
        return nil
    }

    private mutating func accessLog(_ key: Value, _ value: Value) -> AccessLogTarget? {
        // YAML 1.1 habits: `off` unquoted is text in the core schema, `false` is what some write for it.
        if isFalse(value) { return .off }
        guard let text = text(key, value) else { return nil }
        let target = AccessLogTarget(text)
        guard case .file(let path) = target else { return target }
        if !path.hasPrefix("/") {
            error(value, "`access_log` is `\(Text.shown(text.utf8))`; `off`, `stderr` or an absolute path is needed")
            return nil
        }
        // In a forwarder they are other streams: what it writes there is read as messages.
        if ["/dev/stdout", "/dev/stdin", "/dev/tty"].contains(path)
            || ["/dev/fd/", "/proc/self/", "/proc/thread-self/"].contains(where: path.hasPrefix)
        {
            error(
                value,
                "`access_log` is `\(Text.shown(text.utf8))`, which is another stream in each process; `stderr` is serverpy's own standard error"
            )
            return nil
        }
        return target
    }

    /// A bearer token (RFC 6750 2.1). It is a secret: messages do not show it.
    private mutating func token(_ key: Value, _ value: Value) -> String? {
        let text = scalarText(value)
        let fault: String? =
            switch text {
            case nil: value.kind == .null ? "empty or null" : value.kind.name
            case .some(let text) where text.utf8.count < 16 || text.utf8.count > 1024: "\(text.utf8.count) bytes long"
            case .some(let text) where !text.utf8.allSatisfy({ Grammar.isToken($0) || $0 == 0x2f || $0 == 0x3d }):
                "text with a character that a bearer token cannot have"
            case .some: nil
            }
        if let fault {
            note(
                .error, value,
                "`\(key.text)` is \(fault); 16 to 1024 letters, digits and -._~+/= are needed, such as `openssl rand -hex 32` makes",
                hidesSource: true)
            return nil
        }
        return text
    }

    private mutating func changeHook(_ key: Value, _ value: Value) -> ChangeHook? {
        guard let text = text(key, value) else { return nil }
        do {
            return try ChangeHook(text)
        } catch {
            note(.error, value, "`\(key.text)`: \(error.reason)", hidesSource: true)
            return nil
        }
    }
}
