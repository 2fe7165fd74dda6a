import Shared

/// /metrics in the Prometheus text format (version 0.0.4), made piece by piece: first what is told of discoveryd itself, then
/// family by family what is told of each instance.
struct MetricsCursor {
    /// A family with one sample per instance.
    private struct Family: Sendable {
        let name: StaticString
        let type: StaticString
        let help: StaticString
        /// Nil: nothing is known of this instance.
        let value: @Sendable (RegisteredInstance) -> Double?
    }

    /// A family with samples per instance from what forwarders counted: one, or one for each of several words.
    private struct TrafficFamily: Sendable {
        let name: StaticString
        let type: StaticString
        let help: StaticString
        let label: StaticString?
        let samples: [(name: StaticString, counter: RowCounter)]
    }

    private static let trafficFamilies: [TrafficFamily] = [
        TrafficFamily(
            name: "serverpy_requests_total", type: "counter",
            help: "Requests that an instance answered, by the class of the status.", label: "code",
            samples: CounterTotals.Row.classes),
        TrafficFamily(
            name: "serverpy_request_tries_total", type: "counter",
            help: "Attempts to have an instance answer a request.", label: nil, samples: [("", .tries)]),
        TrafficFamily(
            name: "serverpy_request_failures_total", type: "counter", help: "Attempts that failed, by their cause.",
            label: "cause", samples: CounterTotals.Row.failures),
        TrafficFamily(
            name: "serverpy_requests_in_flight", type: "gauge", help: "Requests under way at an instance.", label: nil,
            samples: [("", .inFlight)]),
        TrafficFamily(
            name: "serverpy_request_bytes_total", type: "counter",
            help: "Bytes of requests and answers, heads and bodies, as clients sent and got them.", label: "direction",
            samples: [("received", .bytesReceived), ("sent", .bytesSent)]),
    ]

    private static let families: [Family] = [
        Family(name: "serverpy_instance_up", type: "gauge", help: "Whether the instance is up by its polls.") {
            $0.health.status == .unknown ? nil : $0.health.status == .up ? 1 : 0
        },
        Family(
            name: "serverpy_instance_suspect", type: "gauge",
            help: "Whether a forwarder was refused by the instance and a poll has confirmed it."
        ) { $0.health.isSuspect ? 1 : 0 },
        Family(name: "serverpy_instance_draining", type: "gauge", help: "Whether the instance is being drained.") {
            $0.isDraining ? 1 : 0
        },
        Family(
            name: "serverpy_instance_availability_ratio", type: "gauge",
            help: "Share of the availability window that the instance was seen up."
        ) { $0.publishedAvailability.map { Double($0) / 100 } },
        Family(name: "serverpy_instance_polls_total", type: "counter", help: "Polls of the instance.") {
            Double($0.polls)
        },
        Family(
            name: "serverpy_instance_status_changes_total", type: "counter", help: "Changes of the instance's status."
        ) { Double($0.changes) },
        Family(
            name: "serverpy_instance_last_poll_duration_seconds", type: "gauge", help: "How long the last poll took."
        ) { $0.lastResult.result.map { Double($0.durationMicroseconds) / 1_000_000 } },
    ]

    private let measures: PollMeasures
    private let traffic: Traffic
    private let isDegraded: Bool
    private let startedAt: UInt64
    private var began = false
    private var family = 0
    private var walk = InstanceWalk()
    private var hasHeader = false
    private var out: [UInt8] = []

    init(_ measures: PollMeasures, _ traffic: Traffic, isDegraded: Bool, startedAt: UInt64) {
        self.measures = measures
        self.traffic = traffic
        self.isDegraded = isDegraded
        self.startedAt = startedAt
    }

    /// The next piece, about `limit` bytes; nil when all has been given.
    mutating func nextPiece(_ registry: borrowing Registry, limit: Int = 32 * 1024) -> [UInt8]? {
        if !began {
            began = true
            writeOwn(registry)
        }
        while out.count < limit, family < Self.families.count + Self.trafficFamilies.count {
            if family >= Self.families.count {
                writeTraffic(Self.trafficFamilies[family - Self.families.count], registry, limit)
                continue
            }
            let current = Self.families[family]
            begin(current.name, current.type, current.help)
            while out.count < limit {
                guard let id = walk.current(registry) else {
                    endFamily()
                    break
                }
                if let value = current.value(registry.instances[id]) {
                    labels(current.name, id, registry)
                    text("\"} \(Self.number(value))\n")
                }
                walk.advance()
            }
        }
        if out.isEmpty { return nil }
        defer { out.removeAll(keepingCapacity: true) }
        return out
    }

    /// Which instance a line is of, up to the last label's closing quotation mark.
    private mutating func labels(_ name: StaticString, _ id: Registry.InstanceID, _ registry: borrowing Registry) {
        text("\(name){service=\"")
        label(registry.serviceName(id))
        text("\",instance=\"")
        label(registry.instances[id].url)
        guard registry.isOneOfSeveral(id), let address = registry.instances[id].address else { return }
        text("\",address=\"\(address)")
    }

    private mutating func begin(_ name: StaticString, _ type: StaticString, _ help: StaticString) {
        if !hasHeader { header(name, type, help) }
        hasHeader = true
    }

    private mutating func endFamily() {
        family += 1
        hasHeader = false
        walk = InstanceWalk()
    }

    /// Goes on with a family of what forwarders counted.
    private mutating func writeTraffic(_ current: TrafficFamily, _ registry: borrowing Registry, _ limit: Int) {
        begin(current.name, current.type, current.help)
        while out.count < limit {
            guard let id = walk.current(registry) else { return endFamily() }
            if let row = traffic.row(registry.name(id)) {
                for sample in current.samples {
                    labels(current.name, id, registry)
                    if let name = current.label { text("\",\(name)=\"\(sample.name)") }
                    text("\"} \(row[sample.counter])\n")
                }
            }
            walk.advance()
        }
    }

