import Shared

/// The beginning of an exchange: a head is read, it is decided where the request goes, and the canonical request is written.
extension Forwarder {
    /// Reads a head from the input and begins its exchange. False: the head is not whole yet.
    mutating func beginRequest(_ slot: Int) -> Bool {
        let downstreams = downstreams
        let bounds = requestBounds
        do throws(HTTPFault) {
            guard try requestHead.parse(downstreams[slot].input.bytes, bounds: bounds) else { return false }
        } catch {
            refuseHead(slot)
            answer(slot, OwnAnswer(error.status, "Bad request: \(error.reason)", error: "http_request_error"))
            return true
        }
        begin(slot)
        return true
    }

    /// Makes ready for an answer to a head that was not understood.
    mutating func refuseHead(_ slot: Int) {
        downstreams[slot].exchange = Exchange()
        downstreams[slot].exchange.isHead = beginsWithHEAD(slot)
        if accessLog.isOn { downstreams[slot].record = AccessRecord(client: downstreams[slot].peer) }
        downstreams[slot].requestIsComplete = false
        downstreams[slot].requestID.make(random.next(), random.next())
        countBegin(slot, bytes: 0)
    }

    /// What can be known of a bad head: an answer to HEAD has no body, whatever else is wrong.
    private func beginsWithHEAD(_ slot: Int) -> Bool {
        let bytes = downstreams[slot].input.bytes
        return bytes.spells("HEAD ", at: 0) || bytes.spells("\r\nHEAD ", at: 0)
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
        downstreams[slot].exchange.expectsContinue = requestHead.fields.expects && requestHead.minorVersion >= 1
        downstreams[slot].requestBody = BodyDecoder(
            requestHead.framing, status: 400,
            excluding: requestHead.fields.nominated.isEmpty
                ? [] : requestHead.fields.nominatedNames(in: downstreams[slot].input.bytes),
            maxFields: settings.headFields)
        downstreams[slot].requestIsChunked = requestHead.framing == .chunked
        downstreams[slot].requestIsComplete = downstreams[slot].requestBody.isComplete
        downstreams[slot].requestBodyBytes = 0
        downstreams[slot].requestID.make(random.next(), random.next())
        if requestHead.fields.requestIDIndex >= 0 {
            downstreams[slot].requestID.take(requestHead, downstreams[slot].input.bytes)
        }
        believed =
            downstreams[slot].isTrusted && requestHead.fields.hasForwarded
            ? Self.believed(
                requestHead.fields, downstreams[slot].input.bytes, sender: downstreams[slot].peer, settings) : nil
        if accessLog.isOn { beginRecord(slot) }
        countBegin(slot, bytes: requestHead.byteCount)
        switch decide(requestHead, downstreams[slot].input.bytes) {
        case .own(let own):
            downstreams[slot].input.consume(requestHead.byteCount)
            discardBody(slot)
            answer(slot, own)
        case .forward(let route): forward(slot, route)
        }
    }

    /// A body that has come whole with its head is taken away, so that the connection can go on after an answer of ours.
    private func discardBody(_ slot: Int) {
        let downstreams = downstreams
        while !downstreams[slot].requestIsComplete, !downstreams[slot].input.isEmpty {
            var position = 0
            guard let piece = try? downstreams[slot].requestBody.next(downstreams[slot].input.bytes, &position) else {
                return
            }
            if piece == .end {
                guard (try? downstreams[slot].requestBody.forwardableTrailers()) != nil else { return }
            }
            downstreams[slot].input.consume(position)
            downstreams[slot].requestIsComplete = downstreams[slot].requestBody.isComplete
        }
    }

    /// For whom a trusted sender asks.
    static func believed(
        _ fields: FieldLines, _ bytes: Span<UInt8>, sender: [UInt8], _ settings: ForwarderSettings
    ) -> BelievedClient {
        BelievedClient(fields, bytes, sender: sender) { settings.isTrusted($0) }
    }

    private func beginRecord(_ slot: Int) {
        let bytes = downstreams[slot].input.bytes
        let record = AccessRecord(client: believed?.address ?? downstreams[slot].peer)
        record.method = bytes.array(requestHead.methodStart, min(64, requestHead.methodCount))
        record.target = bytes.array(requestHead.targetStart, requestHead.targetCount)
        if record.target.isEmpty { record.target = [requestHead.form == .asterisk ? 0x2a : 0x2f] }
        record.minorVersion = requestHead.minorVersion
        record.received(requestHead.byteCount)
        downstreams[slot].record = record
    }

