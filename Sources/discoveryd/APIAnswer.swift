import Shared

/// An answer of the HTTP API: a head and a body that may be too large to build at once.
struct APIAnswer {
    enum Body {
        case bytes([UInt8])
        /// /stats and /dump: instance by instance, packet by packet.
        case statistics(StatisticsCursor)
    }

    var status: UInt16
    var headers: [(StaticString, String)] = []
    var body: Body

    static func json(_ status: UInt16, _ build: (inout JSONWriter) -> Void) -> APIAnswer {
        var writer = JSONWriter()
        writer.beginObject()
        build(&writer)
        writer.endObject()
        writer.endLine()
        return APIAnswer(status: status, body: .bytes(writer.bytes))
    }
}

/// Where an answer about all instances stands: the next instance, and for /dump the next packet and where to stop.
struct StatisticsCursor {
    let withPackets: Bool
    /// Instances asked for; nil for all.
    let service: String?
    let instance: String?
    private var next = 0
    private var began = false
    private var packet: (sequence: UInt64, end: UInt64)?
    private var skipped: UInt64 = 0
    private var isDone = false
    private var writer = JSONWriter()

    init(withPackets: Bool, service: String?, instance: String?) {
        self.withPackets = withPackets
        self.service = service
        self.instance = instance
    }

    /// The next piece, about `limit` bytes; nil when all has been given.
    mutating func nextPiece(_ registry: Registry, now: UInt64, limit: Int = 32 * 1024) -> [UInt8]? {
        if isDone { return nil }
        if !began {
            began = true
            writer.beginObject()
            writer.key("service_statistics")
            writer.beginArray()
        }
        while writer.bytes.count < limit {
            if packet != nil {
                writePackets(registry, limit)
            } else if next < registry.instances.count {
                if matches(registry.instances[next], registry) { beginInstance(registry, now) } else { next += 1 }
            } else {
                writer.endArray()
                if withPackets {
                    writer.field("skipped", skipped)
                    writer.field("complete", true)
                }
                writer.endObject()
                writer.endLine()
                isDone = true
                break
            }
        }
        return writer.takePiece()
    }

    private func matches(_ entry: RegisteredInstance, _ registry: Registry) -> Bool {
        if let service, registry.services[entry.service].name != service { return false }
        if let instance, entry.configuration.url != instance { return false }
        return true
    }

    private mutating func beginInstance(_ registry: Registry, _ now: UInt64) {
        let entry = registry.instances[next]
        writer.beginObject()
        writer.field("instance_url", entry.configuration.url)
        writer.field("service_name", registry.services[entry.service].name)
        time("check_start_time", entry.firstCheckedAt)
        time("last_checked_at", entry.lastCheckedAt)
        time("last_failure", entry.lastFailureAt)
        if entry.lastFailureAt > 0 { writer.field("last_failure_reason", entry.lastFailure) }
        writer.field("status", entry.health.status.rawValue)
        writer.field("suspect", entry.health.isSuspect)
        writer.field("draining", entry.isDraining)
        time("since", entry.since)
        if let last = entry.lastResult {
            writer.field("final_status", last.cause.finalStatus)
            writer.field("response", last.cause.response(status: last.status))
            writer.field("duration_ms", last.durationMilliseconds)
        }
        var availability = entry.availability
        writer.key("availability")
        if let share = availability.share(now: now) {
            writer.value((share * 10_000).rounded() / 100)
        } else {
            writer.null()
        }
        writer.field("polls", entry.polls)
        writer.field("priority", entry.configuration.polling.priority.name)
        writer.field("weight", entry.configuration.weight)
        writer.key("addresses")
        writer.beginArray()
        for address in entry.answering { writer.value(address.description) }
        writer.endArray()
        if withPackets {
            writer.key("stats_packets")
            writer.beginArray()
            packet = (entry.history.firstShown, entry.history.endSequence)
        } else {
            writer.endObject()
            next += 1
        }
    }

    private mutating func writePackets(_ registry: Registry, _ limit: Int) {
        guard let packet = self.packet else { return }
        var sequence = packet.sequence
        let end = packet.end
        let history = registry.instances[next].history
        if history.firstShown > sequence {
            skipped += min(history.firstShown, end) - sequence
            sequence = min(history.firstShown, end)
        }
        while sequence < end, writer.bytes.count < limit {
            guard let (start, packet) = history.packet(sequence) else { break }
            writer.beginObject()
            time("start_time", start)
            time("end_time", start + packet.durationMilliseconds)
            writer.field("final_status", packet.cause.finalStatus)
            writer.field("response", packet.cause.response(status: packet.status))
            writer.endObject()
            sequence += 1
        }
        if sequence < end {
            self.packet = (sequence, end)
        } else {
            self.packet = nil
            writer.endArray()
            writer.endObject()
            next += 1
        }
    }

    private mutating func time(_ name: StaticString, _ wall: UInt64) {
        writer.key(name.description)
        if wall == 0 { writer.null() } else { writer.value(Timestamp.iso8601(wallMilliseconds: wall)) }
    }
}
