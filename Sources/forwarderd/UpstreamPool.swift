import Shared

/// Choosing an instance and getting a connection to it.
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
        case .full: wait(slot)
        case .none: answer(slot, .unavailable(after: fault, wasSent: downstreams[slot].exchange.wasSent))
        }
    }

    /// The best group that has one with room decides; within it the service's policy.
    mutating func choose(_ slot: Int) -> Balancer.Pick {
        let service = downstreams[slot].exchange.service
        if services[service].isStale { rank(service) }
        var result = Balancer.Pick.none
        for index in 0..<services[service].ranking.groups.count {
            let pick = pick(service, services[service].ranking.groups[index], slot)
            if case .instance = pick { return pick }
            if pick == .full { result = .full }
        }
        if result == .full { return .full }
        for index in 0..<services[service].ranking.lastResort.count {
            let pick = pick(service, services[service].ranking.lastResort[index], slot)
            if case .instance = pick { return pick }
            if pick == .full { result = .full }
        }
        return result
    }

    @inline(__always)
    private mutating func pick(_ service: Int, _ group: Ranking.Group, _ slot: Int) -> Balancer.Pick {
        let instances = instances
        let limit = services[service].connectionsPerInstance
        let now = loop.now
        return Balancer.pick(
            services[service].policy.balance, group, excluding: downstreams[slot].exchange.excluded,
            key: downstreams[slot].exchange.key, turn: &services[service].turn, random: &random
        ) { instances[$0].load(limit: limit, now: now) }
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
            return answer(
                entry.slot,
                .full(
                    "the client has ended its side and others wait",
                    wasSent: downstreams[entry.slot].exchange.wasSent))
        }
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

    // MARK: Connections

    /// Begins a try at one instance, on a kept connection if there is one.
    mutating func connect(_ slot: Int, to instance: Int, fresh: Bool) {
        downstreams[slot].requestSent = 0
        instances[instance].outstanding += 1
        downstreams[slot].record?.instance = instances[instance].url
        if let host = downstreams[slot].requestHost {
            let authority = instances[instance].authority
            downstreams[slot].request.replace(host.start, host.count, with: authority)
            downstreams[slot].requestHost?.count = authority.count
        }
        if !fresh, let upstream = takeIdle(instance, idempotent: downstreams[slot].exchange.isIdempotent) {
            attach(upstream, slot)
            upstreams[upstream].state = .busy
            return sendRequest(slot)
        }
        open(slot, instance)
    }

    private mutating func open(_ slot: Int, _ instance: Int) {
        makeRoom(instance, limit: services[downstreams[slot].exchange.service].connectionsPerInstance)
        guard !upstreams.isFull else { return neverConnected(slot, instance, Errno.tooManyOpenFiles) }
        let addresses = instances[instance].state.addresses
        guard !addresses.isEmpty else { return neverConnected(slot, instance, Errno.addressNotAvailable) }
        let address = addresses[instances[instance].nextAddress % addresses.count]
        instances[instance].nextAddress = (instances[instance].nextAddress + 1) % addresses.count
        let descriptor: Descriptor
        let connected: Bool
        do {
            (descriptor, connected) = try Socket.connect(to: address)
        } catch {
            return neverConnected(slot, instance, error)
        }
        let upstream = upstreams.insert(Upstream(descriptor, instance: instance))
        attach(upstream, slot)
        do {
            try loop.add(
                descriptor, EventKind.upstream.token(upstream, upstreams.generation(upstream)),
                [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            return upstreamFailed(upstream, .connect(error))
        }
        if connected {
            upstreams[upstream].state = .busy
            sendRequest(slot)
        } else {
            setDeadline(slot, loop.now + services[downstreams[slot].exchange.service].policy.connectTimeoutMilliseconds)
        }
    }

    private mutating func attach(_ upstream: Int, _ slot: Int) {
        upstreams[upstream].downstream = slot
        downstreams[slot].exchange.begin(instance: upstreams[upstream].instance, upstream: upstream)
    }

    /// Kept connections count too where the number of connections is limited.
    private mutating func makeRoom(_ instance: Int, limit: Int) {
        while instances[instance].idleHead >= 0,
            instances[instance].idleCount + instances[instance].outstanding > limit
        {
            let upstream = Int(instances[instance].idleHead)
            removeIdle(upstream)
            closeUpstream(upstream)
        }
    }

    /// No connection was even begun.
    private mutating func neverConnected(_ slot: Int, _ instance: Int, _ error: Errno) {
        downstreams[slot].exchange.begin(instance: instance, upstream: -1)
        judge(slot, .connect(error), isReused: false)
    }

    // MARK: Kept connections

    /// The most recently used kept connection that is still good.
    private mutating func takeIdle(_ instance: Int, idempotent: Bool) -> Int? {
        while instances[instance].idleHead >= 0 {
            let upstream = Int(instances[instance].idleHead)
            // What must not run twice only goes where a silent end is unlikely.
            if !idempotent {
                let idle = loop.now &- upstreams[upstream].idleSince
                let announced = upstreams[upstream].announcedTimeoutMilliseconds
                if idle > Limits.staleConnectionMilliseconds || announced < idle + Limits.staleConnectionMilliseconds {
                    return nil
                }
            }
            // An end, or bytes that nobody asked for, may have come after the last event. The turn's own events would not do: a
            // turn can be long, and what is overlooked becomes another client's answer.
            let peeked = upstreams[upstream].descriptor.peek()
            guard peeked.count == nil, peeked.isAgain else {
                removeIdle(upstream)
                closeUpstream(upstream)
                continue
            }
            removeIdle(upstream)
            return upstream
        }
        return nil
    }

    /// Keeps a connection for the next request.
    mutating func keep(_ upstream: Int) {
        let instance = upstreams[upstream].instance
        guard instances[instance].idleCount < Limits.idleConnectionsPerInstance, instances[instance].serviceIndex >= 0
        else {
            return closeUpstream(upstream)
        }
        upstreams[upstream].state = .idle
        upstreams[upstream].downstream = -1
        upstreams[upstream].isReused = true
        upstreams[upstream].idleSince = loop.now
        let head = instances[instance].idleHead
        upstreams[upstream].next = head
        upstreams[upstream].previous = -1
        if head >= 0 { upstreams[Int(head)].previous = Int32(truncatingIfNeeded: upstream) }
        instances[instance].idleHead = Int32(truncatingIfNeeded: upstream)
        instances[instance].idleCount += 1
    }

    mutating func removeIdle(_ upstream: Int) {
        let instance = upstreams[upstream].instance
        let (next, previous) = (upstreams[upstream].next, upstreams[upstream].previous)
        if previous >= 0 { upstreams[Int(previous)].next = next } else { instances[instance].idleHead = next }
        if next >= 0 { upstreams[Int(next)].previous = previous }
        instances[instance].idleCount -= 1
    }

    /// Closes kept connections that nobody has used for long.
    mutating func sweepIdleUpstreams() {
        guard loop.now > Limits.instanceIdleTimeoutMilliseconds else { return }
        let limit = loop.now - Limits.instanceIdleTimeoutMilliseconds
        for upstream in 0..<upstreams.highWater
        where upstreams.isInUse(upstream) && upstreams[upstream].state == .idle && upstreams[upstream].idleSince < limit
        {
            removeIdle(upstream)
            closeUpstream(upstream)
        }
    }

    /// The connection must be in no list and serve nobody.
    mutating func closeUpstream(_ upstream: Int) {
        requestBuffers.giveBack(from: &upstreams[upstream].input)
        upstreams[upstream].descriptor.close()
        _ = upstreams.remove(upstream)
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
