import Shared

/// The answer's way: from an instance, understood, framed anew, to the client. What the client does not take at once waits
/// in one buffer, and until it has gone nothing more is read from the instance.
extension Forwarder {
    /// What has become of an exchange by the bytes that were just understood. It is acted upon when the common buffers are
    /// back in their places: what follows may need them.
    enum Relayed {
        case goesOn
        /// The answer is complete.
        case complete
        /// The protocol has changed: a tunnel.
        case upgraded
        case failed(UpstreamFault)
        /// The client's connection has been closed, and with it the exchange.
        case gone
    }

    /// Reads an instance's answer and passes it on, as long as there is something and the client keeps up.
    mutating func readResponse(_ upstream: Int) {
        // What was left over for a later turn may have been done meanwhile.
        guard upstreams[upstream].state == .busy else { return }
        let slot = upstreams[upstream].downstream
        let generation = upstreams.generation(upstream)
        var budget = Limits.relayBytesPerTurn
        while upstreams[upstream].mayRead {
            if !downstreams[slot].output.isEmpty {
                upstreams[upstream].isPaused = true
                return
            }
            if budget <= 0 {
                unfinished.append(EventKind.upstream.token(upstream, generation))
                return
            }
            // A head that came in pieces continues in its own buffer, everything else passes through the common one.
            var buffer = Buffer.none
            if upstreams[upstream].input.isLeased {
                swap(&buffer, &upstreams[upstream].input)
                buffer.compact()
            } else {
                swap(&buffer, &received)
                buffer.removeAll()
            }
            let free = buffer.free
            let result = buffer.receive(from: upstreams[upstream].descriptor)
            guard let count = result.count, count > 0 else {
                putBack(&buffer, upstream)
                if result.count == nil, result.isAgain {
                    // An announced end comes behind what has been read.
                    upstreams[upstream].mayRead = false
                    if !upstreams[upstream].sawEnd { return }
                    return upstreamEnded(upstream, nil)
                }
                return upstreamEnded(upstream, result.count == nil ? result.error : nil)
            }
            budget -= count
            if count < free, !upstreams[upstream].sawEnd { upstreams[upstream].mayRead = false }
            let relayed = take(&buffer, upstream, slot)
            putBack(&buffer, upstreams.holds(upstream, generation) ? upstream : -1)
            switch relayed {
            case .goesOn: break
            case .gone: return
            case .failed(let fault): return upstreamFailed(upstream, fault)
            case .upgraded: return beginTunnel(upstream, slot)
            case .complete:
                finishExchange(upstream, slot)
                return serveIfMore(slot)
            }
        }
    }

    /// Returns the common buffer to its place; what is left of a partial head stays with the connection.
    private mutating func putBack(_ buffer: inout Buffer, _ upstream: Int) {
        if buffer.capacity == Limits.relayBufferBytes {
            swap(&buffer, &received)
            if upstream >= 0, !received.isEmpty, upstreams[upstream].state == .busy {
                upstreams[upstream].input = requestBuffers.lease()
                if upstreams[upstream].input.free >= received.count { upstreams[upstream].input.append(received.bytes) }
            }
            received.removeAll()
        } else if upstream >= 0, !buffer.isEmpty {
            swap(&buffer, &upstreams[upstream].input)
        } else {
            requestBuffers.giveBack(from: &buffer)
        }
    }