    enum Decision {
        case own(OwnAnswer)
        case forward(RouteTable.Route)
    }

    /// Where a request goes: to a service, or it is answered here.
    func decide(_ requestHead: borrowing RequestHead, _ bytes: Span<UInt8>) -> Decision {
        // HTTP/1.0 does not know it.
        if requestHead.fields.hasUnknownExpect, requestHead.minorVersion >= 1 {
            return .own(OwnAnswer(417, "Only Expect: 100-continue is understood", error: "http_request_error"))
        }
        if requestHead.method == .trace || requestHead.method == .options, requestHead.fields.maxForwardsIsZero {
            // We are the last one that was meant (RFC 9110 7.6.2).
            return .own(
                requestHead.method == .trace
                    ? OwnAnswer(501, "TRACE is not answered here", error: nil) : OwnAnswer(200, "Success", error: nil))
        }
        if let limit = settings.bodyBytes, let length = requestHead.fields.contentLength, length > limit {
            return .own(
                OwnAnswer(413, "A body of more than \(ByteSize.text(limit))", error: "http_request_error"))
        }
        if settings.answersReady, requestHead.pathCount == 16,
            bytes.spells("/.serverpy/ready", at: requestHead.targetStart)
        {
            return ready()
        }
        guard version != nil else {
            return .own(
                OwnAnswer(
                    503, OwnAnswer.failureWords, error: "destination_unavailable",
                    cause: "no snapshot from the discovery server yet"))
        }
        if requestHead.fields.viaCount > 0, loops(requestHead, bytes) {
            return .own(
                OwnAnswer(
                    508, OwnAnswer.failureWords, error: "proxy_loop_detected",
                    cause: "this request has passed here more than 8 times"))
        }
        if requestHead.form == .asterisk {
            guard let root = routes.root else { return .own(OwnAnswer(200, "Success", error: nil)) }
            return .forward(root)
        }
        if let route = routes.route(bytes, requestHead.targetStart, requestHead.pathCount) {
            return .forward(route)
        }
        if requestHead.pathCount <= 1, settings.answersReady { return .own(OwnAnswer(200, "Success", error: nil)) }
        return .own(OwnAnswer(404, "No API found with provided endpoint", error: "destination_not_found"))
    }

    private func ready() -> Decision {
        let isReady = version != nil && !isDraining
        return .own(
            OwnAnswer(isReady ? 200 : 503, isReady ? "ready" : isDraining ? "draining" : "no snapshot yet", error: nil))
    }

    /// Our own Via more than 8 times: a loop. Entries are `protocol name (comment)` (RFC 9110 7.6.3).
    private func loops(_ head: RequestHead, _ bytes: Span<UInt8>) -> Bool {
        var own = 0
        for line in head.fields.lines where line.name == .via {
            let end = Int(line.valueStart) + Int(line.valueCount)
            var index = Int(line.valueStart)
            var depth = 0
            var wordStart = index
            while index <= end {
                let byte = index < end ? bytes[index] : 0x2c
                if byte == 0x28 {
                    depth += 1
                } else if byte == 0x29, depth > 0 {
                    depth -= 1
                } else if depth == 0, byte == 0x20 || byte == 0x09 || byte == 0x2c {
                    if isOwnName(bytes, wordStart, index) { own += 1 }
                    wordStart = index + 1
                }
                index += 1
            }
        }
        return own > 8
    }

    private func isOwnName(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
        guard end - start == identity.via.count else { return false }
        for offset in 0..<identity.via.count {
            let (a, b) = (bytes[start + offset], identity.via[offset])
            if (a &- 0x41 < 26 ? a | 0x20 : a) != (b &- 0x41 < 26 ? b | 0x20 : b) { return false }
        }
        return true
    }

