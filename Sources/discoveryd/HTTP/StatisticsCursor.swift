import Shared

/// Where an answer about all instances stands: the next instance, and for /dump the next packet and where to stop.
struct StatisticsCursor {
    let withPackets: Bool
    /// Instances asked for; nil for all.
    let service: String?
    let instance: String?
    private var walk = InstanceWalk()
    /// The instance whose packets are being given.
    private var current: (id: Registry.InstanceID, generation: UInt32)?
    private var began = false
    private var packet: (sequence: UInt64, end: UInt64)?
    private var skipped: UInt64 = 0
    private var isDone = false
    /// The service whose API paths come next; nil before instances are done.
    private var pathsOf: Int?
    /// The service whose sum comes next.
    private var sumOf: Int?
    private var writer = JSONWriter()
    private let traffic: Traffic

    init(withPackets: Bool, service: String?, instance: String?, traffic: Traffic) {
        self.traffic = traffic
        self.withPackets = withPackets
        self.service = service
        self.instance = instance
    }

    /// The next piece, about `limit` bytes; nil when all has been given.
    mutating func nextPiece(_ registry: borrowing Registry, now: UInt64, limit: Int = 32 * 1024) -> [UInt8]? {
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
            } else if let id = walk.current(registry) {
                if matches(registry.instances[id], registry) { beginInstance(id, registry, now) }
                walk.advance()
            } else if !withPackets, instance == nil, (pathsOf ?? 0) < registry.order.count {
                writePaths(registry)
            } else if !withPackets, instance == nil, (sumOf ?? 0) < registry.order.count {
                writeSum(registry)
            } else {
                finish()
                break
            }
        }
        return writer.takePiece()
    }

    private func matches(_ entry: RegisteredInstance, _ registry: borrowing Registry) -> Bool {
        if let service, registry.services[entry.service].name != service { return false }
        if let instance, entry.url != instance, entry.address?.description != instance { return false }
        return true
    }

    private mutating func beginInstance(
        _ id: Registry.InstanceID, _ registry: borrowing Registry, _ now: UInt64
    ) {
        let entry = registry.instances[id]
        writer.beginObject()
        writer.field("instance_url", entry.url)
        if registry.isOneOfSeveral(id), let address = entry.address { writer.field("address", address.description) }
        writer.field("service_name", registry.services[entry.service].name)
        time("check_start_time", entry.firstCheckedAt)
        time("last_checked_at", entry.lastCheckedAt)
        time("last_failure", entry.lastFailureAt)
        if let failure = entry.lastFailure.result { writer.field("last_failure_reason", failure.response) }
        writer.field("status", entry.health.status.rawValue)
        writer.field("suspect", entry.health.isSuspect)
        writer.field("draining", entry.isDraining)
        if entry.isDraining { time("draining_since", entry.drainingSince) }
        time("since", entry.since)
        if let cause = entry.statusCause.result { writer.field("status_reason", cause.response) }
        if entry.health.isSuspect, let cause = entry.suspectCause.result {
            writer.field("suspect_reason", cause.response)
        }
        writer.field("changes", UInt64(entry.changes))
        if let last = entry.lastResult.result {
            writer.field("final_status", last.cause.finalStatus)
            writer.field("response", last.response)
            writer.key("duration_ms")
            writer.value(Double(last.durationMicroseconds) / 1000)
        }
        var availability = entry.availability
        writer.key("availability")
        if let share = availability.share(now: now) {
            writer.value((share * 10_000).rounded() / 100)
        } else {
            writer.null()
        }
        writer.field("polls", entry.polls)
        writer.field("priority", entry.priority.name)
        if entry.tier != 0 { writer.field("tier", Int(entry.tier)) }
        writer.field("weight", Int(entry.weight))
        writer.key("addresses")
        writer.beginArray()
        if let address = entry.state.address { writer.value(address.description) }
        writer.endArray()
        if let row = traffic.row(registry.name(id)) {
            writer.key("traffic")
            row.write(to: &writer, isPath: false)
        }
        if withPackets {
            writer.key("stats_packets")
            writer.beginArray()
            packet = (entry.history.firstShown, entry.history.endSequence)
            current = (id, registry.instances.generation(id))
        } else {
            writer.endObject()
        }
    }

    /// What came for a service: the sum of its API paths.
    private mutating func writeSum(_ registry: borrowing Registry) {
        if sumOf == nil {
            writer.endArray()
            writer.key("traffic_by_service")
            writer.beginArray()
        }
        let entry = registry.services[registry.order[sumOf ?? 0]]
        sumOf = (sumOf ?? 0) + 1
        guard service == nil || entry.name == service else { return }
        let rows = entry.paths.compactMap { traffic.row(path: $0, of: entry.name) }
        guard !rows.isEmpty else { return }
        var sum = CounterTotals.Row()
        for row in rows { sum.add(row) }
        writer.beginObject()
        writer.field("service_name", entry.name)
        writeTimeOfCounting()
        writer.key("traffic")
        sum.write(to: &writer, isPath: true)
        writer.endObject()
    }

    private mutating func finish() {
        writer.endArray()
        if withPackets {
            writer.field("skipped", skipped)
            writer.field("complete", true)
        } else if instance == nil, service == nil {
            writeForwarders()
        }
        writer.endObject()
        writer.endLine()
        isDone = true
    }

    /// What came for each API path, service by service.
    private mutating func writePaths(_ registry: borrowing Registry) {
        if pathsOf == nil {
            writer.endArray()
            writer.key("api_statistics")
            writer.beginArray()
        }
        let entry = registry.services[registry.order[pathsOf ?? 0]]
        pathsOf = (pathsOf ?? 0) + 1
        guard service == nil || entry.name == service else { return }
        for path in entry.paths {
            guard let row = traffic.row(path: path, of: entry.name) else { continue }
            writer.beginObject()
            writer.field("service_name", entry.name)
            writer.field("path", path)
            writer.key("traffic")
            row.write(to: &writer, isPath: true)
            writer.endObject()
        }
    }

    /// The ledger: each request that was accepted is in exactly one of the numbers behind it.
    private mutating func writeForwarders() {
        let totals = traffic.totals
        let lost = traffic.lost
        writer.key("request_processor")
        writer.beginObject()
        writeTimeOfCounting()
        writer.field("accepted", totals[.accepted])
        writer.field("answered_by_instance", totals[.answeredByInstance])
        writer.field("answered_by_us", totals[.answeredByUs])
        writer.field("client_gone", totals[.clientGone])
        writer.field("cut", totals[.cut])
        writer.field("lost_with_forwarder", lost)
        writer.field("in_flight", totals.unended - min(totals.unended, lost))
        writer.field("connections", totals[.connections])
        writer.field("open_connections", totals[.openConnections])
        writer.field("bytes_received", totals[.bytesReceived])
        writer.field("bytes_sent", totals[.bytesSent])
        writer.key("forwarders")
        writer.beginArray()
        for forwarder in traffic.forwarders {
            writer.beginObject()
            writer.field("index", forwarder.index)
            writer.field("pid", forwarder.pid)
            time("started_at", forwarder.startedAt)
            writer.field("accepted", forwarder.accepted)
            writer.field("open_connections", forwarder.connections)
            writer.field("in_flight", forwarder.inFlight)
            writer.field("snapshot", forwarder.snapshot.description)
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
    }

    /// Each sum has its own: counters may be read again while a long answer is sent. By the monotonic clock, since rates are made of
    /// it.
    private mutating func writeTimeOfCounting() {
        if let time = traffic.readAt { writer.field("counted_at_ms", time) }
    }

    private mutating func writePackets(_ registry: borrowing Registry, _ limit: Int) {
        guard let packet = self.packet, let (id, generation) = current else { return }
        var sequence = packet.sequence
        // It may be gone meanwhile.
        let end = registry.instances.holds(id, generation) ? packet.end : sequence
        if sequence < end, registry.instances[id].history.firstShown > sequence {
            let first = registry.instances[id].history.firstShown
            skipped += min(first, end) - sequence
            sequence = min(first, end)
        }
        while sequence < end, writer.bytes.count < limit {
            guard let (start, outcome) = registry.packet(sequence, of: id), let poll = outcome.result else { break }
            writer.beginObject()
            time("start_time", start)
            time("end_time", start &+ poll.durationMicroseconds / 1000)
            writer.field("final_status", poll.cause.finalStatus)
            writer.field("response", poll.response)
            writer.endObject()
            sequence += 1
        }
        if sequence < end {
            self.packet = (sequence, end)
        } else {
            self.packet = nil
            writer.endArray()
            writer.endObject()
        }
    }

    private mutating func time(_ name: StaticString, _ wall: UInt64) {
        writer.key(name.description)
        if wall == 0 { writer.null() } else { writer.value(Timestamp.iso8601(wallMilliseconds: wall)) }
    }
}