    private mutating func writeOwn(_ registry: borrowing Registry) {
        header("serverpy_build_info", "gauge", "The version that runs.")
        text("serverpy_build_info{version=\"\(Version.current)\"} 1\n")
        header("process_start_time_seconds", "gauge", "When the process started, seconds since 1970.")
        text("process_start_time_seconds \(Self.number(Double(startedAt) / 1000))\n")
        header("serverpy_degraded", "gauge", "Whether discoveryd doubts itself; /health says why.")
        text("serverpy_degraded \(isDegraded ? 1 : 0)\n")
        header("serverpy_services", "gauge", "Services configured.")
        text("serverpy_services \(registry.order.count)\n")
        header("serverpy_instances", "gauge", "Instances by their status.")
        for status in [InstanceStatus.up, .down, .unknown] {
            text("serverpy_instances{status=\"\(status.rawValue)\"} \(registry.count(of: status))\n")
        }
        header("serverpy_history_bytes", "gauge", "Memory that the histories of all instances take.")
        text("serverpy_history_bytes \(registry.historyBytes)\n")
        header("serverpy_polls_total", "counter", "Polls by how they ended.")
        for cause in PollCause.allCases {
            text("serverpy_polls_total{outcome=\"\(cause.label)\"} \(measures.byCause[Int(cause.rawValue)])\n")
        }
        histogram("serverpy_poll_duration_seconds", "How long polls took.", measures.durations)
        histogram("serverpy_poll_lateness_seconds", "How much later than due polls began.", measures.lateness)
        writeRequestProcessor(registry)
    }

    private mutating func writeRequestProcessor(_ registry: borrowing Registry) {
        header("serverpy_forwarders", "gauge", "Forwarders that live.")
        text("serverpy_forwarders \(traffic.forwarders.count)\n")
        header("serverpy_client_connections", "gauge", "Client connections that are open.")
        text("serverpy_client_connections \(traffic.totals[.openConnections])\n")
        header("serverpy_client_connections_total", "counter", "Client connections accepted.")
        text("serverpy_client_connections_total \(traffic.totals[.connections])\n")
        header("serverpy_requests_accepted_total", "counter", "Requests accepted, whatever became of them.")
        text("serverpy_requests_accepted_total \(traffic.totals[.accepted])\n")
        header("serverpy_requests_ended_total", "counter", "Requests by how they ended.")
        let ends: [(StaticString, UInt64)] = [
            ("answered_by_instance", traffic.totals[.answeredByInstance]),
            ("answered_by_us", traffic.totals[.answeredByUs]), ("client_gone", traffic.totals[.clientGone]),
            ("cut", traffic.totals[.cut]), ("lost_with_forwarder", traffic.lost),
        ]
        for (name, count) in ends { text("serverpy_requests_ended_total{outcome=\"\(name)\"} \(count)\n") }
        header(
            "serverpy_request_duration_seconds", "histogram",
            "From a request's head to its answer's head, by service, answers of ours not counted.")
        for id in registry.order {
            let service = registry.services[id]
            var all = CounterTotals.Row()
            for path in service.paths {
                if let row = traffic.row(path: path, of: service.name) { all.add(row) }
            }
            buckets(
                "serverpy_request_duration_seconds", service: service.name, Array(all.latencies), all[.latencySum])
        }
    }

    private mutating func header(_ name: StaticString, _ type: StaticString, _ help: StaticString) {
        text("# HELP \(name) \(help)\n# TYPE \(name) \(type)\n")
    }

    private mutating func histogram(_ name: StaticString, _ help: StaticString, _ histogram: LatencyHistogram) {
        header(name, "histogram", help)
        buckets(name, service: nil, histogram.counts, histogram.sumMicroseconds)
    }

    /// Every second bucket: two to each power of two.
    private mutating func buckets(
        _ name: StaticString, service: String?, _ counts: [UInt64], _ sumMicroseconds: UInt64
    ) {
        func labels(_ bound: String?) {
            guard service != nil || bound != nil else { return }
            text("{")
            if let service {
                text("service=\"")
                label(service)
                text(bound == nil ? "\"" : "\",")
            }
            if let bound { text("le=\"\(bound)\"") }
            text("}")
        }
        var seen: UInt64 = 0
        for (index, count) in counts.enumerated() {
            seen &+= count
            // The last one holds what lies beyond, too.
            guard index % 2 == 0, index < counts.count - 1 else { continue }
            text("\(name)_bucket")
            labels(Self.number(Double(LatencyBuckets.bound(index)) / 1_000_000))
            text(" \(seen)\n")
        }
        text("\(name)_bucket")
        labels("+Inf")
        text(" \(seen)\n\(name)_sum")
        labels(nil)
        text(" \(Self.number(Double(sumMicroseconds) / 1_000_000))\n\(name)_count")
        labels(nil)
        text(" \(seen)\n")
    }

    private mutating func text(_ text: String) { out.append(contentsOf: text.utf8) }

    /// A label's value: backslash, quote and line feed are escaped.
    private mutating func label(_ value: String) {
        for byte in value.utf8 {
            switch byte {
            case 0x5c: out.append(contentsOf: [0x5c, 0x5c])
            case 0x22: out.append(contentsOf: [0x5c, 0x22])
            case 0x0a: out.append(contentsOf: [0x5c, 0x6e])
            default: out.append(byte)
            }
        }
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }
}
