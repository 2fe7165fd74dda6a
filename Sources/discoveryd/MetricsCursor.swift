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
    private let isDegraded: Bool
    private let startedAt: UInt64
    private var began = false
    private var family = 0
    private var next = 0
    private var out: [UInt8] = []

    init(_ measures: PollMeasures, isDegraded: Bool, startedAt: UInt64) {
        self.measures = measures
        self.isDegraded = isDegraded
        self.startedAt = startedAt
    }

    /// The next piece, about `limit` bytes; nil when all has been given.
    mutating func nextPiece(_ registry: Registry, limit: Int = 32 * 1024) -> [UInt8]? {
        if !began {
            began = true
            writeOwn(registry)
        }
        while out.count < limit, family < Self.families.count {
            let current = Self.families[family]
            if next == 0 { header(current.name, current.type, current.help) }
            while out.count < limit, next < registry.instances.count {
                if let value = current.value(registry.instances[next]) {
                    text("\(current.name){service=\"")
                    label(registry.serviceName(next))
                    text("\",instance=\"")
                    label(registry.instances[next].url)
                    text("\"} \(Self.number(value))\n")
                }
                next += 1
            }
            if next >= registry.instances.count {
                family += 1
                next = 0
            }
        }
        if out.isEmpty { return nil }
        defer { out.removeAll(keepingCapacity: true) }
        return out
    }

    private mutating func writeOwn(_ registry: Registry) {
        header("serverpy_build_info", "gauge", "The version that runs.")
        text("serverpy_build_info{version=\"\(Version.current)\"} 1\n")
        header("process_start_time_seconds", "gauge", "When the process started, seconds since 1970.")
        text("process_start_time_seconds \(Self.number(Double(startedAt) / 1000))\n")
        header("serverpy_degraded", "gauge", "Whether discoveryd doubts itself; /health says why.")
        text("serverpy_degraded \(isDegraded ? 1 : 0)\n")
        header("serverpy_services", "gauge", "Services configured.")
        text("serverpy_services \(registry.services.count)\n")
        header("serverpy_instances", "gauge", "Instances by their status.")
        for status in [InstanceStatus.up, .down, .unknown] {
            let count = registry.instances.lazy.filter { $0.health.status == status }.count
            text("serverpy_instances{status=\"\(status.rawValue)\"} \(count)\n")
        }
        header("serverpy_history_bytes", "gauge", "Memory that the histories of all instances take.")
        text("serverpy_history_bytes \(registry.historyBytes)\n")
        header("serverpy_polls_total", "counter", "Polls by how they ended.")
        for cause in PollCause.allCases {
            text("serverpy_polls_total{outcome=\"\(cause.label)\"} \(measures.byCause[Int(cause.rawValue)])\n")
        }
        histogram("serverpy_poll_duration_seconds", "How long polls took.", measures.durations)
        histogram("serverpy_poll_lateness_seconds", "How much later than due polls began.", measures.lateness)
    }

    private mutating func header(_ name: StaticString, _ type: StaticString, _ help: StaticString) {
        text("# HELP \(name) \(help)\n# TYPE \(name) \(type)\n")
    }

    /// Every second bucket: two to each power of two.
    private mutating func histogram(_ name: StaticString, _ help: StaticString, _ histogram: LatencyHistogram) {
        header(name, "histogram", help)
        var seen: UInt64 = 0
        for (index, count) in histogram.counts.enumerated() {
            seen += count
            // The last one holds what lies beyond, too.
            guard index % 2 == 0, index < histogram.counts.count - 1 else { continue }
            let bound = Double(LatencyBuckets.bound(index)) / 1_000_000
            text("\(name)_bucket{le=\"\(Self.number(bound))\"} \(seen)\n")
        }
        text("\(name)_bucket{le=\"+Inf\"} \(seen)\n")
        text("\(name)_sum \(Self.number(Double(histogram.sumMicroseconds) / 1_000_000))\n\(name)_count \(seen)\n")
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
