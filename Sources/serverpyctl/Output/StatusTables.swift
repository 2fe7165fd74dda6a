import Shared

/// Which rows of a status are shown, in which order, and how.
struct StatusView: Equatable {
    enum Order: String, CaseIterable {
        /// As the configuration has them.
        case configuration
        /// Those first that are not well.
        case status
        case requests, errors, latency, availability
    }

    var order = Order.configuration
    /// Services and instances whose name or address holds this; all where it is empty.
    var filter = ""
    var columns = 80
    var hasColour = false

    func shows(_ names: String...) -> Bool { filter.isEmpty || names.contains { $0.contains(filter) } }
}

/// A status as people read it.
struct StatusTables {
    let report: StatusReport
    let view: StatusView

    var text: String {
        var text = heading
        func shown(_ table: Table) -> String { table.text(hasColour: view.hasColour, columns: view.columns) }
        text += shown(processTable)
        let (services, instances) = (serviceTable, instanceTable)
        if !services.isEmpty { text += "\n" + shown(services) }
        if !instances.isEmpty { text += "\n" + shown(instances) }
        if report.now == nil { text += "\ndiscoveryd does not answer: nothing is known of services and instances\n" }
        return text
    }

    private var heading: String {
        guard let supervisor = report.supervisor else { return report.trouble.map { $0 + "\n\n" } ?? "" }
        let state = supervisor["state"]?.string ?? "?"
        let uptime = Self.span((supervisor["uptime_ms"]?.unsigned ?? 0) / 1000)
        return """
            serverpyctl \(state), pid \(supervisor["pid"]?.text ?? "?"), up \(uptime)
            request processor \(supervisor["request_processor"]?.string ?? "closed")
            discovery server \(supervisor["discovery_server"]?.string ?? "?")


            """
    }

    private var processTable: Table {
        var table = Table(
            ["PROCESS", "PID", "STATE", "UP", "RESTARTS", "CPU", "MEM", "INFLIGHT", "SNAPSHOT"],
            cutting: ["PROCESS": .start, "SNAPSHOT": .start])
        for process in report.processes {
            let state = process.state
            table.add(
                [
                    process.name, "\(process.pid)", state,
                    process.uptimeMilliseconds.map { Self.span($0 / 1000) } ?? "-",
                    process.restarts.map { "\($0)" } ?? "-",
                    process.use.map { "\(Int($0.cpuPercent.rounded()))%" } ?? "-",
                    process.use.map { Self.tenths(Double($0.memory) / 1_048_576) + "M" } ?? "-",
                    process.forwarder?["in_flight"]?.text ?? "-", process.forwarder?["snapshot"]?.string ?? "-",
                ], state == "ready" ? .good : state == "down" ? .bad : .doubtful, at: 2)
        }
        return table
    }

    private var serviceTable: Table {
        var table = Table(["SERVICE", "UP", "REQUESTS/S", "ERRORS/S", "P99"], cutting: ["SERVICE": .end])
        var services = report.services.filter { view.shows($0.name) }
        switch view.order {
        case .configuration, .availability: break
        case .status: services.sort { $0.total - $0.up > $1.total - $1.up }
        case .requests: services.sort { ($0.requestsPerSecond ?? 0) > ($1.requestsPerSecond ?? 0) }
        case .errors: services.sort { ($0.errorsPerSecond ?? 0) > ($1.errorsPerSecond ?? 0) }
        case .latency: services.sort { ($0.p99 ?? 0) > ($1.p99 ?? 0) }
        }
        for service in services {
            table.add(
                [
                    service.name, "\(service.up)/\(service.total)",
                    service.requestsPerSecond.map { "\(Int($0.rounded()))" } ?? "-",
                    service.errorsPerSecond.map { "\(Int($0.rounded()))" } ?? "-",
                    service.p99.map { "\(Self.tenths($0)) ms" } ?? "-",
                ], service.up == service.total ? .good : service.up == 0 ? .bad : .doubtful, at: 1)
        }
        return table
    }

