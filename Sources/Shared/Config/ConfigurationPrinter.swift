/// Writes a configuration with all defaults filled in, as YAML that reads back to the same configuration.
public enum ConfigurationPrinter {
    public static func yaml(_ configuration: Configuration) -> String {
        var out = ""
        for service in configuration.services {
            out += "\(quoted(service.name)):\n  servers:\n"
            for instance in service.instances {
                out += "    \(quoted(instance.url)):\n"
                for (key, value) in fields(instance) { out += "      \(key): \(value)\n" }
            }
            out += "  apis:\n"
            for path in service.paths { out += "    - \(quoted(path))\n" }
            let policy = service.policy
            if case .hash(let key) = policy.balance {
                out += "  balance: {hash: \(quoted(key.text))}\n"
            } else {
                out += "  balance: \(policy.balance.name)\n"
            }
            out += "  retry: {tries: \(policy.tries), budget: \(policy.retryBudgetPercent)}\n"
            out +=
                "  timeouts: {connect: \(time(policy.connectTimeoutMilliseconds)), first_byte: \(time(policy.firstByteTimeoutMilliseconds)), "
            out +=
                "idle: \(time(policy.idleTimeoutMilliseconds)), tunnel: \(time(policy.tunnelTimeoutMilliseconds)), queue: \(time(policy.queueTimeoutMilliseconds))}\n"
            if let limit = policy.maxConnections { out += "  max_connections: \(limit)\n  queue: \(policy.queue)\n" }
            out += "  host: \(policy.sendsInstanceHost ? "instance" : "keep")\n  strip_prefix: \(policy.stripsPrefix)\n"
            out += "  availability_window: \(time(service.availabilityWindowMilliseconds))\n"
        }
        return out + yaml(configuration.general)
    }

    private static func yaml(_ general: Configuration.General) -> String {
        var out = "meta-info:\n"
        out += "  discovery_server_name: \(quoted(general.discoveryName))\n"
        out += "  request_processor_name: \(quoted(general.requestProcessorName))\n"
        out += "  discovery_server_host: \(quoted(general.discoveryHost))\n"
        out += "  discovery_server_port: \(general.discoveryPort)\n"
        if let host = general.requestProcessorHost { out += "  request_processor_host: \(quoted(host))\n" }
        out += "  request_processor_port: \(general.requestProcessorPort)\n"
        out += "  forwarders: \(general.forwarders.map(String.init) ?? "auto")\n"
        let settings = general.forwarding
        out += "  limits:\n    head_size: \(ByteSize.text(UInt64(settings.headBytes)))\n"
        out += "    header_count: \(settings.headFields)\n"
        if let bytes = settings.bodyBytes { out += "    body_size: \(ByteSize.text(bytes))\n" }
        if let count = settings.connections { out += "    connections: \(count)\n" }
        out +=
            "  timeouts: {head: \(time(settings.headTimeoutMilliseconds)), idle: \(time(settings.clientIdleTimeoutMilliseconds))}\n"
        if !settings.trustedProxies.isEmpty {
            out +=
                "  trusted_proxies: [\(settings.trustedProxies.map { quoted($0.description) }.joined(separator: ", "))]\n"
        }
        out += "  proxy_protocol: \(settings.expectsProxyProtocol)\n  ready_path: \(settings.answersReady)\n"
        if let via = settings.via { out += "  via: \(quoted(via))\n" }
        out += "  drain_delay: \(time(settings.drainDelayMilliseconds))\n"
        out += "  drain_timeout: \(time(settings.drainTimeoutMilliseconds))\n"
        out += "  access_log: \(quoted(settings.accessLog.text))\n  log_format: \(settings.logFormat.rawValue)\n"
        if let token = general.discoveryToken { out += "  discovery_token: \(quoted(token))\n" }
        if let hook = general.onChange { out += "  on_change: \(quoted(hook.url))\n" }
        out += "  resolver: {use: \(general.resolver.use.rawValue)"
        if !general.resolver.servers.isEmpty {
            out += ", servers: [\(general.resolver.servers.map { quoted($0.description) }.joined(separator: ", "))]"
        }
        out += "}\n"
        return out
    }

    /// The polling of one instance as it is written in a map of servers.
    private static func fields(_ instance: Instance) -> [(String, String)] {
        let polling = instance.polling
        var fields: [(String, String)] = []
        switch polling.method {
        case .health(let endpoint): fields += [("method", "health"), ("endpoint", quoted(endpoint))]
        case .ping: fields.append(("method", "ping"))
        }
        fields.append(("frequency", time(polling.frequencyMilliseconds)))
        fields.append(("timeout", time(polling.timeoutMilliseconds)))
        fields.append(("retries", String(polling.retries)))
        fields.append(("retry_delay", time(polling.retryDelayMilliseconds)))
        fields.append(("rise", String(polling.rise)))
        fields.append(("down_frequency", time(polling.downFrequencyMilliseconds)))
        fields.append(("expect", "[" + polling.expect.map(Self.range).joined(separator: ", ") + "]"))
        fields.append(("packet_limit", String(polling.packetLimit)))
        if !polling.headers.isEmpty {
            let pairs = polling.headers.map { "\(quoted($0.name)): \(quoted($0.value))" }
            fields.append(("headers", "{" + pairs.joined(separator: ", ") + "}"))
        }
        fields.append(("priority", polling.priority.name))
        fields.append(("weight", String(instance.weight)))
        return fields
    }

    static func range(_ range: StatusRange) -> String {
        range.low == range.high ? String(range.low) : "\(range.low)-\(range.high)"
    }

    /// Milliseconds that are no whole seconds are written as such.
    static func time(_ milliseconds: UInt64) -> String {
        milliseconds % 1000 == 0 ? String(milliseconds / 1000) : "\(milliseconds)ms"
    }

    /// Double-quoted, so that no text is taken for anything else; `${` is written so that it stays as it is.
    static func quoted(_ text: String) -> String {
        var writer = JSONWriter()
        writer.value(text)
        return String(decoding: writer.bytes, as: UTF8.self).split(separator: "${", omittingEmptySubsequences: false)
            .joined(separator: "$${")
    }
}
