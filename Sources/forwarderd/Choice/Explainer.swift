import Shared

/// Answers `explain`: where a request would go now. It runs the functions that a request runs, without one.
extension Forwarder {
    mutating func explain(_ question: ForwarderQuestion) -> [UInt8] {
        let bytes = question.explain.head
        var head = RequestHead()
        let id = question.id
        do throws(HTTPFault) {
            guard try head.parse(bytes.span, bounds: table.requestBounds) else {
                throw HTTPFault(400, "the head ends in its middle")
            }
        } catch {
            return SubscriberLines.told(id) {
                write(status: error.status, error.reason, to: &$0)
            }
        }
        switch table.decide(head, bytes.span, identity, isDraining: phase.isDraining) {
        case .own(let own): return SubscriberLines.told(id) { write(own, to: &$0) }
        case .forward(let route): return explain(id, head, bytes, route)
        }
    }

    private mutating func explain(_ id: UInt64, _ head: RequestHead, _ bytes: [UInt8], _ route: RouteTable.Route)
        -> [UInt8]
    {
        let service = route.service
        table.rankIfStale(service)
        let services = table.services
        let instances = table.instances
        let policy = services[service].policy.balance
        // The question comes from nowhere: as from this machine.
        let here = SocketAddress.loopback(port: 0)
        var client = here.host
        if table.settings.isTrusted(here), head.fields.hasForwarded {
            let believed = BelievedClient.of(head.fields, bytes.span, sender: Array(client.utf8), table.settings)
            client = String(decoding: believed.address, as: UTF8.self)
        }
        var key: UInt64 = 0
        var hashed: String?
        if case .hash(let by) = policy {
            key = HashKey.value(by, head, bytes.span, client: Array(client.utf8))
            hashed =
                HashKey.named(by, head, bytes.span) == nil
                ? "hash of the client's address, here \(client)" : "hash of \(by.text)"
        }
        let subjects = services[service].instances.map { subject($0, services[service].connectionsPerInstance) }
        let explanation = Explanation(
            policy, services[service].ranking, subjects, key: key, hashed: hashed,
            turn: services[service].turn)
        let path = Array(bytes[head.targetStart..<head.targetStart + head.pathCount])
        let lost = table.routes.matches(path).filter { $0.path != route.path }
        func text(_ route: RouteTable.Route) -> String {
            route.matched == 0 ? "/" : String(decoding: path.prefix(route.matched), as: UTF8.self)
        }
        return SubscriberLines.told(id) { writer in
            writeVersion(to: &writer)
            writer.field("service", services[service].name)
            writer.field("route", text(route))
            writer.key("routes_that_lost")
            writer.beginArray()
            for route in lost.prefix(Limits.instancesPerLine) {
                writer.beginObject()
                writer.field("route", text(route))
                writer.field("service", services[route.service].name)
                writer.endObject()
            }
            writer.endArray()
            writer.field("balance", policy.name)
            writer.key("choice")
            writer.beginArray()
            for slot in explanation.choice.prefix(Limits.explainedInstances) {
                writer.value(instances[Slab<InstanceSlot>.Index(rawValue: slot)].label)
            }
            writer.endArray()
            if explanation.choice.isEmpty {
                writer.field(
                    "failure",
                    explanation.isFull
                        ? "all instances are full: the request waits, or 503" : "no instance can be asked: 503")
            }
            // What may be chosen first, then what could be.
            let verdicts =
                explanation.verdicts.filter { $0.standing == .chosen }
                + explanation.verdicts.filter { $0.standing == .passed }
                + explanation.verdicts.filter { $0.standing == .excluded }
            writer.key("candidates")
            writer.beginArray()
            for verdict in verdicts.prefix(Limits.explainedInstances) { write(verdict, to: &writer) }
            writer.endArray()
            writer.field("omitted", max(0, verdicts.count - Limits.explainedInstances))
        }
    }

    private func subject(_ slot: Table.Instance, _ limit: Int) -> Explanation.Subject {
        let instances = table.instances
        return Explanation.Subject(
            slot: slot.rawValue, facts: instances[slot].facts,
            load: instances[slot].load(limit: limit, now: loop.now, triesFreely: true),
            isOnTrial: instances[slot].passive.isOnTrial, percent: instances[slot].percentWelcome(now: loop.now))
    }

    // MARK: Words

    private func writeVersion(to writer: inout JSONWriter) {
        writer.field("index", subscriber.index ?? 0)
        writer.field("snapshot", table.version?.description ?? "none")
        writer.field("snapshot_age_ms", table.version == nil ? 0 : loop.now - table.versionAt)
    }

    /// A request that no service gets.
    private func write(_ own: OwnAnswer, to writer: inout JSONWriter) {
        write(status: own.status, own.cause.isEmpty ? own.words : own.cause, to: &writer)
    }

    private func write(status: UInt16, _ words: String, to writer: inout JSONWriter) {
        writeVersion(to: &writer)
        writer.field("status", Int(status))
        writer.field("failure", words)
    }

    private func write(_ verdict: Explanation.Verdict, to writer: inout JSONWriter) {
        let instance = table.instances[Table.Instance(rawValue: verdict.slot)]
        writer.beginObject()
        writer.field("instance", instance.url)
        if instance.isOneOfSeveral, let address = instance.address { writer.field("address", address.description) }
        writer.field("standing", verdict.standing.rawValue)
        writer.field("reason", verdict.reason)
        writer.field("status", instance.state.status.rawValue)
        writer.field("suspect", instance.state.suspect)
        writer.field("draining", instance.state.draining)
        writer.field("priority", instance.priority.name)
        if instance.tier != 0 { writer.field("tier", instance.tier) }
        writer.key("availability")
        if let availability = instance.state.availability { writer.value(availability) } else { writer.null() }
        writer.field("weight", instance.weight)
        writer.field("in_flight", instance.outstanding)
        if let wait = verdict.expectedWait { writer.field("expected_wait_us", UInt64(wait)) }
        let percent = instance.percentWelcome(now: loop.now)
        if percent < 100 { writer.field("slow_start_percent", percent) }
        if let until = instance.passive.ejectedUntil {
            writer.field("ejected_ms", until > loop.now ? until - loop.now : 0)
        }
        if let evidence = instance.evidence, instance.passive.ejections > 0 {
            writer.field("evidence", evidence.words)
            writer.field("evidence_age_ms", loop.now - evidence.at)
        }
        writer.endObject()
    }
}
