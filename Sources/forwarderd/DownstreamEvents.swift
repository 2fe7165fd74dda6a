import Shared

/// What happens on client connections.
extension Forwarder {
    mutating func downstreamReady(_ slot: Int, _ readiness: Readiness) {
        // A reset, or both directions closed: whatever is being done for this client is cancelled.
        let isTunnel = downstreams[slot].state == .tunnel
        if !readiness.isDisjoint(with: [.error, .hangUp]) {
            guard isTunnel else { return closeDownstream(slot) }
            // What the client sent before its end, or before the connection broke, is still to be relayed.
            downstreams[slot].mayRead = true
            downstreams[slot].sawEnd = true
        }
        if !readiness.isDisjoint(with: [.readable, .peerClosed]) { downstreams[slot].mayRead = true }
        if readiness.contains(.peerClosed) { downstreams[slot].sawEnd = true }
        if readiness.contains(.writable), !downstreams[slot].output.isEmpty {
            guard flushOutput(slot) else { return }
        }
        guard downstreams[slot].mayRead else { return }
        switch downstreams[slot].state {
        case .idle, .head: serve(slot)
        case .exchange: if !downstreams[slot].requestIsComplete { sendRequest(slot) }
        case .tunnel: relayToInstance(slot)
        case .flushing: break
        case .lingering: linger(slot)
        }
    }

    /// Sends what waits for the client. False: the connection is gone, or what waited has led to something else.
    private mutating func flushOutput(_ slot: Int) -> Bool {
        let result = downstreams[slot].descriptor.send(downstreams[slot].output.bytes)
        guard let count = result.count else {
            if result.isAgain { return true }
            closeDownstream(slot)
            return false
        }
        downstreams[slot].output.consume(count)
        switch downstreams[slot].state {
        case .tunnel: touchTunnel(slot)
        case .exchange: if downstreams[slot].hasResponseHead { awaitBytes(slot) }
        case .flushing, .idle, .head, .lingering: setDeadline(slot, loop.now + Limits.betweenBytesTimeoutMilliseconds)
        }
        guard downstreams[slot].output.isEmpty else { return true }
        outputBuffers.giveBack(from: &downstreams[slot].output)
        switch downstreams[slot].state {
        case .flushing:
            afterAnswer(slot)
            serveIfMore(slot)
            return false
        case .exchange:
            let upstream = downstreams[slot].exchange.upstream
            if upstream >= 0, upstreams[upstream].isPaused {
                upstreams[upstream].isPaused = false
                // The same event may have said that more of the request is here.
                let generation = downstreams.generation(slot)
                readResponse(upstream)
                return downstreams.holds(slot, generation)
            }
        case .tunnel:
            let upstream = downstreams[slot].exchange.upstream
            upstreams[upstream].isPaused = false
            let generation = downstreams.generation(slot)
            relayToClient(upstream)
            return downstreams.holds(slot, generation)
        case .idle, .head, .lingering: break
        }
        return true
    }

    // MARK: Requests

    /// The next request, if the client has sent one already. Within `serve` its loop comes to it by itself.
    mutating func serveIfMore(_ slot: Int) {
        guard servingSlot != slot, downstreams.isInUse(slot), downstreams[slot].state == .idle else { return }
        if downstreams[slot].mayRead || !downstreams[slot].input.isEmpty { serve(slot) }
    }

    /// Reads and begins requests until the client has no more for us now, or one is under way.
    mutating func serve(_ slot: Int) {
        let outer = servingSlot
        servingSlot = slot
        defer { servingSlot = outer }
        var served = 0
        while true {
            switch downstreams[slot].state {
            case .exchange, .flushing, .lingering, .tunnel: return
            case .idle, .head: break
            }
            if !downstreams[slot].input.isEmpty {
                if downstreams[slot].awaitsProxyHeader, !takeProxyHeader(slot) {
                    guard downstreams.isInUse(slot) else { return }
                } else if !downstreams[slot].input.isEmpty, beginRequest(slot) {
                    served += 1
                    guard downstreams.isInUse(slot) else { return }
                    if served >= Limits.requestsPerTurn {
                        unfinished.append(EventKind.downstream.token(slot, downstreams.generation(slot)))
                        return
                    }
                    continue
                }
            }
            switch receive(slot) {
            case .bytes: break
            case .nothing: return rest(slot)
            case .gone: return
            }
        }
    }

