import Shared

/// Choosing an instance for a request, and waiting for one with room.
extension Forwarder {
    /// Takes the request to an instance: the best that is not excluded and has room. `fault`: why the last one failed.
    mutating func connectSomewhere(_ slot: Int, after fault: UpstreamFault?) {
        let service = downstreams[slot].exchange.service
        if fault == nil, !services[service].queue.isEmpty {
            // Nobody overtakes those who wait; at the end of the turn they go on in their order.
            noteRoom(service)
            return wait(slot)
        }
        switch choose(slot) {
        case .instance(let instance):
            downstreams[slot].record?.chosen()
            connect(slot, to: instance, fresh: false)
        case .full:
            guard takeFromHalfClosed(service: service), case .instance(let instance) = choose(slot) else {
                return wait(slot)
            }
            downstreams[slot].record?.chosen()
            connect(slot, to: instance, fresh: false)
        case .none: answer(slot, .unavailable(after: fault, wasSent: downstreams[slot].exchange.wasSent))
        }
    }

    /// The best group that has one with room decides; within it the service's policy.
    mutating func choose(_ slot: Int) -> Balancer.Pick {
        let service = downstreams[slot].exchange.service
        rankIfStale(service)
        let instances = instances
        let limit = services[service].connectionsPerInstance
        let now = loop.now
        let ranking = services[service].ranking
        return Chooser.choose(
            services[service].policy.balance, ranking, excluding: downstreams[slot].exchange.excluded,
            key: downstreams[slot].exchange.key, turn: &services[service].turn, random: &random,
            percent: { instances[$0].percentWelcome(now: now) },
            load: { instances[$0].load(limit: limit, now: now, triesFreely: $1) })
    }

    @inline(__always)
    mutating func rankIfStale(_ service: Int) {
        if services[service].isStale { rank(service) }
    }

    private mutating func rank(_ service: Int) {
        let instances = instances
        services[service].ranking = Ranking(
            services[service].instances.map { slot in
                let instance = instances[Int(slot)].facts
                return (slot, instance)
            }, byAvailability: services[service].policy.balance == .availability)
        services[service].isStale = false
    }

    // MARK: Waiting for room

    /// All that could take the request are full: it waits its turn, or is refused at once where too many wait already.
    private mutating func wait(_ slot: Int) {
        let service = downstreams[slot].exchange.service
        if services[service].queue.isFull { dropHalfClosed(service) }
        guard !services[service].queue.isFull else {
            let count = services[service].queue.count
            return answer(
                slot,
                .full(
                    "all instances are full and \(count) requests wait already",
                    wasSent: downstreams[slot].exchange.wasSent))
        }
        downstreams[slot].exchange.isQueued = true
        services[service].queue.append(
            WaitingQueue.Entry(slot: slot, generation: downstreams.generation(slot)))
        setDeadline(slot, loop.now + services[service].policy.queueTimeoutMilliseconds)
    }

    /// A client that has ended its side may still want its answer, but more likely it has given up: under pressure its place
    /// goes to one that has not.
    private mutating func dropHalfClosed(_ service: Int) {
        for index in 0..<services[service].queue.count {
            guard let entry = services[service].queue.entry(index), downstreams[entry.slot].sawEnd else { continue }
            return endHalfClosed(entry.slot)
        }
    }

    /// The same of those that occupy an instance, of one service or of any. False: there is none.
    mutating func takeFromHalfClosed(service: Int?) -> Bool {
        // Looking through all is not done again in the same millisecond.
        guard nothingHalfClosedAt != loop.now else { return false }
        for slot in 0..<downstreams.highWater
        where downstreams.isInUse(slot) && downstreams[slot].sawEnd && downstreams[slot].state == .exchange
            && downstreams[slot].exchange.upstream >= 0 && downstreams[slot].requestIsComplete
            && (service == nil || downstreams[slot].exchange.service == service)
        {
            endHalfClosed(slot)
            return true
        }
        nothingHalfClosedAt = loop.now
        return false
    }

    private mutating func endHalfClosed(_ slot: Int) {
        if downstreams[slot].hasResponseHead { return closeDownstream(slot) }
        let wasSent = downstreams[slot].exchange.wasSent
        answer(slot, .full("the client has ended its side and others wait", wasSent: wasSent))
    }

    mutating func leaveQueue(_ slot: Int) {
        guard downstreams[slot].exchange.isQueued else { return }
        downstreams[slot].exchange.isQueued = false
        services[downstreams[slot].exchange.service].queue.remove(
            WaitingQueue.Entry(slot: slot, generation: downstreams.generation(slot)))
    }

    /// An instance of this service may have room now.
    @inline(__always)
    mutating func noteRoom(_ service: Int) {
        if !services[service].queue.isEmpty { servicesWithRoom.append(service) }
    }

    /// Whoever has waited longest goes on, as far as there is room.
    mutating func serveQueues() {
        guard !servicesWithRoom.isEmpty else { return }
        let waiting = servicesWithRoom
        servicesWithRoom.removeAll(keepingCapacity: true)
        for service in waiting {
            var index = 0
            while let entry = services[service].queue.entry(index) {
                switch choose(entry.slot) {
                case .full:
                    // One that has failed somewhere is choosy: those behind it may find room where it cannot go.
                    if downstreams[entry.slot].exchange.excluded.count == 0 { break }
                    index += 1
                    continue
                case .instance(let instance):
                    leaveQueue(entry.slot)
                    downstreams[entry.slot].record?.chosen()
                    connect(entry.slot, to: instance, fresh: false)
                    continue
                case .none:
                    leaveQueue(entry.slot)
                    answer(entry.slot, .unavailable(after: nil, wasSent: downstreams[entry.slot].exchange.wasSent))
                    continue
                }
                break
            }
        }
    }
}

extension InstanceSlot {
    var facts: Ranking.Facts {
        Ranking.Facts(
            isCandidate: isCandidate, status: state.status, isDraining: state.draining, isEjected: passive.isEjected,
            isSuspect: state.suspect, priority: priority, availability: state.availability,
            hasAddress: !state.addresses.isEmpty, weight: weight)
    }
}
