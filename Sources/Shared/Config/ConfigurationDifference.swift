/// What a new configuration changes, for people: what a reload does, or would do.
public struct ConfigurationDifference: Equatable, Sendable {
    /// One change a line: `+ service orders`, `- instance orders 10.0.0.1:80`, `~ polling orders 10.0.0.2:80`.
    public private(set) var lines: [String] = []

    /// The lines, those of one kind gathered where there are many: `+ 8000 services: a, b, c ...`.
    public func summary(named limit: Int = Limits.changesNamed) -> [String] {
        var counts: [String: Int] = [:]
        func kind(_ line: String) -> String? {
            let words = line.split(separator: " ", maxSplits: 2)
            return words.count == 3 && ["service", "instance", "route"].contains(words[1])
                ? "\(words[0]) \(words[1])" : nil
        }
        for line in lines { if let kind = kind(line) { counts[kind, default: 0] += 1 } }
        var gathered: Set<String> = []
        var result: [String] = []
        for line in lines {
            guard let kind = kind(line), let count = counts[kind], count > limit else {
                result.append(line)
                continue
            }
            guard gathered.insert(kind).inserted else { continue }
            let names = lines.lazy.filter { $0.hasPrefix(kind + " ") }.prefix(3).map { line in
                let rest = line.dropFirst(kind.count + 1)
                return String(rest[..<(rest.firstRange(of: " (")?.lowerBound ?? rest.endIndex)])
            }
            result.append("\(kind.prefix(1)) \(count) \(kind.dropFirst(2))s: \(names.joined(separator: ", ")) ...")
        }
        return result
    }

    public init(from old: Configuration, to new: Configuration) {
        let (before, after) = (Self.byName(old), Self.byName(new))
        for service in old.services where after[service.name] == nil {
            lines.append("- service \(service.name) (\(service.instances.count) instances)")
        }
        for service in new.services {
            guard let former = before[service.name] else {
                lines.append(
                    "+ service \(service.name) (\(service.instances.count) instances, \(service.paths.joined(separator: " ")))"
                )
                continue
            }
            if former != service { compare(former, service) }
        }
        compare(old.general, new.general)
    }

    private static func byName(_ configuration: Configuration) -> [String: Service] {
        Dictionary(configuration.services.map { ($0.name, $0) }) { first, _ in first }
    }

    private mutating func compare(_ old: Service, _ new: Service) {
        let name = new.name
        let (before, after) = (
            Dictionary(old.instances.map { ($0.url, $0) }) { first, _ in first },
            Dictionary(new.instances.map { ($0.url, $0) }) { first, _ in first }
        )
        for instance in old.instances where after[instance.url] == nil {
            lines.append("- instance \(name) \(instance.url)")
        }
        for instance in new.instances {
            guard let former = before[instance.url] else {
                lines.append("+ instance \(name) \(instance.url)")
                continue
            }
            if former != instance { lines.append("~ instance \(name) \(instance.url)") }
        }
        if old.policy != new.policy || old.availabilityWindowMilliseconds != new.availabilityWindowMilliseconds {
            lines.append("~ service \(name)")
        }
        let (formerPaths, paths) = (Set(old.paths), Set(new.paths))
        for path in old.paths where !paths.contains(path) { lines.append("- route \(path) \(name)") }
        for path in new.paths where !formerPaths.contains(path) { lines.append("+ route \(path) \(name)") }
    }

    private mutating func compare(_ old: Configuration.General, _ new: Configuration.General) {
        func changed(
            _ name: String, _ before: some Equatable & CustomStringConvertible,
            _ after: some Equatable & CustomStringConvertible
        ) {
            if before.description != after.description { lines.append("~ \(name) \(before) -> \(after)") }
        }
        changed("discovery_server_name", old.discoveryName, new.discoveryName)
        changed("request_processor_name", old.requestProcessorName, new.requestProcessorName)
        changed("discovery_server_host", old.discoveryHost, new.discoveryHost)
        changed("discovery_server_port", old.discoveryPort, new.discoveryPort)
        changed("request_processor_host", old.requestProcessorHost ?? "all", new.requestProcessorHost ?? "all")
        changed("request_processor_port", old.requestProcessorPort, new.requestProcessorPort)
        changed("forwarders", old.forwarders.map(String.init) ?? "auto", new.forwarders.map(String.init) ?? "auto")
        compare(old.forwarding, new.forwarding)
        // Secrets, also the path of a web hook: that they have changed is all that is said.
        if old.discoveryToken != new.discoveryToken { lines.append("~ discovery_token") }
        if old.onChange != new.onChange { lines.append("~ on_change") }
        changed("resolver.use", old.resolver.use.rawValue, new.resolver.use.rawValue)
        changed("resolver.servers", old.resolver.servers.description, new.resolver.servers.description)
    }

    private mutating func compare(_ old: ForwarderSettings, _ new: ForwarderSettings) {
        func changed(_ name: String, _ text: (ForwarderSettings) -> String) {
            let (before, after) = (text(old), text(new))
            if before != after { lines.append("~ \(name) \(before) -> \(after)") }
        }
        changed("limits.head_size") { ByteSize.text(UInt64($0.headBytes)) }
        changed("limits.header_count") { String($0.headFields) }
        changed("limits.body_size") { $0.bodyBytes.map(ByteSize.text) ?? "none" }
        changed("limits.connections") { $0.connections.map(String.init) ?? "none" }
        changed("timeouts.head") { Duration.text($0.headTimeoutMilliseconds) }
        changed("timeouts.idle") { Duration.text($0.clientIdleTimeoutMilliseconds) }
        changed("trusted_proxies") { "[\($0.trustedProxies.map(\.description).joined(separator: ", "))]" }
        changed("proxy_protocol") { String($0.expectsProxyProtocol) }
        changed("via") { $0.via ?? "the host's name" }
        changed("ready_path") { String($0.answersReady) }
        changed("drain_delay") { Duration.text($0.drainDelayMilliseconds) }
        changed("drain_timeout") { Duration.text($0.drainTimeoutMilliseconds) }
        changed("access_log") { $0.accessLog.text }
        changed("log_format") { $0.logFormat.rawValue }
    }
}