    /// Understands what has been received and sends it on.
    private mutating func take(_ buffer: inout Buffer, _ upstream: Int, _ slot: Int) -> Relayed {
        let downstreams = downstreams
        outgoing.removeAll()
        while !downstreams[slot].hasResponseHead {
            do throws(HTTPFault) {
                guard
                    try responseHead.parse(
                        buffer.bytes, maxBytes: settings.headBytes, maxFields: settings.headFields)
                else {
                    // Interim answers that came before are on their way.
                    return outgoing.isEmpty || sendOutgoing(slot, Span()) ? .goesOn : .gone
                }
                if responseHead.status == 101 {
                    try checkUpgrade(buffer.bytes, slot)
                    return takeUpgrade(&buffer, slot)
                }
            } catch {
                buffer.removeAll()
                return .failed(.malformed(error.reason))
            }
            if responseHead.isInterim {
                downstreams[slot].exchange.expectsContinue = false
                // Not to HTTP/1.0 clients (RFC 9110 15.2).
                if !downstreams[slot].exchange.clientIsHTTP10 {
                    guard outgoing.free > settings.headBytes + Limits.addedHeadBytes else {
                        buffer.removeAll()
                        return .failed(.malformed("too many interim answers at once"))
                    }
                    ForwardedResponse.write(
                        responseHead, buffer.bytes, framing: .asGiven, closes: false, keepAliveToHTTP10: false,
                        identity: identity, date: date, to: &outgoing)
                }
                buffer.consume(responseHead.byteCount)
                continue
            }
            // Interim answers go first: a final head and a full buffer behind it need all the room.
            if !outgoing.isEmpty, !sendOutgoing(slot, Span()) { return .gone }
            writeFinalHead(buffer.bytes, upstream, slot)
            buffer.consume(responseHead.byteCount)
        }
        return relayBody(&buffer, upstream, slot)
    }

    /// An instance changes the protocol only to one that the client has offered (RFC 9110 7.8).
    private func checkUpgrade(_ bytes: borrowing Span<UInt8>, _ slot: Int) throws(HTTPFault) {
        let fields = responseHead.fields
        let offered = downstreams[slot].offeredUpgrade
        guard !offered.isEmpty else { throw HTTPFault(502, "101 without an upgrade") }
        guard fields.upgradeIndex >= 0, fields.connectionUpgrade else {
            throw HTTPFault(502, "101 without Upgrade and Connection: upgrade")
        }
        guard UpgradeProtocols.allows(fields.upgrade(in: bytes), offered: offered) else {
            throw HTTPFault(502, "101 with a protocol that was not offered")
        }
    }

    /// The answer 101, and what the instance has sent behind it.
    private mutating func takeUpgrade(_ buffer: inout Buffer, _ slot: Int) -> Relayed {
        ForwardedResponse.write(
            responseHead, buffer.bytes, framing: .asGiven, closes: false, keepAliveToHTTP10: false, identity: identity,
            date: date, to: &outgoing)
        buffer.consume(responseHead.byteCount)
        downstreams[slot].hasResponseHead = true
        downstreams[slot].record?.status = 101
        countHead(slot, 101)
        noteAnswer(slot)
        let isHere = sendOutgoing(slot, buffer.bytes)
        buffer.removeAll()
        return isHere ? .upgraded : .gone
    }

    /// The head of the final answer, and what follows from it.
    private mutating func writeFinalHead(_ bytes: borrowing Span<UInt8>, _ upstream: Int, _ slot: Int) {
        let framing = responseHead.framing(requestWasHead: downstreams[slot].exchange.isHead)
        downstreams[slot].responseBody = BodyDecoder(
            framing, status: 502,
            excluding: responseHead.fields.nominated.isEmpty ? [] : responseHead.fields.nominatedNames(in: bytes),
            maxFields: settings.headFields)
        let isHTTP10 = downstreams[slot].exchange.clientIsHTTP10
        let clientFraming: ForwardedResponse.ClientFraming
        switch framing {
        case .none, .length: clientFraming = .asGiven
        case .chunked, .untilClose: clientFraming = isHTTP10 ? .untilClose : .chunked
        }
        downstreams[slot].responseIsChunked = clientFraming == .chunked
        downstreams[slot].responseEndsWithConnection = clientFraming == .untilClose
        // An answer before the request's end: the rest of the request is not wanted.
        if clientFraming == .untilClose || !downstreams[slot].requestIsComplete || isDraining {
            downstreams[slot].exchange.keepsClient = false
        }
        upstreams[upstream].keepsAlive = responseHead.keepsAlive && framing != .untilClose
        if let seconds = responseHead.fields.announcedTimeout(in: bytes) {
            upstreams[upstream].announcedTimeoutMilliseconds = seconds * 1000
        }
        refreshDate()
        let keeps = downstreams[slot].exchange.keepsClient
        ForwardedResponse.write(
            responseHead, bytes, framing: clientFraming, closes: !keeps, keepAliveToHTTP10: isHTTP10 && keeps,
            identity: identity,
            date: date, to: &outgoing)
        downstreams[slot].hasResponseHead = true
        downstreams[slot].record?.status = responseHead.status
        countHead(slot, responseHead.status)
        noteAnswer(slot)
    }

