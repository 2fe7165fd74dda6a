import Shared

/// Which directions of a tunnel have ended, and to whom that has been passed on.
struct TunnelEnds {
    /// The client will send nothing more; the instance has been told.
    var client = false
    var toldInstance = false
    /// The instance will send nothing more; the client has been told.
    var instance = false
    var toldClient = false

    var isOver: Bool { toldInstance && toldClient }
}

/// After 101 (RFC 9110 7.8): bytes in both directions until both have ended, each at its own time.
extension Forwarder {
    /// The answer 101 is on its way to the client.
    mutating func beginTunnel(_ upstream: Int, _ slot: Int) {
        downstreams[slot].state = .tunnel
        downstreams[slot].tunnel = TunnelEnds()
        upstreams[upstream].state = .tunnel
        downstreams[slot].exchange.keepsClient = false
        touchTunnel(slot)
        let generation = downstreams.generation(slot)
        // What the client sent early has waited for this.
        relayToInstance(slot)
        if downstreams.holds(slot, generation) { relayToClient(upstream) }
    }

    mutating func touchTunnel(_ slot: Int) {
        let service = downstreams[slot].exchange.service
        setDeadline(slot, loop.now + services[service].policy.tunnelTimeoutMilliseconds)
    }

    mutating func relayToInstance(_ slot: Int) {
        guard downstreams[slot].state == .tunnel, !downstreams[slot].tunnel.toldInstance else { return }
        let upstream = downstreams[slot].exchange.upstream
        var budget = Limits.relayBytesPerTurn
        while true {
            // An instance may change the protocol before it has all of the request: the rest is still framed.
            if downstreams[slot].request.isLeased, !sendRestOfRequest(slot, upstream, &budget) { return }
            if !downstreams[slot].request.isLeased, !downstreams[slot].input.isEmpty {
                let result = upstreams[upstream].descriptor.send(downstreams[slot].input.bytes)
                guard let count = result.count else {
                    // The next event says when there is room.
                    if result.isAgain { return }
                    // It takes nothing more; what it said before is still to be read.
                    return instanceTakesNoMore(slot, upstream)
                }
                downstreams[slot].input.consume(count)
                downstreams[slot].record?.received(count)
                downstreams[slot].exchange.tally.bytesReceived &+= UInt64(count)
                budget -= count
                touchTunnel(slot)
                continue
            }
            if downstreams[slot].tunnel.client {
                requestBuffers.giveBack(from: &downstreams[slot].input)
                downstreams[slot].tunnel.toldInstance = true
                Socket.shutdownWrite(upstreams[upstream].descriptor)
                return endTunnelIfOver(slot)
            }
            if budget <= 0 {
                unfinished.append(EventKind.downstream.token(slot, downstreams.generation(slot)))
                return
            }
            guard downstreams[slot].mayRead else {
                // A tunnel at rest holds no buffer.
                return requestBuffers.giveBack(from: &downstreams[slot].input)
            }
            if !downstreams[slot].input.isLeased {
                downstreams[slot].input = requestBuffers.lease()
                guard downstreams[slot].input.isLeased else { return cutTunnel(slot) }
            }
            let free = downstreams[slot].input.free
            let result = downstreams[slot].input.receive(from: downstreams[slot].descriptor)
            if let count = result.count {
                if count == 0 { downstreams[slot].tunnel.client = true }
                if count < free, !downstreams[slot].sawEnd { downstreams[slot].mayRead = false }
            } else if result.isAgain {
                downstreams[slot].mayRead = false
            } else {
                return cutTunnel(slot)
            }
        }
    }

    /// Sends what is left of the request that led to the tunnel. True: it has all been sent and its buffer is given back, or more
    /// must be received first. False: the instance takes nothing now, or the tunnel is over.
    private mutating func sendRestOfRequest(_ slot: Int, _ upstream: Int, _ budget: inout Int) -> Bool {
        while true {
            let sent = downstreams[slot].requestSent
            let count = downstreams[slot].request.count
            if sent < count {
                let result = upstreams[upstream].descriptor.send(
                    downstreams[slot].request.bytes.extracting(sent..<count))
                guard let moved = result.count else {
                    if !result.isAgain { instanceTakesNoMore(slot, upstream) }
                    return false
                }
                downstreams[slot].requestSent = sent &+ moved
                budget -= moved
                touchTunnel(slot)
                continue
            }
            if downstreams[slot].requestIsComplete {
                requestBuffers.giveBack(from: &downstreams[slot].request)
                return true
            }
            if downstreams[slot].input.isEmpty { return true }
            downstreams[slot].request.removeAll()
            downstreams[slot].requestSent = 0
            do throws(HTTPFault) {
                try appendBody(slot)
            } catch {
                cutTunnel(slot, "the request's body: \(error.reason)")
                return false
            }
        }
    }

    /// The instance takes nothing more; what it said before is still to be read.
    private mutating func instanceTakesNoMore(_ slot: Int, _ upstream: Int) {
        downstreams[slot].tunnel.toldInstance = true
        requestBuffers.giveBack(from: &downstreams[slot].input)
        requestBuffers.giveBack(from: &downstreams[slot].request)
        upstreams[upstream].sawEnd = true
        upstreams[upstream].mayRead = true
        relayToClient(upstream)
    }

    mutating func relayToClient(_ upstream: Int) {
        let slot = upstreams[upstream].downstream
        var budget = Limits.relayBytesPerTurn
        while !downstreams[slot].tunnel.toldClient {
            if !downstreams[slot].output.isEmpty {
                upstreams[upstream].isPaused = true
                return
            }
            if downstreams[slot].tunnel.instance {
                downstreams[slot].tunnel.toldClient = true
                Socket.shutdownWrite(downstreams[slot].descriptor)
                return endTunnelIfOver(slot)
            }
            guard upstreams[upstream].mayRead else { return }
            if budget <= 0 {
                unfinished.append(EventKind.upstream.token(upstream, upstreams.generation(upstream)))
                return
            }
            received.removeAll()
            let free = received.free
            let result = received.receive(from: upstreams[upstream].descriptor)
            guard let count = result.count else {
                if !result.isAgain { return cutTunnel(slot) }
                upstreams[upstream].mayRead = false
                return
            }
            if count == 0 { downstreams[slot].tunnel.instance = true }
            if count < free, !upstreams[upstream].sawEnd { upstreams[upstream].mayRead = false }
            if count > 0 {
                budget -= count
                touchTunnel(slot)
                var bytes = Buffer.none
                swap(&bytes, &received)
                outgoing.removeAll()
                let isHere = sendOutgoing(slot, bytes.bytes)
                swap(&bytes, &received)
                guard isHere else { return }
            }
        }
    }

    private mutating func endTunnelIfOver(_ slot: Int) {
        if downstreams[slot].tunnel.isOver { closeDownstream(slot) }
    }

    mutating func cutTunnel(_ slot: Int, _ cause: String = "one side of the tunnel has broken off") {
        downstreams[slot].record?.cause = cause
        endExchange(slot, .cut)
        closeDownstream(slot)
    }
}