    /// Reads the header by which a trusted forwarder says whose connection this is. False: it is not whole yet, or the
    /// connection has been closed.
    private mutating func takeProxyHeader(_ slot: Int) -> Bool {
        do throws(HTTPFault) {
            switch try ProxyHeader.parse(downstreams[slot].input.bytes) {
            case .needsMore: return false
            case .header(let byteCount, let source):
                downstreams[slot].input.consume(byteCount)
                downstreams[slot].awaitsProxyHeader = false
                guard let source = source?.unmapped else { return true }
                downstreams[slot].client = source
                downstreams[slot].peer.removeAll()
                source.appendHost(to: &downstreams[slot].peer)
                downstreams[slot].isTrusted = settings.isTrusted(source)
                return true
            }
        } catch {
            complain("a connection from \(downstreams[slot].client) was closed: \(error.reason)", kind: "proxy header")
            closeDownstream(slot)
            return false
        }
    }

    enum Received {
        case bytes
        /// Nothing now.
        case nothing
        /// The end, or an error: the connection has been closed.
        case gone
    }

    /// Takes what the client sent into its input.
    mutating func receive(_ slot: Int) -> Received {
        guard downstreams[slot].mayRead else { return .nothing }
        if !downstreams[slot].input.isLeased {
            downstreams[slot].input = requestBuffers.lease()
            guard downstreams[slot].input.isLeased else {
                complain("no buffers are left; a client connection is closed", kind: "buffers")
                endExchange(slot, .cut)
                closeDownstream(slot)
                return .gone
            }
        } else {
            downstreams[slot].input.compact()
        }
        let free = downstreams[slot].input.free
        let descriptor = downstreams[slot].descriptor
        let result = downstreams[slot].input.receive(from: descriptor)
        if result.count == nil, result.isAgain {
            downstreams[slot].mayRead = false
            return .nothing
        }
        // A request that ends before its end is none.
        guard let count = result.count, count > 0 else {
            closeDownstream(slot)
            return .gone
        }
        // A short read has emptied the socket; the end of the stream, if announced, is still to be read.
        if count < free, !downstreams[slot].sawEnd { downstreams[slot].mayRead = false }
        return .bytes
    }

    /// Nothing to do until the client says more: an idle connection holds no buffer.
    private mutating func rest(_ slot: Int) {
        if downstreams[slot].input.isEmpty {
            requestBuffers.giveBack(from: &downstreams[slot].input)
            downstreams[slot].state = .idle
        } else if downstreams[slot].state == .idle {
            downstreams[slot].state = .head
            setDeadline(slot, loop.now + settings.headTimeoutMilliseconds)
        }
    }

    // MARK: Time

    /// The connection's present wait ends at `deadline`. The timer is only moved when it would fire too late.
    @inline(__always)
    mutating func setDeadline(_ slot: Int, _ deadline: UInt64) {
        downstreams[slot].deadline = deadline
        if downstreams[slot].timer.isScheduled {
            if downstreams[slot].timerAt > deadline {
                downstreams[slot].timerAt = deadline
                loop.reschedule(downstreams[slot].timer, at: deadline)
            }
        } else {
            downstreams[slot].timerAt = deadline
            downstreams[slot].timer = loop.schedule(
                EventKind.downstreamTimeout.token(slot, downstreams.generation(slot)), at: deadline)
        }
    }

    mutating func downstreamTimerFired(_ slot: Int) {
        downstreams[slot].timer = .none
        if downstreams[slot].deadline > loop.now { return setDeadline(slot, downstreams[slot].deadline) }
        switch downstreams[slot].state {
        case .idle, .lingering, .flushing:
            closeDownstream(slot)
        case .tunnel:
            cutTunnel(slot, "nothing came for the time of a tunnel")
        case .head:
            if downstreams[slot].awaitsProxyHeader { return closeDownstream(slot) }
            refuseHead(slot)
            answer(slot, OwnAnswer(408, "The request's head took too long", error: "http_request_error"))
        case .exchange:
            exchangeTimedOut(slot)
        }
    }

