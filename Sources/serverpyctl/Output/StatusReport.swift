import Shared

/// What two looks at a running serverpy show.
struct StatusReport {
    let supervisor: Document.Value?
    /// Why nothing is known of a supervisor that is there.
    let trouble: String?
    /// Of an earlier counting: rates are differences to it. Nil: nothing is known of rates.
    private let counted: Document.Value?
    let now: Document.Value?
    private let uses: [UInt64: ProcessUse]

    /// What the kernel says of a process.
    struct ProcessUse {
        let cpuPercent: Double
        let memory: UInt64
    }

    /// Looks twice. Where there is much to count, discoveryd counts less often than it is asked: the second look waits for that.
    static func taken(_ options: Options) throws(CommandFault) -> StatusReport {
        let before = try StatusSample.taken(options)
        Clock.sleep(milliseconds: Limits.statusMilliseconds)
        var now = try StatusSample.taken(options)
        if let countedAt = now.countedAt, countedAt == before.countedAt {
            let (due, present) = (countedAt + Limits.countersReadMilliseconds, Clock.monotonicMilliseconds())
            Clock.sleep(milliseconds: min(due - min(due, present), Limits.countersReadMilliseconds))
            now = try StatusSample.taken(options)
        }
        return StatusReport(before, now, counted: before)
    }

    /// One look: nothing is known of rates.
    init(_ sample: StatusSample) { self.init(sample, sample, counted: nil) }

    /// Processor time since `before`, requests since `counted`, which may be earlier.
    init(_ before: StatusSample, _ now: StatusSample, counted: StatusSample?) {
        supervisor = now.supervisor
        trouble = now.trouble
        self.counted = counted?.statistics
        self.now = now.statistics
        let seconds = max(0.001, Double(now.nanoseconds &- before.nanoseconds) / 1e9)
        uses = Dictionary(
            uniqueKeysWithValues: now.ticks.map { pid, ticks in
                let spent = ticks &- min(before.ticks[pid] ?? ticks, ticks)
                return (pid, ProcessUse(cpuPercent: Double(spent) / seconds, memory: Self.memory(pid)))
            })
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

    /// Who is not ready yet, in words; empty when all are.
    var notReady: String {
        var words = trouble.map { [$0] } ?? []
        if let supervisor, supervisor["state"]?.string != "running" {
            words.append("serverpyctl is \(supervisor["state"]?.string ?? "unknown")")
        }
        // One that drains has a successor, or is not wanted any more.
        for process in processes where !["ready", "draining"].contains(process.state) {
            words.append("\(process.name) is \(process.state)")
        }
        if supervisor == nil, forwarders.isEmpty { words.append("no forwarder is there") }
        if now == nil { words.append("discoveryd does not answer") }
        return words.joined(separator: ", ")
    }

    // MARK: Figures

    var instances: [Document.Value] { now?["service_statistics"]?.elements.map { $0 } ?? [] }
    var forwarders: [Document.Value] { now?["request_processor"]?["forwarders"]?.elements.map { $0 } ?? [] }

    struct Process {
        let name: String
        let pid: UInt64
        let state: String
        var uptimeMilliseconds: UInt64?
        var restarts: UInt64?
        /// Its own words.
        var status: String?
        let use: ProcessUse?
        /// What its counters say, of a forwarder.
        let forwarder: Document.Value?
    }

    /// The supervisor's children; without a supervisor the forwarders, who have said who they are.
    var processes: [Process] {
        func use(_ pid: UInt64) -> ProcessUse? { pid == 0 ? nil : uses[pid] }
        guard let supervisor else {
            let wall = Clock.wallMilliseconds()
            return forwarders.map { forwarder in
                let pid = forwarder["pid"]?.unsigned ?? 0
                let begun = forwarder["started_at"]?.string.flatMap(Timestamp.wallMilliseconds(iso8601:))
                return Process(
                    name: "forwarderd \(forwarder["index"]?.text ?? "?")", pid: pid, state: "ready",
                    uptimeMilliseconds: begun.map { wall - min(wall, $0) }, use: use(pid), forwarder: forwarder)
            }
        }
        return supervisor["processes"]?.elements.map { process in
            let pid = process["pid"]?.unsigned ?? 0
            return Process(
                name: process["name"]?.string ?? "?", pid: pid, state: process["state"]?.string ?? "?",
                uptimeMilliseconds: process["uptime_ms"]?.unsigned, restarts: process["restarts"]?.unsigned,
                status: process["status"]?.string, use: use(pid),
                forwarder: forwarders.first { pid != 0 && $0["pid"]?.unsigned == pid })
        } ?? []
    }

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
        let (past, present) = (Self.sums(counted), Self.sums(now))
        return order.compactMap { name in
            guard var service = byName[name] else { return nil }
            guard let sum = present[name], let traffic = sum["traffic"] else { return service }
            service.requests = traffic["requests"]?.unsigned ?? 0
            service.p99 = traffic["latency_ms"]?["p99"]?.double
            // One that has had no request before is not in the earlier answer; the time of that is its ledger's.
            guard let time = sum["counted_at_ms"]?.unsigned,
                let earlier = (past[name] ?? counted?["request_processor"])?["counted_at_ms"]?.unsigned, time > earlier
            else { return service }
            func rate(_ count: (Document.Value?) -> UInt64) -> Double {
                let (now, before) = (count(traffic), count(past[name]?["traffic"]))
                return Double(now - min(now, before)) * 1000 / Double(time - earlier)
            }
            service.requestsPerSecond = rate { $0?["requests"]?.unsigned ?? 0 }
            service.errorsPerSecond = rate { $0?["status"]?["5xx"]?.unsigned ?? 0 }
            return service
        }
    }

    /// What is said of each service in `traffic_by_service`.
    private static func sums(_ document: Document.Value?) -> [String: Document.Value] {
        var result: [String: Document.Value] = [:]
        for entry in document?["traffic_by_service"]?.elements.map({ $0 }) ?? [] {
            if let name = entry["service_name"]?.string { result[name] = entry }
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
        for process in processes {
            writer.beginObject()
            writer.field("name", process.name)
            writer.field("pid", process.pid)
            writer.field("state", process.state)
            if let uptime = process.uptimeMilliseconds { writer.field("uptime_ms", uptime) }
            if let restarts = process.restarts { writer.field("restarts", restarts) }
            if let status = process.status { writer.field("status", status) }
            if let use = process.use {
                writer.key("cpu_percent")
                writer.value((use.cpuPercent * 10).rounded() / 10)
                writer.field("memory_bytes", use.memory)
            }
            for name in ["in_flight", "open_connections", "snapshot"] as [StaticString] {
                guard let value = process.forwarder?[name] else { continue }
                writer.key(name.description)
                writer.value(value)
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
}
