import Shared

/// What two looks at a running serverpy show.
struct StatusReport {
    let supervisor: Document.Value?
    let before: Document.Value?
    let now: Document.Value?
    let seconds: Double
    private let processes: [ProcessUse]

    /// What the kernel says of a process.
    struct ProcessUse {
        let pid: UInt64
        let cpuPercent: Double
        let memory: UInt64
    }

    /// Looks twice, so many milliseconds apart.
    init(_ options: Options, milliseconds: UInt64 = 300) throws(CommandFault) {
        let before = try StatusSample(options)
        if milliseconds == 0 {
            self.init(before, before)
        } else {
            Clock.sleep(milliseconds: milliseconds)
            self.init(before, try StatusSample(options))
        }
    }

    /// Two looks, the second one later; twice the same: nothing is known of rates.
    init(_ before: StatusSample, _ now: StatusSample) {
        supervisor = now.supervisor
        self.before = before.nanoseconds == now.nanoseconds ? nil : before.statistics
        self.now = now.statistics
        let seconds = max(0.001, Double(now.nanoseconds &- before.nanoseconds) / 1e9)
        self.seconds = seconds
        processes = now.ticks.map { pid, ticks in
            ProcessUse(
                pid: pid, cpuPercent: Double(ticks &- min(before.ticks[pid] ?? ticks, ticks)) / seconds,
                memory: Self.memory(pid))
        }
    }

    /// Bytes, shared pages by their part; see proc_pid_smaps(5).
    private static func memory(_ pid: UInt64) -> UInt64 {
        guard let bytes = try? Files.read("/proc/\(pid)/smaps_rollup", maxBytes: 16_384) else { return 0 }
        for line in bytes.split(separator: 0x0a) where line.starts(with: "Pss:".utf8) {
            let fields = line.split(separator: 0x20)
            return fields.count > 1 ? (DecimalDigits.parse(fields[1]) ?? 0) &* 1024 : 0
        }
        return 0
    }

    // MARK: Waiting

    /// Who is not ready yet, in words; empty when all are.
    var notReady: String {
        var words: [String] = []
        if let supervisor, supervisor["state"]?.string != "running" {
            words.append("serverpyctl is \(supervisor["state"]?.string ?? "unknown")")
        }
        // One that drains has a successor, or is not wanted any more.
        for process in supervisor?["processes"]?.elements.map({ $0 }) ?? []
        where !["ready", "draining"].contains(process["state"]?.string) {
            words.append("\(process["name"]?.string ?? "?") is \(process["state"]?.string ?? "?")")
        }
        if now == nil { words.append("discoveryd does not answer") }
        return words.joined(separator: ", ")
    }

    /// Who still has requests at instances that are being drained.
    var notDrained: String {
        instances.compactMap { instance in
            guard instance["draining"]?.boolean == true, let count = instance["traffic"]?["in_flight"]?.unsigned,
                count > 0
            else { return nil }
            return "\(count) under way at \(instance["instance_url"]?.string ?? "?")"
        }.joined(separator: ", ")
    }

    // MARK: Figures

    var instances: [Document.Value] { now?["service_statistics"]?.elements.map { $0 } ?? [] }
    var forwarders: [Document.Value] { now?["request_processor"]?["forwarders"]?.elements.map { $0 } ?? [] }

    struct Service {
        let name: String
        var up = 0
        var total = 0
        var requests: UInt64 = 0
        var requestsPerSecond: Double?
        var errorsPerSecond: Double?
        var p99: Double?
    }

    var services: [Service] {
        var order: [String] = []
        var byName: [String: Service] = [:]
        for instance in instances {
            let name = instance["service_name"]?.string ?? "?"
            if byName[name] == nil { order.append(name) }
            var service = byName[name] ?? Service(name: name)
            service.total += 1
            if instance["status"]?.string == "up" { service.up += 1 }
            byName[name] = service
        }
        let (past, present) = (Self.traffic(before), Self.traffic(now))
        return order.compactMap { name in
            guard var service = byName[name] else { return nil }
            if let traffic = present[name] {
                service.requests = traffic["requests"]?.unsigned ?? 0
                service.p99 = traffic["latency_ms"]?["p99"]?.double
                if before != nil {
                    func errors(_ value: Document.Value?) -> UInt64 { value?["status"]?["5xx"]?.unsigned ?? 0 }
                    let requests = service.requests &- min(service.requests, past[name]?["requests"]?.unsigned ?? 0)
                    let failed = errors(traffic) &- min(errors(traffic), errors(past[name]))
                    service.requestsPerSecond = Double(requests) / seconds
                    service.errorsPerSecond = Double(failed) / seconds
                }
            }
            return service
        }
    }

    private static func traffic(_ document: Document.Value?) -> [String: Document.Value] {
        var result: [String: Document.Value] = [:]
        for entry in document?["traffic_by_service"]?.elements.map({ $0 }) ?? [] {
            if let name = entry["service_name"]?.string { result[name] = entry["traffic"] }
        }
        return result
    }

    // MARK: JSON

    var json: [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        for (key, value) in supervisor?.members.map({ ($0.key, $0.value) }) ?? [] where key.text != "processes" {
            writer.key(key.text)
            writer.value(value)
        }
        writer.key("processes")
        writer.beginArray()
        for process in supervisor?["processes"]?.elements.map({ $0 }) ?? [] {
            writer.beginObject()
            for (key, value) in process.members {
                writer.key(key.text)
                writer.value(value)
            }
            if let use = use(process) {
                writer.key("cpu_percent")
                writer.value((use.cpuPercent * 10).rounded() / 10)
                writer.field("memory_bytes", use.memory)
            }
            if let forwarder = forwarder(process) {
                for name in ["in_flight", "open_connections", "snapshot"] as [StaticString] {
                    guard let value = forwarder[name] else { continue }
                    writer.key(name.description)
                    writer.value(value)
                }
            }
            writer.endObject()
        }
        writer.endArray()
        writer.key("services")
        writer.beginArray()
        for service in services {
            writer.beginObject()
            writer.field("service", service.name)
            writer.field("up", service.up)
            writer.field("total", service.total)
            writer.field("requests", service.requests)
            for (name, value) in [
                ("requests_per_second", service.requestsPerSecond), ("errors_per_second", service.errorsPerSecond),
                ("p99_ms", service.p99),
            ] {
                writer.key(name)
                if let value { writer.value((value * 1000).rounded() / 1000) } else { writer.null() }
            }
            writer.endObject()
        }
        writer.endArray()
        writer.key("instances")
        writer.beginArray()
        for instance in instances { writer.value(instance) }
        writer.endArray()
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }

    func use(_ process: Document.Value) -> ProcessUse? {
        processes.first { $0.pid != 0 && $0.pid == process["pid"]?.unsigned }
    }

    func forwarder(_ process: Document.Value) -> Document.Value? {
        forwarders.first { $0["pid"]?.unsigned == process["pid"]?.unsigned }
    }
}
