import Shared

extension Command {
    static let status = Command(
        name: "status", operands: "", summary: "Show processes, services and instances of a running serverpy.",
        details: """
            Rates are of the third of a second before the answer. Exits with 69 if none is running. With --wait it returns when the state
            is reached: `ready` (every process is, with the present snapshot) or `drained` (no request is under way at an instance that
            is being drained), or with 1 after --timeout seconds.
            """,
        options: [
            Options.Spec("wait", value: "STATE", help: "wait for `ready` or `drained`"),
            Options.Spec("timeout", value: "SECONDS", help: "how long at most (default: 30)"), .json, .runtimeDirectory,
        ], example: "serverpyctl status --wait ready --timeout 10"
    ) { options throws(CommandFault) in
        if let state = options["wait"] {
            guard ["ready", "drained"].contains(state) else {
                throw CommandFault(
                    code: ExitCode.usage,
                    message:
                        "serverpyctl status: `\(Text.shown(state.utf8))` cannot be waited for; `ready` and `drained` can"
                )
            }
            try wait(for: state, seconds: try options.count("timeout", 0...86_400) ?? 30, options)
        }
        let report = try StatusReport(options)
        try? Descriptor.standardOutput.writeAll(options.has("json") ? report.json : Array(report.text.utf8))
        return ExitCode.done
    }

    private static func wait(for state: String, seconds: Int, _ options: Options) throws(CommandFault) {
        let end = Clock.monotonicMilliseconds() + UInt64(seconds) * 1000
        while true {
            let missing: String
            do throws(CommandFault) {
                let report = try StatusReport(options, milliseconds: 0)
                missing = state == "ready" ? report.notReady : report.notDrained
            } catch {
                guard error.code == ExitCode.notRunning, state == "ready" else { throw error }
                missing = error.message
            }
            if missing.isEmpty { return }
            guard Clock.monotonicMilliseconds() < end else {
                throw CommandFault(
                    code: ExitCode.failed, message: "serverpyctl status: not \(state) after \(seconds) s: \(missing)")
            }
            Clock.sleep(milliseconds: 50)
        }
    }
}

/// What the supervisor, the discovery server and the kernel say of a running serverpy.
struct StatusReport {
    private let supervisor: Document.Value?
    private let before: Document.Value?
    private let now: Document.Value?
    private let seconds: Double
    private let processes: [ProcessUse]

    /// What the kernel says of a process; see proc_pid_stat(5).
    private struct ProcessUse {
        let pid: UInt64
        let cpuPercent: Double
        let memory: UInt64
    }

    /// Looks twice, so many milliseconds apart.
    init(_ options: Options, milliseconds: UInt64 = 300) throws(CommandFault) {
        var supervisor: Document.Value?
        var missing: CommandFault?
        do throws(CommandFault) { supervisor = try ControlClient.ask("status", options) } catch { missing = error }
        var (before, now): (Document.Value?, Document.Value?)
        let pids = supervisor?["processes"]?.elements.compactMap { $0["pid"]?.unsigned } ?? []
        let begun = Clock.monotonicNanoseconds()
        let ticks = pids.map(Self.ticks)
        do throws(CommandFault) {
            // One that hangs is to be shown, not to be waited for.
            let client = try DiscoveryClient(options, timeoutMilliseconds: 1_000)
            if milliseconds > 0 {
                before = try client.json("/stats")
                Clock.sleep(milliseconds: milliseconds)
            }
            now = try client.json("/stats")
        } catch {
            // discoveryd may be starting; without a supervisor it is all there is.
            if let missing { throw missing }
        }
        self.supervisor = supervisor
        self.before = before
        self.now = now
        seconds = max(0.001, Double(Clock.monotonicNanoseconds() - begun) / 1e9)
        let span = seconds
        processes = zip(pids, ticks).map { pid, before in
            ProcessUse(
                pid: pid, cpuPercent: Double(Self.ticks(pid) &- min(before, Self.ticks(pid))) / span,
                memory: Self.memory(pid))
        }
    }

    /// Hundredths of a second of processor time.
    private static func ticks(_ pid: UInt64) -> UInt64 {
        guard let bytes = try? Files.read("/proc/\(pid)/stat", maxBytes: 4096) else { return 0 }
        // The name in parentheses may hold anything.
        let nameEnd = bytes.lastIndex(of: 0x29) ?? 0
        let fields = bytes[nameEnd...].split(separator: 0x20)
        guard fields.count > 13 else { return 0 }
        return (DecimalDigits.parse(fields[12]) ?? 0) &+ (DecimalDigits.parse(fields[13]) ?? 0)
    }

