import Shared

/// What happens on client connections.
extension Forwarder {
    mutating func downstreamReady(_ slot: Int, _ readiness: Readiness) {
        // A reset, or both directions closed: whatever is being done for this client is cancelled.
        if !readiness.isDisjoint(with: [.error, .hangUp]) { return closeDownstream(slot) }
        if !readiness.isDisjoint(with: [.readable, .peerClosed]) { downstreams[slot].mayRead = true }
        if readiness.contains(.peerClosed) { downstreams[slot].sawEnd = true }
        if readiness.contains(.writable), !downstreams[slot].output.isEmpty {
            guard flushOutput(slot) else { return }
        }
        guard downstreams[slot].mayRead else { return }
        switch downstreams[slot].state {
        case .idle, .head: serve(slot)
        case .exchange: if !downstreams[slot].requestIsComplete { sendRequest(slot) }
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
        setDeadline(slot, loop.now + Limits.betweenBytesTimeoutMilliseconds)
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
            case .exchange, .flushing, .lingering: return
            case .idle, .head: break
            }
            if !downstreams[slot].input.isEmpty {
                if beginRequest(slot) {
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
                log.warning("no buffers are left; a client connection is closed")
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
            setDeadline(slot, loop.now + Limits.headTimeoutMilliseconds)
        }
    }

    /// Reads a head from the input and begins its exchange. False: the head is not whole yet.
    private mutating func beginRequest(_ slot: Int) -> Bool {
        let downstreams = downstreams
        do throws(HTTPFault) {
            guard try requestHead.parse(downstreams[slot].input.bytes) else { return false }
        } catch {
            downstreams[slot].exchange = Exchange()
            downstreams[slot].requestIsComplete = false
            downstreams[slot].requestID = (random.next(), random.next())
            answer(slot, OwnAnswer(error.status, "Bad request: \(error.reason)", error: "http_request_error"))
            return true
        }
        begin(slot)
        return true
    }

    private mutating func begin(_ slot: Int) {
        let downstreams = downstreams
        downstreams[slot].state = .exchange
        downstreams[slot].hasResponseHead = false
        downstreams[slot].exchange = Exchange()
        downstreams[slot].exchange.isHead = requestHead.method == .head
        downstreams[slot].exchange.isIdempotent = requestHead.method.isIdempotent
        downstreams[slot].exchange.clientIsHTTP10 = requestHead.minorVersion == 0
        downstreams[slot].exchange.keepsClient = requestHead.keepsAlive && !isDraining
        downstreams[slot].requestBody = BodyDecoder(
            requestHead.framing, status: 400,
            excluding: requestHead.fields.nominated.isEmpty
                ? [] : requestHead.fields.nominatedNames(in: downstreams[slot].input.bytes))
        downstreams[slot].requestIsChunked = requestHead.framing == .chunked
        downstreams[slot].requestIsComplete = downstreams[slot].requestBody.isComplete
        downstreams[slot].requestID = (random.next(), random.next())
        switch decide(slot) {
        case .own(let own):
            downstreams[slot].input.consume(requestHead.byteCount)
            answer(slot, own)
        case .forward(let service, let matched):
            forward(slot, service, matched)
        }
    }

    private enum Decision {
        case own(OwnAnswer)
        case forward(service: Int, matched: Int)
    }

    /// Where a request goes: to a service, or it is answered here.
    private func decide(_ slot: Int) -> Decision {
        let head = requestHead
        let bytes = downstreams[slot].input.bytes
        if head.fields.hasUnknownExpect {
            return .own(OwnAnswer(417, "Only Expect: 100-continue is understood", error: "http_request_error"))
        }
        if head.method == .trace || head.method == .options, head.fields.maxForwardsIsZero {
            // We are the last one that was meant (RFC 9110 7.6.2).
            return .own(OwnAnswer(200, "Success", error: nil))
        }
        if head.pathCount == 16, bytes.spells("/.serverpy/ready", at: head.targetStart) { return ready() }
        guard version != nil else {
            return .own(
                OwnAnswer(
                    503, OwnAnswer.failureWords, error: "destination_unavailable",
                    cause: "no snapshot from the discovery server yet"))
        }
        if head.fields.viaCount > 0, loops(head, bytes) {
            return .own(
                OwnAnswer(
                    508, OwnAnswer.failureWords, error: "proxy_loop_detected",
                    cause: "this request has passed here more than 8 times"))
        }
        if head.form == .asterisk {
            guard let root = routes.root else { return .own(OwnAnswer(200, "Success", error: nil)) }
            return .forward(service: root, matched: 0)
        }
        if let route = routes.route(bytes, head.targetStart, head.pathCount) {
            return .forward(service: route.service, matched: route.matched)
        }
        if head.pathCount <= 1 { return .own(OwnAnswer(200, "Success", error: nil)) }
        return .own(OwnAnswer(404, "No API found with provided endpoint", error: "destination_not_found"))
    }

    private func ready() -> Decision {
        let isReady = version != nil && !isDraining
        return .own(
            OwnAnswer(isReady ? 200 : 503, isReady ? "ready" : isDraining ? "draining" : "no snapshot yet", error: nil))
    }

    /// Our own Via more than 8 times (http.md): a loop.
    private func loops(_ head: RequestHead, _ bytes: Span<UInt8>) -> Bool {
        var own = 0
        for line in head.fields.lines where line.name == .via {
            let end = Int(line.valueStart) + Int(line.valueCount)
            var index = Int(line.valueStart)
            while index + identity.via.count <= end {
                if bytes[index] == 0x20, index + 1 + identity.via.count <= end,
                    bytes.equals(identity.via, at: index + 1, count: identity.via.count)
                {
                    let behind = index + 1 + identity.via.count
                    if behind == end || bytes[behind] == 0x2c || bytes[behind] == 0x20 { own += 1 }
                }
                index += 1
            }
        }
        return own > 8
    }

    private mutating func forward(_ slot: Int, _ service: Int, _ matched: Int) {
        let downstreams = downstreams
        downstreams[slot].request = requestBuffers.lease()
        guard downstreams[slot].request.isLeased else {
            downstreams[slot].input.consume(requestHead.byteCount)
            return answer(
                slot,
                OwnAnswer(503, OwnAnswer.failureWords, error: "proxy_internal_error", cause: "no buffers are left"))
        }
        downstreams[slot].exchange.service = service
        services[service].active += 1
        let policy = services[service].policy
        downstreams[slot].request.removeAll()
        let host = ForwardedRequest.write(
            requestHead, downstreams[slot].input.bytes, skipping: policy.stripsPrefix ? matched : 0,
            peer: downstreams[slot].peer, requestID: downstreams[slot].requestID, identity: identity,
            authority: defaultAuthority(service), to: &downstreams[slot].request)
        downstreams[slot].requestHost = policy.sendsInstanceHost ? host : nil
        downstreams[slot].requestSent = 0
        downstreams[slot].input.consume(requestHead.byteCount)
        do throws(HTTPFault) {
            try appendBody(slot)
        } catch {
            return answer(slot, OwnAnswer(error.status, "Bad request: \(error.reason)", error: "http_request_error"))
        }
        connectSomewhere(slot, after: nil)
    }

    /// The Host for a request that has none: HTTP/1.0.
    private func defaultAuthority(_ service: Int) -> [UInt8] {
        guard let first = services[service].instances.first else { return Array("localhost".utf8) }
        return instances[Int(first)].authority
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
        case .head:
            downstreams[slot].requestIsComplete = false
            downstreams[slot].exchange = Exchange()
            answer(slot, OwnAnswer(408, "The request's head took too long", error: "http_request_error"))
        case .exchange:
            exchangeTimedOut(slot)
        }
    }