    private mutating func exchangeTimedOut(_ slot: Int) {
        let upstream = downstreams[slot].exchange.upstream
        guard upstream >= 0 else {
            guard downstreams[slot].exchange.isQueued else { return closeDownstream(slot) }
            let time = services[downstreams[slot].exchange.service].policy.queueTimeoutMilliseconds
            return answer(
                slot, .full("no instance had room for \(time) ms", wasSent: downstreams[slot].exchange.wasSent))
        }
        if upstreams[upstream].state == .connecting { return upstreamFailed(upstream, .connectTimeout) }
        if downstreams[slot].hasResponseHead {
            // The instance or the client has stopped in the middle of an answer.
            return upstreamFailed(upstream, .timeout)
        }
        let awaitsClient =
            !downstreams[slot].requestIsComplete && downstreams[slot].requestSent == downstreams[slot].request.count
            && !downstreams[slot].exchange.expectsContinue
        if awaitsClient {
            return answer(
                slot,
                OwnAnswer(
                    408, "The request's body took too long", error: "http_request_error",
                    wasSent: downstreams[slot].exchange.wasSent))
        }
        upstreamFailed(upstream, .timeout)
    }

    // MARK: Ends

    /// The answer has been sent whole: the next request, or the end of the connection.
    mutating func afterAnswer(_ slot: Int) {
        endExchange(slot, .answered)
        // Where the answer's head went out before a drain began, the client has not been told of an end: it is with its next
        // request.
        if downstreams[slot].exchange.keepsClient {
            downstreams[slot].state = .idle
            downstreams[slot].restedAt = loop.now
            downstreams[slot].hasServed = true
            if downstreams[slot].input.isEmpty {
                requestBuffers.giveBack(from: &downstreams[slot].input)
                let idle = settings.clientIdleTimeoutMilliseconds
                setDeadline(
                    slot, loop.now + (drain == .finishing ? min(idle, Limits.drainIdleMilliseconds) : idle))
            }
            return
        }
        if downstreams[slot].requestIsComplete, downstreams[slot].input.isEmpty, !downstreams[slot].mayRead {
            return closeDownstream(slot)
        }
        // Unread bytes would turn our close into a reset, which eats the answer.
        downstreams[slot].state = .lingering
        downstreams[slot].lingersUntil = loop.now + Limits.lingerMilliseconds
        requestBuffers.giveBack(from: &downstreams[slot].input)
        Socket.shutdownWrite(downstreams[slot].descriptor)
        setDeadline(slot, loop.now + Limits.lingerSilenceMilliseconds)
        downstreams[slot].mayRead = true
        unfinished.append(EventKind.downstream.token(slot, downstreams.generation(slot)))
    }

    /// Discards what the client still sends, until it ends, falls silent, or has had its time.
    mutating func linger(_ slot: Int) {
        var discarded = 0
        while discarded < Limits.relayBytesPerTurn {
            received.removeAll()
            let result = received.receive(from: downstreams[slot].descriptor)
            guard let count = result.count, count > 0 else {
                guard result.count == nil, result.isAgain else { return closeDownstream(slot) }
                let silence = loop.now + Limits.lingerSilenceMilliseconds
                return setDeadline(slot, min(silence, downstreams[slot].lingersUntil))
            }
            discarded += count
        }
        if loop.now >= downstreams[slot].lingersUntil { return closeDownstream(slot) }
        unfinished.append(EventKind.downstream.token(slot, downstreams.generation(slot)))
    }

    /// Ends a client connection and whatever is done for it.
    mutating func closeDownstream(_ slot: Int) {
        if downstreams[slot].state == .tunnel, !downstreams[slot].tunnel.isOver {
            // Neither side may take this for the proper end; but a reset would eat what is still on its way.
            for descriptor in [
                downstreams[slot].descriptor, upstreams[downstreams[slot].exchange.upstream].descriptor,
            ] where Socket.unacknowledgedBytes(descriptor) == 0 {
                Socket.resetOnClose(descriptor)
            }
        }
        if downstreams[slot].isRefused { refused -= 1 }
        endExchange(slot, downstreams[slot].tunnel.isOver ? .answered : .clientGone)
        abandonExchange(slot)
        loop.cancel(&downstreams[slot].timer)
        requestBuffers.giveBack(from: &downstreams[slot].input)
        requestBuffers.giveBack(from: &downstreams[slot].request)
        outputBuffers.giveBack(from: &downstreams[slot].output)
        downstreams[slot].descriptor.close()
        _ = downstreams.remove(slot)
        counters[.openConnections] = UInt64(downstreams.count)
    }
}