    /// Bytes, shared pages by their part.
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
        for process in supervisor?["processes"]?.elements.map({ $0 }) ?? [] where process["state"]?.string != "ready" {
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

    private var instances: [Document.Value] { now?["service_statistics"]?.elements.map { $0 } ?? [] }
    private var forwarders: [Document.Value] { now?["request_processor"]?["forwarders"]?.elements.map { $0 } ?? [] }

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
        func traffic(_ document: Document.Value?) -> [String: Document.Value] {
            var result: [String: Document.Value] = [:]
            for entry in document?["traffic_by_service"]?.elements.map({ $0 }) ?? [] {
                if let name = entry["service_name"]?.string { result[name] = entry["traffic"] }
            }
            return result
        }
        let (past, present) = (traffic(before), traffic(now))
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

    private func use(_ process: Document.Value) -> ProcessUse? {
        processes.first { $0.pid != 0 && $0.pid == process["pid"]?.unsigned }
    }

    private func forwarder(_ process: Document.Value) -> Document.Value? {
        forwarders.first { $0["pid"]?.unsigned == process["pid"]?.unsigned }
    }

    // MARK: Tables, at most 80 columns wide

    var text: String {
        var text = ""
        if let supervisor {
            text +=
                "serverpyctl \(supervisor["state"]?.string ?? "?"), pid \(supervisor["pid"]?.text ?? "?"), up \(Self.span((supervisor["uptime_ms"]?.unsigned ?? 0) / 1000))\n"
            text +=
                "request processor \(supervisor["request_processor"]?.string ?? "?")\ndiscovery server \(supervisor["discovery_server"]?.string ?? "?")\n\n"
        }
        text += processTable.text
        let services = serviceTable
        if !services.isEmpty { text += "\n" + services.text }
        let instances = instanceTable
        if !instances.isEmpty { text += "\n" + instances.text }
        if now == nil { text += "\ndiscoveryd does not answer: nothing is known of services and instances\n" }
        return text
    }

    private var processTable: Table {
        var table = Table([
            "PROCESS", "PID", "STATE", "UP", "RESTARTS", "CPU", "MEM", "INFLIGHT", "SNAPSHOT",
        ])
        for process in supervisor?["processes"]?.elements.map({ $0 }) ?? [] {
            let use = use(process)
            let forwarder = forwarder(process)
            table.add([
                Self.cut(process["name"]?.string ?? "?", 14), process["pid"]?.text ?? "",
                process["state"]?.string ?? "",
                Self.span((process["uptime_ms"]?.unsigned ?? 0) / 1000), process["restarts"]?.text ?? "",
                use.map { "\(Int($0.cpuPercent.rounded()))%" } ?? "-",
                use.map { "\(($0.memory + 52_428) / 104_857 / 10).\(($0.memory + 52_428) / 104_857 % 10)M" } ?? "-",
                forwarder?["in_flight"]?.text ?? "-", forwarder?["snapshot"]?.string ?? "-",
            ])
        }
        if supervisor == nil {
            for forwarder in forwarders {
                table.add([
                    "forwarderd \(forwarder["index"]?.text ?? "?")", forwarder["pid"]?.text ?? "?", "ready", "-", "-",
                    "-",
                    "-", forwarder["in_flight"]?.text ?? "-", forwarder["snapshot"]?.string ?? "-",
                ])
            }
        }
        return table
    }

    private var serviceTable: Table {
        var table = Table(["SERVICE", "UP", "REQUESTS/S", "ERRORS/S", "P99"])
        for service in services {
            table.add([
                Self.cut(service.name, 30), "\(service.up)/\(service.total)",
                service.requestsPerSecond.map { "\(Int($0.rounded()))" } ?? "-",
                service.errorsPerSecond.map { "\(Int($0.rounded()))" } ?? "-",
                service.p99.map { "\(Self.tenths($0)) ms" } ?? "-",
            ])
        }
        return table
    }

    private var instanceTable: Table {
        var table = Table(["SERVICE", "INSTANCE", "STATUS", "SINCE", "AVAIL", "PRIO", "CAUSE"])
        let wall = Clock.wallMilliseconds()
        for instance in instances {
            var words: [String] = []
            if instance["draining"]?.boolean == true {
                words.append("draining, \(instance["traffic"]?["in_flight"]?.text ?? "0") under way")
            }
            if instance["suspect"]?.boolean == true {
                words.append("suspect: \(instance["suspect_reason"]?.string ?? "?")")
            }
            words.append(instance["status_reason"]?.string ?? instance["response"]?.string ?? "")
            let since = instance["since"]?.string.flatMap(Timestamp.wallMilliseconds(iso8601:))
            table.add([
                Self.cut(instance["service_name"]?.string ?? "?", 12),
                Self.cut(instance["instance_url"]?.string ?? "?", 21), instance["status"]?.string ?? "?",
                since.map { Self.span((wall - min(wall, $0)) / 1000) } ?? "-",
                instance["availability"]?.double.map { "\(Self.tenths($0))" } ?? "-",
                instance["priority"]?.string ?? "", Self.cut(words.filter { !$0.isEmpty }.joined(separator: "; "), 14),
            ])
        }
        return table
    }

    private static func tenths(_ number: Double) -> String {
        let tenths = Int((min(number, 1e12) * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }

    private static func cut(_ text: String, _ width: Int) -> String {
        text.count <= width ? text : text.prefix(width - 1) + "…"
    }

    /// Seconds as people say them: 42s, 5m, 3h, 12d.
    private static func span(_ seconds: UInt64) -> String {
        if seconds < 120 { return "\(seconds)s" }
        if seconds < 7200 { return "\(seconds / 60)m" }
        return seconds < 172_800 ? "\(seconds / 3600)h" : "\(seconds / 86_400)d"
    }
}