    private mutating func exchangeTimedOut(_ slot: Int) {
        let upstream = downstreams[slot].exchange.upstream
        guard upstream >= 0 else { return closeDownstream(slot) }
        if upstreams[upstream].state == .connecting { return upstreamFailed(upstream, .connectTimeout) }
        if downstreams[slot].hasResponseHead {
            // The instance or the client has stopped in the middle of an answer.
            return upstreamFailed(upstream, .timeout)
        }
        let awaitsClient =
            !downstreams[slot].requestIsComplete && downstreams[slot].requestSent == downstreams[slot].request.count
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
        if downstreams[slot].exchange.keepsClient, !isDraining {
            downstreams[slot].state = .idle
            if downstreams[slot].input.isEmpty {
                requestBuffers.giveBack(from: &downstreams[slot].input)
                setDeadline(slot, loop.now + Limits.clientIdleTimeoutMilliseconds)
            }
            return
        }
        if downstreams[slot].requestIsComplete, downstreams[slot].input.isEmpty, !downstreams[slot].mayRead {
            return closeDownstream(slot)
        }
        // Unread bytes would turn our close into a reset, which eats the answer.
        downstreams[slot].state = .lingering
        downstreams[slot].lingered = downstreams[slot].input.count
        requestBuffers.giveBack(from: &downstreams[slot].input)
        Socket.shutdownWrite(downstreams[slot].descriptor)
        setDeadline(slot, loop.now + Limits.lingerMilliseconds)
        downstreams[slot].mayRead = true
        unfinished.append(EventKind.downstream.token(slot, downstreams.generation(slot)))
    }

    mutating func linger(_ slot: Int) {
        while downstreams[slot].lingered < Limits.lingerBytes {
            received.removeAll()
            let result = received.receive(from: downstreams[slot].descriptor)
            guard let count = result.count, count > 0 else {
                if result.count == nil, result.isAgain { return }
                return closeDownstream(slot)
            }
            downstreams[slot].lingered += count
        }
        closeDownstream(slot)
    }

    /// Ends a client connection and whatever is done for it.
    mutating func closeDownstream(_ slot: Int) {
        abandonExchange(slot)
        loop.cancel(&downstreams[slot].timer)
        requestBuffers.giveBack(from: &downstreams[slot].input)
        requestBuffers.giveBack(from: &downstreams[slot].request)
        outputBuffers.giveBack(from: &downstreams[slot].output)
        downstreams[slot].descriptor.close()
        _ = downstreams.remove(slot)
    }
}
