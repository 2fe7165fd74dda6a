/// Turns a document into a configuration and collects everything that is wrong with it.
struct ConfigurationReader {
    private(set) var diagnostics: [Diagnostic] = []
    /// How many there are of each, those beyond the limit included.
    private(set) var errors = 0
    private var warnings = 0
    private var lines: LineIndex?
    /// Where each API path was claimed first, and by whom.
    private var claimed: [String: (service: String, list: Int, offset: Int)] = [:]

    typealias Value = Document.Value

    mutating func error(_ value: Value, _ message: String) { note(.error, value, message) }

    mutating func note(
        _ severity: Diagnostic.Severity, _ value: Value, _ message: String, hidesSource: Bool = false
    ) {
        // However many warnings there are, no error is lost by them.
        let count = severity == .error ? errors : warnings
        if severity == .error { errors += 1 } else { warnings += 1 }
        if count < Limits.diagnostics {
            diagnostics.append(Diagnostic(severity, at: value.offset, message, hidesSource: hidesSource))
        }
    }

    /// An error that names the line of another place.
    private mutating func error(_ value: Value, after offset: Int, _ message: (_ line: Int) -> String) {
        guard errors < Limits.diagnostics else {
            errors += 1
            return
        }
        let index = lines ?? LineIndex(value.document.source)
        lines = index
        error(value, message(index.line(of: offset)))
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
                continue
            }
            let isName =
                !name.isEmpty && name.utf8.count <= 255 && !name.unicodeScalars.contains(where: Text.isInvisible)
            if !isName, name.utf8.count <= Limits.keyBytes {
                error(
                    key,
                    "the service name `\(Text.shown(name.utf8))` is not valid\(Text.unseen(name.utf8)); a name has 1 to 255 bytes and no control or invisible characters"
                )
            }
            if let service = service(name, key, value), isName { configuration.services.append(service) }
        }
        checkSizes(configuration, root)
        warnOfSmallLimits(configuration, root)
        if !root.members.contains(where: { $0.key.text != "meta-info" }) {
            error(root, "there is no service; at least one is needed beside `meta-info`")
        }
        return configuration
    }

    /// What forwarders and discoveryd have room for: aliases of YAML can make much of a small file.
    private mutating func checkSizes(_ configuration: Configuration, _ root: Value) {
        let packets = configuration.services.reduce(0) { sum, service in
            service.instances.reduce(sum) { $0 + $1.polling.packetLimit }
        }
        let sizes: [(found: Int, allowed: Int, what: String)] = [
            (configuration.services.count, Limits.configuredServices, "services"),
            (configuration.instanceCount, Limits.configuredInstances, "instances"),
            (configuration.services.reduce(0) { $0 + $1.paths.count }, Limits.configuredPaths, "API paths"),
            (packets, Limits.configuredPackets, "packets of history (`packet_limit` of all instances together)"),
        ]
        for (found, allowed, what) in sizes where found > allowed {
            error(root, "there are \(found) \(what); at most \(allowed) are allowed")
        }
    }

    /// Limits are for all forwarders together, and each has at least 1 of them.
    private mutating func warnOfSmallLimits(_ configuration: Configuration, _ root: Value) {
        guard let forwarders = configuration.general.forwarders else { return }
        for (key, value) in root.members {
            let limits =
                key.text == "meta-info"
                ? value["limits"]?["connections"].map { [("connections", $0)] } ?? []
                : ["max_connections", "queue"].compactMap { name in
                    value.members.first { $0.key.text == name }.map { (name, $0.value) }
                }
            for (name, limit) in limits {
                guard let number = whole(limit), number > 0, number < UInt64(forwarders) else { continue }
                note(
                    .warning, limit,
                    "`\(name)` is \(number), fewer than the \(forwarders) forwarders that share it: each takes 1, so \(forwarders) are possible"
                )
            }
        }
    }

    // MARK: Services

    static let serviceKeys = [
        "servers", "polling", "apis", "balance", "retry", "timeouts", "max_connections", "queue", "host",
        "strip_prefix",
        "availability_window",
    ]

    mutating func service(_ name: String, _ key: Value, _ value: Value) -> Service? {
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
        var policy = ServicePolicy()
        var window = Limits.availabilityWindowMilliseconds
        var maxConnections: Value?
        var queue: Value?
        for (key, value) in value.members {
            switch key.text {
            // A key that appears twice is an error, and what is wrong below either is said with it.
            case "servers":
                if let earlier = servers { _ = instances(earlier, nil, service: key, isEarlier: true) }
                servers = value
            case "polling":
                if let earlier = shared { _ = polling(earlier.value, own: false) }
                shared = (key, value)
            case "apis":
                hasPaths = true
                paths = apis(name, value)
            case "timeouts": timeouts(value, &policy)
            case "host": policy.sendsInstanceHost = word(key, value, ["keep", "instance"]) == "instance"
            case "strip_prefix": if let flag = flag(key, value) { policy.stripsPrefix = flag }
            case "balance": if let balance = balance(key, value) { policy.balance = balance }
            case "retry": retry(key, value, &policy)
            case "max_connections":
                maxConnections = value
                policy.maxConnections = integer(key, value, 1...Limits.instanceConnectionsMaximum)
            case "queue":
                queue = key
                if let count = integer(key, value, 0...Limits.queuedRequestsMaximum) { policy.queue = count }
            case "availability_window": window = duration(key, value, 600_000...604_800_000) ?? window
            default: unknown(key, Self.serviceKeys, in: "a service")
            }
        }
        if let queue, maxConnections == nil {
            error(
                queue, "`queue` has no meaning without `max_connections`: requests only wait where instances are full")
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
            // What else is wrong is said at once.
            if let shared { _ = polling(shared.value, own: false) }
            return nil
        }
        let instances = instances(servers, shared, service: key)
        if instances.count == 1, let only = instances.first, only.polling.retries == 0,
            only.polling.frequencyMilliseconds > 300_000
        {
            note(
                .warning, servers,
                "a single instance, polled every \(Duration.text(only.polling.frequencyMilliseconds)) without retries: one lost poll makes the service unavailable for long"
            )
        }
        var service = Service(name: name, instances: instances, paths: paths)
        service.policy = policy
        service.availabilityWindowMilliseconds = window
        return service
    }

    /// `isEarlier`: of two, the one whose polling is not looked for.
    mutating func instances(
        _ servers: Value, _ shared: (key: Value, value: Value)?, service: Value, isEarlier: Bool = false
    ) -> [Instance] {
        var instances: [Instance] = []
        var seen: [String: Int] = [:]
        switch servers.kind {
        case .sequence:
            var common: Polling?
            if let shared {
                common = polling(shared.value, own: false)?.polling
            } else if !isEarlier {
                error(servers, "`servers` is a list, then `polling` is required beside it and shared by all")
            }
            for element in servers.elements {
                guard let instance = instance(element, element, common, 1, &seen) else { continue }
                instances.append(instance)
            }
        case .mapping:
            if let shared {
                error(shared.key, "`polling` beside a map of `servers`; each server has its own polling there")
                _ = polling(shared.value, own: false)
            }
            for (key, value) in servers.members {
                let own = polling(value, own: true)
                guard let instance = instance(key, value, own?.polling, own?.weight ?? 1, &seen) else { continue }
                instances.append(instance)
            }
        case .null, .boolean, .integer, .number, .string, .alias:
            error(
                servers,
                "`servers` is \(found(servers)); a list of addresses or a map from addresses to polling is needed")
            if let shared { _ = polling(shared.value, own: false) }
            return []
        }
        if servers.count == 0 { error(servers, "`servers` is empty; at least one address is needed") }
        return instances
    }

    mutating func instance(
        _ address: Value, _ place: Value, _ polling: Polling?, _ weight: Int, _ seen: inout [String: Int]
    ) -> Instance? {
        guard let url = scalarText(address) else {
            error(address, "found \(foundText(address)); an address is needed: host, host:port or [IPv6]:port")
            return nil
        }
        let endpoint: Endpoint
        do {
            endpoint = try Endpoint(url)
        } catch {
            self.error(address, "the address `\(Text.shown(url.utf8))`: \(error.reason)\(Text.unseen(url.utf8))")
            return nil
        }
        if endpoint.scheme == .https {
            error(
                address,
                "the address `\(Text.shown(url.utf8))`: https is understood but TLS is not there yet; use http://")
        }
        let identity = "\(endpoint.host.lowercased()):\(endpoint.port)"
        if let before = seen[identity] {
            error(address, after: before) {
                "the instance `\(Text.shown(url.utf8))` is in this service already, on line \($0)"
            }
            return nil
        }
        seen[identity] = address.offset
        guard let polling else { return nil }
        return Instance(url: url, endpoint: endpoint, polling: polling, weight: weight)
    }

    mutating func apis(_ service: String, _ value: Value) -> [String] {
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
            guard let path = scalarText(element) else {
                error(element, "found \(foundText(element)); a path such as /orders is needed")
                continue
            }
            if let fault = PathRule.fault(path) {
                error(element, "the path `\(Text.shown(path.utf8))` \(fault)\(Text.unseen(path.utf8))")
                continue
            }
            let normal = PathRule.normal(path)
            if let first = claimed[normal] {
                // One service that is there twice is one error.
                if first.service == service, first.list != value.offset { continue }
                error(element, after: first.offset) {
                    "the path `\(Text.shown(path.utf8))` is claimed already by `\(Text.shown(first.service.utf8))` on line \($0)"
                }
                continue
            }
            if normal == "/.serverpy" || normal == "/.serverpy/ready" {
                note(
                    .warning, element,
                    "no request for `/.serverpy/ready` reaches this service: the request processor answers it itself")
            }
            claimed[normal] = (service, value.offset, element.offset)
            paths.append(normal)
        }
        return paths
    }
}
