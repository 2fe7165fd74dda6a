import Shared

/// What happens on connections to instances.
extension Forwarder {
    mutating func upstreamReady(_ upstream: Int, _ readiness: Readiness) {
        switch upstreams[upstream].state {
        case .idle:
            // Bytes or an end that nobody asked for: of no more use.
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) {
                removeIdle(upstream)
                closeUpstream(upstream)
            }
        case .connecting:
            if !readiness.isDisjoint(with: [.error, .hangUp]) {
                let error = Socket.pendingError(upstreams[upstream].descriptor) ?? .connectionRefused
                return upstreamFailed(upstream, error == .timedOut ? .connectTimeout : .connect(error))
            }
            guard readiness.contains(.writable) else { return }
            if Socket.isConnectedToItself(upstreams[upstream].descriptor, upstreams[upstream].address) {
                return upstreamFailed(upstream, .connect(.connectionRefused))
            }
            upstreams[upstream].state = .busy
            downstreams[upstreams[upstream].downstream].record?.connected()
            if !readiness.isDisjoint(with: [.readable, .peerClosed]) { upstreams[upstream].mayRead = true }
            if readiness.contains(.peerClosed) { upstreams[upstream].sawEnd = true }
            let generation = upstreams.generation(upstream)
            sendRequest(upstreams[upstream].downstream)
            // An instance may speak first, and the event does not come again.
            if upstreams.holds(upstream, generation), upstreams[upstream].mayRead { readResponse(upstream) }
        case .tunnel:
            let slot = upstreams[upstream].downstream
            // An error comes behind what was received before it.
            if !readiness.isDisjoint(with: [.peerClosed, .hangUp, .error]) { upstreams[upstream].sawEnd = true }
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) {
                upstreams[upstream].mayRead = true
            }
            let generation = upstreams.generation(upstream)
            relayToClient(upstream)
            if upstreams.holds(upstream, generation), readiness.contains(.writable) { relayToInstance(slot) }
        case .busy:
            let slot = upstreams[upstream].downstream
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) {
                upstreams[upstream].mayRead = true
                if !readiness.isDisjoint(with: [.peerClosed, .hangUp, .error]) { upstreams[upstream].sawEnd = true }
                let generation = upstreams.generation(upstream)
                if !upstreams[upstream].isPaused { readResponse(upstream) }
                guard upstreams.holds(upstream, generation), upstreams[upstream].downstream == slot else { return }
            }
            if readiness.contains(.writable),
                downstreams[slot].requestSent < downstreams[slot].request.count || !downstreams[slot].requestIsComplete
            {
                sendRequest(slot)
            }
        }
    }

    // MARK: The request's way

    /// Sends the request as far as it is here and the instance takes it, and fetches more of its body.
    mutating func sendRequest(_ slot: Int) {
        let upstream = downstreams[slot].exchange.upstream
        guard upstream >= 0, upstreams[upstream].state == .busy else { return }
        var budget = Limits.relayBytesPerTurn
        while true {
            let sent = downstreams[slot].requestSent
            let count = downstreams[slot].request.count
            if sent < count {
                let result = upstreams[upstream].descriptor.send(
                    downstreams[slot].request.bytes.extracting(sent..<count))
                guard let moved = result.count else {
                    if result.isAgain { return awaitBytes(slot) }
                    // An answer may have come before the end: it is worth more than the error.
                    upstreams[upstream].sawEnd = true
                    upstreams[upstream].mayRead = true
                    return readResponse(upstream)
                }
                downstreams[slot].exchange.hasSent = true
                downstreams[slot].exchange.wasSent = true
                downstreams[slot].requestSent = sent &+ moved
                budget -= moved
                continue
            }
            if downstreams[slot].requestIsComplete {
                let service = downstreams[slot].exchange.service
                if services[service].policy.balance == .peakEWMA {
                    downstreams[slot].exchange.sentAt = Clock.monotonicNanoseconds()
                }
                return setDeadline(slot, loop.now + services[service].policy.firstByteTimeoutMilliseconds)
            }
            if budget <= 0 {
                unfinished.append(EventKind.downstream.token(slot, downstreams.generation(slot)))
                return
            }
            if downstreams[slot].input.isEmpty {
                switch receive(slot) {
                case .bytes: downstreams[slot].exchange.expectsContinue = false
                case .nothing: return awaitBody(slot)
                case .gone: return
                }
            }
            // What was sent is kept for another try as long as there is room behind it.
            if downstreams[slot].request.free < Limits.forwardedTrailerBytes + 1024 {
                downstreams[slot].request.removeAll()
                downstreams[slot].requestSent = 0
                downstreams[slot].requestHost = nil
                downstreams[slot].exchange.isReplayable = false
            }
            do throws(HTTPFault) {
                try appendBody(slot)
            } catch {
                return refuseBody(slot, error)
            }
        }
    }

    /// The client is to send more of its body; where it waits for 100 (Continue) the instance is to speak.
    @inline(__always)
    private mutating func awaitBody(_ slot: Int) {
        guard downstreams[slot].exchange.expectsContinue else { return awaitBytes(slot) }
        let service = downstreams[slot].exchange.service
        setDeadline(slot, loop.now + services[service].policy.firstByteTimeoutMilliseconds)
    }

    /// The exchange waits for the next piece of a body, in whichever direction.
    @inline(__always)
    mutating func awaitBytes(_ slot: Int) {
        setDeadline(slot, loop.now + services[downstreams[slot].exchange.service].policy.idleTimeoutMilliseconds)
    }

    /// The request's body is not what its head promised. Where part of an answer has gone out, only a cut can say so.
    private mutating func refuseBody(_ slot: Int, _ fault: HTTPFault) {
        if downstreams[slot].exchange.hasForwarded {
            Socket.resetOnClose(downstreams[slot].descriptor)
            endExchange(slot, .cut)
            return closeDownstream(slot)
        }
        let wasSent = downstreams[slot].exchange.wasSent
        answer(
            slot, OwnAnswer(fault.status, "Bad request: \(fault.reason)", error: "http_request_error", wasSent: wasSent)
        )
    }

    /// Moves what is here of a request's body behind its head, framed anew, as far as there is room.
    mutating func appendBody(_ slot: Int) throws(HTTPFault) {
        let downstreams = downstreams
        while !downstreams[slot].requestIsComplete, !downstreams[slot].input.isEmpty {
            // A chunk's frame, and the trailers at the end, must fit behind it.
            // So must the Host of another instance, if it is to be put in.
            let room =
                downstreams[slot].request.free
                - (downstreams[slot].requestIsChunked ? Limits.forwardedTrailerBytes + 64 : 0)
                - (downstreams[slot].requestHost != nil ? Limits.authorityBytes : 0)
            guard room > 0 else { return }
            let bytes = downstreams[slot].input.bytes.extracting(first: room)
            var position = 0
            switch try downstreams[slot].requestBody.next(bytes, &position) {
            case .data(let start, let count):
                downstreams[slot].requestBodyBytes &+= UInt64(count)
                if let limit = settings.bodyBytes, downstreams[slot].requestBodyBytes > limit {
                    throw HTTPFault(413, "a body of more than \(ByteSize.text(limit))")
                }
                let data = bytes.extracting(start..<start &+ count)
                if downstreams[slot].requestIsChunked {
                    downstreams[slot].request.append(hexadecimal: UInt64(count))
                    downstreams[slot].request.append("\r\n")
                    downstreams[slot].request.append(data)
                    downstreams[slot].request.append("\r\n")
                } else {
                    downstreams[slot].request.append(data)
                    downstreams[slot].requestIsComplete = downstreams[slot].requestBody.isComplete
                }
            case .needsMore: break
            case .end:
                if downstreams[slot].requestIsChunked {
                    // Bad trailers are an incomplete request: nothing behind them is read as the next one.
                    let trailers = try downstreams[slot].requestBody.forwardableTrailers()
                    downstreams[slot].request.append("0\r\n")
                    downstreams[slot].request.append(trailers)
                    downstreams[slot].request.append("\r\n")
                }
                downstreams[slot].requestIsComplete = true
            }
            downstreams[slot].input.consume(position)
            downstreams[slot].record?.received(position)
            downstreams[slot].exchange.tally.bytesReceived &+= UInt64(position)
        }
    }

    // MARK: Failures

    /// The connection to the instance is of no more use.
    mutating func upstreamFailed(_ upstream: Int, _ fault: UpstreamFault) {
        let slot = upstreams[upstream].downstream
        let isReused = upstreams[upstream].isReused
        closeUpstream(upstream)
        downstreams[slot].exchange.upstream = -1
        judge(slot, fault, isReused: isReused)
    }

    /// Counts the evidence and does what the retry law says. The request no longer occupies the instance, before anything else
    /// is begun.
    mutating func judge(_ slot: Int, _ fault: UpstreamFault, isReused: Bool) {
        let instance = downstreams[slot].exchange.instance
        // A failed reused connection accuses nobody.
        let address = downstreams[slot].exchange.address
        if fault.accuses, !isReused { accuse(instance, address, fault) }
        if fault == .closed, !isReused, !downstreams[slot].exchange.hasForwarded { weakenAddress(instance, address) }
        let service = downstreams[slot].exchange.service
        if fault == .timeout, !downstreams[slot].exchange.hasForwarded {
            // What was answered while it was being sent says nothing of the time since: the first tenth of the wait does not count.
            let waited = services[service].policy.firstByteTimeoutMilliseconds
            let since = loop.now - min(loop.now, waited - waited / 10)
            let answeredAt =
                address.flatMap {
                    instances[instance].addresses.answeredAt($0, of: instances[instance].state.addresses)
                }
                ?? instances[instance].answeredAt
            weaken(instance, address, answeredAt < since ? .silence : .timeout)
        }
        countFailure(slot, fault)
        let wasRetrying = downstreams[slot].exchange.isRetrying
        let tries = services[service].policy.tries
        let action = downstreams[slot].exchange.failed(
            fault, isReused: isReused, budget: services[service].allowsRetry, tries: tries,
            addresses: instances[instance].state.addresses)
        if downstreams[slot].exchange.isRetrying, !wasRetrying { services[service].retrying += 1 }
        switch action {
        case .freshConnection:
            // It stays at this instance, whose slot must not be freed in between.
            connect(slot, to: instance, fresh: true)
            leaveInstance(instance)
        case .nextAddress:
            connect(slot, to: instance, fresh: false)
            leaveInstance(instance)
        case .nextInstance:
            leaveInstance(instance)
            connectSomewhere(slot, after: fault)
        case .answer:
            leaveInstance(instance)
            answer(slot, .failed(fault, wasSent: downstreams[slot].exchange.wasSent))
        case .cut:
            leaveInstance(instance)
            downstreams[slot].record?.cause = fault.words
            cut(slot)
        }
    }

    /// Part of an answer has gone out and the rest will not come: the client must see that it is not whole.
    private mutating func cut(_ slot: Int) {
        if downstreams[slot].responseEndsWithConnection {
            // Only a reset tells this end from the proper one.
            Socket.resetOnClose(downstreams[slot].descriptor)
            endExchange(slot, .cut)
            return closeDownstream(slot)
        }
        // What has come is still the client's: a reset would eat it.
        endExchange(slot, .cut)
        abandonExchange(slot)
        requestBuffers.giveBack(from: &downstreams[slot].request)
        downstreams[slot].exchange.keepsClient = false
        finishAnswer(slot)
    }

    /// The process ends while exchanges are under way: each is counted and has its line, and no client takes a part of an answer for
    /// the whole.
    mutating func cutUnfinished() {
        for slot in 0..<downstreams.highWater where downstreams.isInUse(slot) {
            switch downstreams[slot].state {
            case .tunnel: Socket.resetOnClose(downstreams[slot].descriptor)
            case .exchange, .flushing:
                if downstreams[slot].responseEndsWithConnection { Socket.resetOnClose(downstreams[slot].descriptor) }
            case .idle, .head, .lingering: continue
            }
            endExchange(slot, .cut)
            downstreams[slot].descriptor.close()
        }
    }

    /// Evidence against an instance: avoided here at once, and discoveryd is told.
    private mutating func accuse(_ instance: Int, _ address: SocketAddress?, _ fault: UpstreamFault) {
        observed(instance, fault.words)
        let addresses = instances[instance].state.addresses
        if let address, addresses.count > 1 {
            let outcome = instances[instance].addresses.failed(address, of: addresses, now: loop.now, random: &random)
            noteAvoided(instance, address, outcome, fault.words)
            guard outcome == .allAvoided else { return }
        }
        // That nothing listens there is proof; anything else takes out no more than half of a service.
        if case .connect = fault { return eject(instance, fault.words) }
        if mayEjectMore(instance) { eject(instance, fault.words) }
    }

    /// An instance answers 5xx, or not in time: enough of that in a row is evidence, too.
    mutating func weaken(_ instance: Int, _ address: SocketAddress?, _ weakness: PassiveHealth.Weakness) {
        let words =
            switch weakness {
            case .silence: "timed out, and nothing else was answered meanwhile"
            case .timeout: "time-outs in a row"
            case .serverError: "\(Limits.badAnswersInRow) answers of 5xx in a row"
            }
        let addresses = instances[instance].state.addresses
        if let address, addresses.count > 1 {
            let outcome = instances[instance].addresses.weakened(
                address, weakness, of: addresses, now: loop.now, random: &random)
            if outcome != .nothing { observed(instance, words) }
            return noteAvoided(instance, address, outcome, words)
        }
        guard instances[instance].passive.weakened(weakness), !instances[instance].passive.isEjected else { return }
        observed(instance, words)
        if mayEjectMore(instance) { eject(instance, words) }
    }

    /// An address of several closes a new connection without an answer: the others may do better.
    private mutating func weakenAddress(_ instance: Int, _ address: SocketAddress?) {
        let addresses = instances[instance].state.addresses
        guard let address, addresses.count > 1 else { return }
        let outcome = instances[instance].addresses.weakened(
            address, .timeout, of: addresses, now: loop.now, random: &random)
        noteAvoided(instance, address, outcome, UpstreamFault.closed.words)
    }

    private func noteAvoided(
        _ instance: Int, _ address: SocketAddress, _ outcome: AddressEvidence.Outcome, _ words: String
    ) {
        guard case .avoided(let span) = outcome else { return }
        let (service, url) = (instances[instance].service, instances[instance].url)
        log.info("\(service) \(url): its address \(address) is avoided for \(span) ms: \(words)")
    }

    /// Whether half of the service's instances stay without an ejection when this one has one.
    private func mayEjectMore(_ instance: Int) -> Bool {
        let service = instances[instance].serviceIndex
        guard service >= 0 else { return true }
        var (usable, ejected) = (0, 0)
        for slot in services[service].instances {
            let one = instances[Int(slot)]
            guard one.state.status == .up, !one.state.draining else { continue }
            usable += 1
            if one.passive.isEjected { ejected += 1 }
        }
        return (ejected + 1) * 2 <= usable
    }

    private mutating func eject(_ instance: Int, _ words: String) {
        guard let span = instances[instance].passive.failed(now: loop.now, random: &random) else { return }
        instances[instance].evidence = (words, loop.now)
        countEjection(instance, true)
        log.info("\(instances[instance].service) \(instances[instance].url) ejected for \(span) ms: \(words)")
        _ = loop.schedule(EventKind.ejectionEnd.token(instance, instances.generation(instance)), after: span)
        factsChanged(instance)
    }

    mutating func ejectionEnded(_ instance: Int) {
        guard let until = instances[instance].passive.ejectedUntil, until <= loop.now else { return }
        instances[instance].passive.expire()
        countEjection(instance, false)
        factsChanged(instance)
    }

    mutating func factsChanged(_ instance: Int) {
        let service = instances[instance].serviceIndex
        guard service >= 0 else { return }
        services[service].isStale = true
        noteRoom(service)
    }

    /// Ends the exchange's part at the instance: the client is gone, or gets an answer of ours.
    mutating func abandonExchange(_ slot: Int) {
        leaveQueue(slot)
        let upstream = downstreams[slot].exchange.upstream
        if upstream >= 0 {
            let instance = upstreams[upstream].instance
            closeUpstream(upstream)
            leaveInstance(instance)
            downstreams[slot].exchange.upstream = -1
        }
        leaveService(slot)
    }

    /// The exchange no longer counts in its service.
    mutating func leaveService(_ slot: Int) {
        let service = downstreams[slot].exchange.service
        guard service >= 0 else { return }
        downstreams[slot].exchange.service = -1
        guard service < services.count else { return }
        services[service].active -= 1
        if downstreams[slot].exchange.isRetrying { services[service].retrying -= 1 }
    }
}
