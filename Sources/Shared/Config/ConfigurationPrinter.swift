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
            out +=
                "  timeouts: {connect: \(time(policy.connectTimeoutMilliseconds)), first_byte: \(time(policy.firstByteTimeoutMilliseconds)), "
            out += "idle: \(time(policy.idleTimeoutMilliseconds))}\n"
            out += "  host: \(policy.sendsInstanceHost ? "instance" : "keep")\n  strip_prefix: \(policy.stripsPrefix)\n"
            out += "  availability_window: \(time(service.availabilityWindowMilliseconds))\n"
        }
        let general = configuration.general
        out += "meta-info:\n"
        out += "  discovery_server_name: \(quoted(general.discoveryName))\n"
        out += "  request_processor_name: \(quoted(general.requestProcessorName))\n"
        out += "  discovery_server_host: \(quoted(general.discoveryHost ?? "127.0.0.1"))\n"
        out += "  discovery_server_port: \(general.discoveryPort)\n"
        if let host = general.requestProcessorHost { out += "  request_processor_host: \(quoted(host))\n" }
        out += "  request_processor_port: \(general.requestProcessorPort)\n"
        out += "  forwarders: \(general.forwarders.map(String.init) ?? "auto")\n"
        out += "  drain_timeout: \(time(general.drainTimeoutMilliseconds))\n"
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