    private mutating func forward(_ slot: Int, _ route: RouteTable.Route) {
        let downstreams = downstreams
        let (service, matched) = (route.service, route.matched)
        countRoute(slot, route.path)
        downstreams[slot].request = requestBuffers.lease()
        guard downstreams[slot].request.isLeased else {
            downstreams[slot].input.consume(requestHead.byteCount)
            return answer(
                slot,
                OwnAnswer(503, OwnAnswer.failureWords, error: "proxy_internal_error", cause: "no buffers are left"))
        }
        downstreams[slot].exchange.service = service
        services[service].active += 1
        if case .hash(let by) = services[service].policy.balance {
            downstreams[slot].exchange.key = HashKey.value(
                by, requestHead, downstreams[slot].input.bytes, client: believed?.address ?? downstreams[slot].peer)
        }
        if let record = downstreams[slot].record {
            record.service = services[service].name
            let route = downstreams[slot].input.bytes.array(requestHead.targetStart, matched)
            record.route = matched == 0 ? "/" : String(decoding: route, as: UTF8.self)
        }
        if !downstreams[slot].offeredUpgrade.isEmpty { downstreams[slot].offeredUpgrade = [] }
        var upgrade: [UInt8] = []
        if requestHead.fields.upgradeIndex >= 0 {
            guard let offer = UpgradeProtocols.offer(of: requestHead, downstreams[slot].input.bytes) else {
                return refuseForm(slot, "Upgrade names something that is not a protocol")
            }
            upgrade = offer
            downstreams[slot].offeredUpgrade = upgrade
        }
        if services[service].policy.stripsPrefix, matched > 0,
            Self.beginsAnotherAuthority(
                downstreams[slot].input.bytes, requestHead.targetStart + matched, requestHead.pathCount - matched)
        {
            return refuseForm(slot, "behind the prefix the path begins with a separator that could mean another host")
        }
        downstreams[slot].request.removeAll()
        let host = ForwardedRequest.write(
            requestHead, downstreams[slot].input.bytes, skipping: services[service].policy.stripsPrefix ? matched : 0,
            upgrade: upgrade, isTrusted: downstreams[slot].isTrusted, believed: believed,
            peer: downstreams[slot].peer, requestID: downstreams[slot].requestID.made, identity: identity,
            authority: defaultAuthority(service), to: &downstreams[slot].request)
        downstreams[slot].requestHost = services[service].policy.sendsInstanceHost ? host : nil
        downstreams[slot].requestSent = 0
        downstreams[slot].input.consume(requestHead.byteCount)
        do throws(HTTPFault) {
            try appendBody(slot)
        } catch {
            return answer(slot, OwnAnswer(error.status, "Bad request: \(error.reason)", error: "http_request_error"))
        }
        connectSomewhere(slot, after: nil)
    }

    /// A request whose head is understood and cannot be forwarded in its form.
    private mutating func refuseForm(_ slot: Int, _ reason: String) {
        downstreams[slot].input.consume(requestHead.byteCount)
        discardBody(slot)
        answer(slot, OwnAnswer(400, "Bad request: \(reason)", error: "http_request_error"))
    }

    /// Whether what is left of a path begins with what programs take for two separators: a backslash, `%2f` or `%5c` behind slashes,
    /// or a second slash of any kind behind what some of them leave out: path parameters (`;x`), encoded blanks and control bytes.
    /// `/\host` and `//host` name a host to whoever puts such a path into a Location field.
    static func beginsAnotherAuthority(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Bool {
        var index = start
        let end = start + count
        while index < end, bytes[index] == 0x2f { index += 1 }
        var hasLeftOut = false
        while index < end {
            switch bytes[index] {
            case 0x5c: return true
            case 0x2f: return hasLeftOut
            case 0x3b:
                while index < end, bytes[index] != 0x2f, bytes[index] != 0x5c { index += 1 }
                hasLeftOut = true
            case 0x25:
                guard index + 2 < end, let high = Text.hexValue(bytes[index + 1]),
                    let low = Text.hexValue(bytes[index + 2])
                else { return false }
                switch high << 4 | low {
                case 0x2f, 0x5c: return true
                case 0...0x20, 0x7f: hasLeftOut = true
                default: return false
                }
                index += 3
            default: return false
            }
        }
        return false
    }

    /// The Host for a request that has none: HTTP/1.0.
    private func defaultAuthority(_ service: Int) -> [UInt8] {
        guard let first = services[service].instances.first else { return Array("localhost".utf8) }
        return instances[Int(first)].authority
    }
}