    private var instanceTable: Table {
        let instances = sortedInstances
        // Only names with several addresses have them.
        let hasAddresses = instances.contains { $0["address"] != nil }
        var table = Table(
            ["SERVICE", "INSTANCE"] + (hasAddresses ? ["ADDRESS"] : []) + [
                "STATUS", "SINCE", "AVAIL", "PRIO", "CAUSE",
            ],
            cutting: ["SERVICE": .end, "INSTANCE": .end, "CAUSE": .end])
        let wall = Clock.wallMilliseconds()
        for instance in instances {
            let words = words(instance)
            let status = instance["status"]?.string ?? "?"
            let since = instance["since"]?.string.flatMap(Timestamp.wallMilliseconds(iso8601:))
            table.add(
                [
                    instance["service_name"]?.string ?? "?",
                    instance["instance_url"]?.string ?? "?",
                ] + (hasAddresses ? [instance["address"]?.string ?? ""] : []) + [
                    status,
                    since.map { Self.span((wall - min(wall, $0)) / 1000) } ?? "-",
                    instance["availability"]?.double.map { "\(Self.tenths($0))" } ?? "-",
                    instance["priority"]?.string ?? "",
                    words.filter { !$0.isEmpty }.joined(separator: "; "),
                ], status == "up" ? words.count > 1 ? .doubtful : .good : status == "down" ? .bad : .doubtful,
                at: hasAddresses ? 3 : 2)
        }
        return table
    }

    private var sortedInstances: [Document.Value] {
        func traffic(_ instance: Document.Value, _ name: StaticString) -> UInt64 {
            instance["traffic"]?[name]?.unsigned ?? 0
        }
        func errors(_ instance: Document.Value) -> UInt64 { instance["traffic"]?["status"]?["5xx"]?.unsigned ?? 0 }
        func latency(_ instance: Document.Value) -> Double { instance["traffic"]?["latency_ms"]?["p99"]?.double ?? 0 }
        func trouble(_ instance: Document.Value) -> Int {
            (instance["status"]?.string == "up" ? 0 : 2) + (words(instance).count > 1 ? 1 : 0)
        }
        let shown = report.instances.filter {
            view.shows(
                $0["service_name"]?.string ?? "", $0["instance_url"]?.string ?? "", $0["address"]?.string ?? "")
        }
        return switch view.order {
        case .configuration: shown
        case .status: shown.sorted { trouble($0) > trouble($1) }
        case .requests: shown.sorted { traffic($0, "requests") > traffic($1, "requests") }
        case .errors: shown.sorted { errors($0) > errors($1) }
        case .latency: shown.sorted { latency($0) > latency($1) }
        case .availability: shown.sorted { ($0["availability"]?.double ?? 0) < ($1["availability"]?.double ?? 0) }
        }
    }

    /// What speaks against an instance, and last the cause of its status.
    private func words(_ instance: Document.Value) -> [String] {
        var words: [String] = []
        if instance["draining"]?.boolean == true {
            words.append("draining, \(instance["traffic"]?["in_flight"]?.text ?? "0") under way")
        }
        if let count = instance["traffic"]?["ejected_by"]?.unsigned, count > 0 {
            // Which ones, and why: `explain`.
            words.append("ejected \(count)/\(report.forwarders.count)")
        }
        if instance["suspect"]?.boolean == true {
            words.append("suspect: \(instance["suspect_reason"]?.string ?? "?")")
        }
        return words + [instance["status_reason"]?.string ?? instance["response"]?.string ?? ""]
    }

    private static func tenths(_ number: Double) -> String {
        let tenths = Int((min(number, 1e12) * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }

    /// Seconds as people say them: 42s, 5m, 3h, 12d.
    private static func span(_ seconds: UInt64) -> String {
        if seconds < 120 { return "\(seconds)s" }
        if seconds < 7200 { return "\(seconds / 60)m" }
        return seconds < 172_800 ? "\(seconds / 3600)h" : "\(seconds / 86_400)d"
    }
}