    /// The instance has answered: what that says of it.
    private mutating func noteAnswer(_ slot: Int) {
        downstreams[slot].record?.firstByte()
        let instance = downstreams[slot].exchange.instance
        instances[instance].answeredAt = loop.now
        let isGood = downstreams[slot].exchange.tally.status < 500
        if instances[instance].state.addresses.count > 1, let address = downstreams[slot].exchange.address {
            instances[instance].addresses.answered(
                address, of: instances[instance].state.addresses, isGood: isGood, now: loop.now)
        }
        if isGood {
            instances[instance].passive.succeeded()
        } else {
            weaken(instance, downstreams[slot].exchange.address, .serverError)
        }
        let sentAt = downstreams[slot].exchange.sentAt
        if sentAt != 0 {
            let microseconds = Double(Clock.monotonicNanoseconds() &- sentAt) / 1000
            instances[instance].latency.observe(microseconds: microseconds, now: loop.now)
        }
    }

    /// Passes on what is here of the body.
    private mutating func relayBody(_ buffer: inout Buffer, _ upstream: Int, _ slot: Int) -> Relayed {
        let downstreams = downstreams
        while !downstreams[slot].responseBody.isComplete, !buffer.isEmpty {
            var position = 0
            let piece: ChunkedDecoder.Piece
            do throws(HTTPFault) {
                piece = try downstreams[slot].responseBody.next(buffer.bytes, &position)
                if piece == .end, downstreams[slot].responseIsChunked || downstreams[slot].responseBody.isChunked {
                    // Bad ones are a bad answer also where they are not passed on.
                    let trailers = try downstreams[slot].responseBody.forwardableTrailers()
                    if downstreams[slot].responseIsChunked {
                        outgoing.append("0\r\n")
                        outgoing.append(trailers)
                        outgoing.append("\r\n")
                    }
                }
            } catch {
                buffer.removeAll()
                return .failed(.malformed(error.reason))
            }
            switch piece {
            case .data(let start, let count):
                if downstreams[slot].responseIsChunked {
                    outgoing.append(hexadecimal: UInt64(count))
                    outgoing.append("\r\n")
                    outgoing.append(buffer.bytes.extracting(start..<start &+ count))
                    outgoing.append("\r\n")
                } else if count <= Limits.copiedBodyBytes || downstreams[slot].responseBody.isChunked {
                    outgoing.append(buffer.bytes.extracting(start..<start &+ count))
                } else {
                    // Large and framed as it came: sent from where it is.
                    guard sendOutgoing(slot, buffer.bytes.extracting(start..<start &+ count)) else {
                        buffer.removeAll()
                        return .gone
                    }
                }
            case .needsMore, .end: break
            }
            buffer.consume(position)
        }
        let isComplete = downstreams[slot].responseBody.isComplete
        if isComplete, !buffer.isEmpty {
            // Bytes after a response are never a response: this connection is not used again.
            upstreams[upstream].keepsAlive = false
            buffer.removeAll()
        }
        if !outgoing.isEmpty {
            guard sendOutgoing(slot, Span()) else { return .gone }
        }
        if !isComplete { awaitBytes(slot) }
        return isComplete ? .complete : .goesOn
    }

