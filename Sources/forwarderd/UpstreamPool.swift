import Shared

/// Connections to instances: begun, kept, taken again.
extension Forwarder {
    /// Begins a try at one instance, on a kept connection if there is one. `fresh`: on a new connection to the address of the try
    /// before.
    mutating func connect(_ slot: Int, to instance: Int, fresh: Bool) {
        downstreams[slot].requestSent = 0
        instances[instance].outstanding += 1
        countTry(slot, instance)
        downstreams[slot].record?.instance = instances[instance].url
        if let host = downstreams[slot].requestHost {
            let authority = instances[instance].authority
            downstreams[slot].request.replace(host.start, host.count, with: authority)
            downstreams[slot].requestHost?.count = authority.count
        }
        let addresses = instances[instance].state.addresses
        let before = fresh ? downstreams[slot].exchange.address ?? (addresses.count == 1 ? addresses[0] : nil) : nil
        let address =
            before
            ?? instances[instance].addresses.next(
                addresses, tried: downstreams[slot].exchange.triedAddresses, now: loop.now)
        guard let address else {
            downstreams[slot].exchange.begin(instance: instance, upstream: -1)
            return judge(slot, .noAddress, isReused: false)
        }
        downstreams[slot].exchange.address = addresses.count > 1 ? address : nil
        if !fresh, let upstream = takeIdle(instance, address, idempotent: downstreams[slot].exchange.isIdempotent) {
            attach(upstream, slot)
            upstreams[upstream].state = .busy
            return sendRequest(slot)
        }
        open(slot, instance, address)
    }

    private mutating func open(_ slot: Int, _ instance: Int, _ address: SocketAddress) {
        makeRoom(instance, limit: services[downstreams[slot].exchange.service].connectionsPerInstance)
        // The kept connection that has been idle longest makes room, then a client that has ended its side.
        while upstreams.isFull {
            if evictIdleUpstream() { continue }
            guard takeFromHalfClosed(service: nil), !upstreams.isFull else {
                return neverConnected(slot, instance, .ourLimit(upstreams.capacity))
            }
        }
        let descriptor: Descriptor
        let connected: Bool
        while true {
            do {
                (descriptor, connected) = try Socket.connect(to: address)
                break
            } catch {
                if error == .tooManyOpenFiles || error == .fileTableFull, evictIdleUpstream() { continue }
                return neverConnected(slot, instance, .connect(error))
            }
        }
        let upstream = upstreams.insert(Upstream(descriptor, instance: instance, address: address))
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
    private mutating func neverConnected(_ slot: Int, _ instance: Int, _ fault: UpstreamFault) {
        if fault.isOurOwn {
            complain("no further connection to an instance is possible: \(fault.words)", kind: "connections")
        }
        downstreams[slot].exchange.begin(instance: instance, upstream: -1)
        judge(slot, fault, isReused: false)
    }

    /// Closes the kept connection that has been idle longest, whatever its instance. False: none is kept.
    mutating func evictIdleUpstream() -> Bool {
        guard let oldest = idleUpstreams.oldest else { return false }
        removeIdle(oldest)
        closeUpstream(oldest)
        return true
    }

    // MARK: Kept connections

    /// The most recently used kept connection to this address that is still good.
    private mutating func takeIdle(_ instance: Int, _ address: SocketAddress, idempotent: Bool) -> Int? {
        var candidate = instances[instance].idleHead
        while candidate >= 0 {
            let upstream = Int(candidate)
            candidate = upstreams[upstream].next
            if upstreams[upstream].address != address { continue }
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
        // Nor where a request of the next table could not go.
        guard instances[instance].idleCount < Limits.idleConnectionsPerInstance, instances[instance].serviceIndex >= 0,
            !instances[instance].state.draining,
            instances[instance].state.addresses.contains(upstreams[upstream].address)
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
        idleUpstreams.add(upstream, upstreams)
        if idleUpstreams.isOverLimit { _ = evictIdleUpstream() }
    }

    mutating func removeIdle(_ upstream: Int) {
        let instance = upstreams[upstream].instance
        let (next, previous) = (upstreams[upstream].next, upstreams[upstream].previous)
        if previous >= 0 { upstreams[Int(previous)].next = next } else { instances[instance].idleHead = next }
        if next >= 0 { upstreams[Int(next)].previous = previous }
        instances[instance].idleCount -= 1
        idleUpstreams.remove(upstream, upstreams)
    }

    /// Closes kept connections that nobody has used for long.
    mutating func sweepIdleUpstreams() {
        guard loop.now > Limits.instanceIdleTimeoutMilliseconds else { return }
        let limit = loop.now - Limits.instanceIdleTimeoutMilliseconds
        while let oldest = idleUpstreams.oldest, upstreams[oldest].idleSince < limit {
            removeIdle(oldest)
            closeUpstream(oldest)
        }
    }

    /// The connection must be in no list and serve nobody.
    mutating func closeUpstream(_ upstream: Int) {
        requestBuffers.giveBack(from: &upstreams[upstream].input)
        upstreams[upstream].descriptor.close()
        _ = upstreams.remove(upstream)
    }
}