    /// Sends what is in `outgoing`, and `body` behind it; keeps what the client does not take. False: the client is gone,
    /// and with it the exchange.
    mutating func sendOutgoing(_ slot: Int, _ body: borrowing Span<UInt8>) -> Bool {
        downstreams[slot].exchange.hasForwarded = downstreams[slot].hasResponseHead
        downstreams[slot].record?.sent(outgoing.count + body.count)
        downstreams[slot].exchange.tally.bytesSent &+= UInt64(truncatingIfNeeded: outgoing.count &+ body.count)
        var sent = 0
        if downstreams[slot].output.isEmpty {
            let descriptor = downstreams[slot].descriptor
            let result =
                body.isEmpty
                ? descriptor.send(outgoing.bytes)
                : outgoing.isEmpty ? descriptor.send(body) : descriptor.send(outgoing.bytes, body)
            if let count = result.count {
                sent = count
            } else if !result.isAgain {
                closeDownstream(slot)
                return false
            }
        }
        let head = outgoing.count
        if sent < head + body.count {
            if !downstreams[slot].output.isLeased {
                downstreams[slot].output = outputBuffers.lease()
            }
            guard downstreams[slot].output.free >= head + body.count - sent else {
                complain("no buffers are left; a client connection is cut", kind: "buffers")
                Socket.resetOnClose(downstreams[slot].descriptor)
                endExchange(slot, .cut)
                closeDownstream(slot)
                return false
            }
            if sent < head { downstreams[slot].output.append(outgoing.bytes.extracting(sent..<head)) }
            let bodySent = max(0, sent - head)
            downstreams[slot].output.append(body.extracting(bodySent..<body.count))
        }
        outgoing.removeAll()
        return true
    }

    /// The instance has closed or reset its connection.
    private mutating func upstreamEnded(_ upstream: Int, _ error: Errno?) {
        let slot = upstreams[upstream].downstream
        let downstreams = downstreams
        if error == nil, downstreams[slot].hasResponseHead, downstreams[slot].responseBody.endsWithConnection {
            outgoing.removeAll()
            if downstreams[slot].responseIsChunked {
                outgoing.append("0\r\n\r\n")
                guard sendOutgoing(slot, Span()) else { return }
            }
            upstreams[upstream].keepsAlive = false
            finishExchange(upstream, slot)
            return serveIfMore(slot)
        }
        // What we ourselves have no more of accuses nobody.
        upstreamFailed(upstream, error.map { $0.isOurOwn ? .closed : .reset } ?? .closed)
    }

    /// The answer is complete, as far as the instance is concerned.
    private mutating func finishExchange(_ upstream: Int, _ slot: Int) {
        let requestWasSent =
            downstreams[slot].requestIsComplete && downstreams[slot].requestSent == downstreams[slot].request.count
        let instance = upstreams[upstream].instance
        downstreams[slot].exchange.upstream = -1
        leaveService(slot)
        if upstreams[upstream].keepsAlive, requestWasSent, !upstreams[upstream].sawEnd, hasNothingMore(upstream) {
            keep(upstream)
        } else {
            closeUpstream(upstream)
        }
        if !downstreams[slot].requestIsComplete { downstreams[slot].exchange.keepsClient = false }
        leaveInstance(instance)
        requestBuffers.giveBack(from: &downstreams[slot].request)
        finishAnswer(slot)
    }

    /// Bytes after a response are never a response: where the last read may have left some, look before keeping.
    private func hasNothingMore(_ upstream: Int) -> Bool {
        guard upstreams[upstream].mayRead else { return true }
        let peeked = upstreams[upstream].descriptor.peek()
        guard peeked.count == nil, peeked.isAgain else { return false }
        upstreams[upstream].mayRead = false
        return true
    }

    /// All of the answer has been handed over: done when the client has taken it.
    mutating func finishAnswer(_ slot: Int) {
        if downstreams[slot].output.isEmpty {
            afterAnswer(slot)
        } else {
            downstreams[slot].state = .flushing
            setDeadline(slot, loop.now + Limits.betweenBytesTimeoutMilliseconds)
        }
    }
}
