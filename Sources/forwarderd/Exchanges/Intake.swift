import Shared

/// A request's head becomes an exchange: it is decided where the request goes, and the canonical request is written.
extension Forwarder {
    /// Reads a head from the client's input and begins its exchange. False: the head is not complete yet.
    mutating func beginRequest(_ client: ClientIndex) -> Bool {
        let clients = clients.slab
        do throws(HTTPFault) {
            guard
                try ClientCodec.readHead(
                    clients[client].input.bytes, to: &memory.requestHead, table.requestBounds)
            else { return false }
        } catch {
            refuse(client, OwnAnswer(error.status, "Bad request: \(error.reason)", error: "http_request_error"))
            return true
        }
        begin(client)
        return true
    }

    /// Responds to a request whose head is not understood, or not read.
    mutating func refuse(_ client: ClientIndex, _ own: OwnAnswer) {
        let clients = clients.slab
        // A response to HEAD has no body, even if the request is invalid.
        let isHead = ClientCodec.isHead(clients[client].input.bytes)
        let record = ledger.accessLog.isOn ? AccessRecord(client: peer(client)) : nil
        let tally = ledger.begin(bytes: 0, now: loop.nowNanoseconds)
        let exchange = exchanges.insert {
            Exchange(
                client: client, isHead: isHead, keepsClient: false, isIdempotent: false,
                request: PendingRequest(hasBody: true), clientCodec: .unreadable, instanceCodec: InstanceCodec(.none),
                entry: LedgerEntry(tally: tally, record: record))
        }
        add(exchange, to: client)
        drive(exchange, exchanges[exchange].receive(.refused(own)))
    }

    /// The exchange gets its id and belongs to the client, whose connection is busy.
    @inline(__always)
    private mutating func add(_ exchange: ExchangeIndex, to client: ClientIndex) {
        let clients = clients.slab
        exchanges[exchange].entry.id.make(random.next(), random.next())
        clients[client].exchanges.add(exchange)
        _ = clients[client].receive(.begun)
    }

    /// The address of a connection's client, in text. Requests one after another often come from one address.
    private mutating func peer(_ client: ClientIndex) -> [UInt8] {
        if !(memory.peerAddress?.hasSameHost(as: clients.slab[client].address) ?? false) {
            memory.peerAddress = clients.slab[client].address
            memory.peer.removeAll(keepingCapacity: true)
            clients.slab[client].address.appendHost(to: &memory.peer)
        }
        return memory.peer
    }

    private mutating func begin(_ client: ClientIndex) {
        let clients = clients.slab
        let bytes = clients[client].input.bytes
        let peer = peer(client)
        let believed =
            clients[client].isTrusted && memory.requestHead.fields.hasForwarded
            ? BelievedClient.of(memory.requestHead.fields, bytes, sender: peer, table.settings) : nil
        let record = ledger.accessLog.isOn ? record(client, believed?.address ?? peer) : nil
        let tally = ledger.begin(bytes: memory.requestHead.byteCount, now: loop.nowNanoseconds)
        let keepsClient = memory.requestHead.keepsAlive && !phase.isDraining
        let exchange = exchanges.insert {
            let framing = memory.requestHead.framing
            return Exchange(
                client: client, isHead: memory.requestHead.method == .head, keepsClient: keepsClient,
                isIdempotent: memory.requestHead.method.isIdempotent,
                request: PendingRequest(hasBody: framing != .none, withholdsBody: memory.requestHead.withholdsBody),
                clientCodec: ClientCodec(memory.requestHead, bytes, maxFields: table.settings.headFields),
                instanceCodec: InstanceCodec(framing), entry: LedgerEntry(tally: tally, record: record))
        }
        add(exchange, to: client)
        if memory.requestHead.fields.requestIDIndex >= 0 {
            exchanges[exchange].entry.id.take(memory.requestHead, bytes)
        }
        switch table.decide(memory.requestHead, bytes, identity, isDraining: phase.isDraining) {
        case .own(let own): refuse(exchange, own)
        case .forward(let route): forward(exchange, route, believed, peer: peer)
        }
    }

    private func record(_ client: ClientIndex, _ address: [UInt8]) -> AccessRecord {
        let head = memory.requestHead
        let bytes = clients.slab[client].input.bytes
        let record = AccessRecord(client: address)
        record.method = bytes.array(head.methodStart, min(64, head.methodCount))
        record.target = bytes.array(head.targetStart, head.targetCount)
        if record.target.isEmpty { record.target = [head.form == .asterisk ? 0x2a : 0x2f] }
        record.minorVersion = head.minorVersion
        record.received(head.byteCount)
        return record
    }

    /// Responds to a request whose head is understood. A body that has come with it is dropped, so that the connection can go on.
    private mutating func refuse(_ exchange: ExchangeIndex, _ own: OwnAnswer) {
        let clients = clients.slab
        let client = exchanges[exchange].client
        clients[client].input.consume(memory.requestHead.byteCount)
        if exchanges[exchange].clientCodec.discard(&clients[client].input) {
            exchanges[exchange].request.noteDiscarded()
        }
        drive(exchange, exchanges[exchange].receive(.refused(own)))
    }

    private mutating func forward(
        _ exchange: ExchangeIndex, _ route: RouteTable.Route, _ believed: BelievedClient?, peer: [UInt8]
    ) {
        let clients = clients.slab
        let client = exchanges[exchange].client
        let (service, matched) = (route.service, route.matched)
        ledger.route(&table.paths[route.path], &exchanges[exchange].entry.tally)
        exchanges[exchange].place.service = service
        table.services[service].active += 1
        if case .hash(let by) = table.services[service].policy.balance {
            exchanges[exchange].key = HashKey.value(
                by, memory.requestHead, clients[client].input.bytes, client: believed?.address ?? peer)
        }
        if let record = exchanges[exchange].entry.record {
            record.service = table.services[service].name
            let path = clients[client].input.bytes.array(memory.requestHead.targetStart, matched)
            record.route = matched == 0 ? "/" : String(decoding: path, as: UTF8.self)
        }
        var upgrade: [UInt8] = []
        if memory.requestHead.fields.upgradeIndex >= 0 {
            guard let offer = UpgradeProtocols.offer(of: memory.requestHead, clients[client].input.bytes) else {
                return refuse(exchange, .badRequest("Upgrade names something that is not a protocol"))
            }
            upgrade = offer
            exchanges[exchange].request.offeredUpgrade = upgrade
        }
        let stripsPrefix = table.services[service].policy.stripsPrefix
        if stripsPrefix, matched > 0,
            PathPrefix.beginsAnotherAuthority(
                clients[client].input.bytes, memory.requestHead.targetStart + matched,
                memory.requestHead.pathCount - matched)
        {
            return refuse(
                exchange,
                .badRequest("behind the prefix the path begins with a separator that could mean another host"))
        }
        var buffer = memory.requests.lease()
        guard buffer.isLeased else {
            return refuse(
                exchange,
                OwnAnswer(503, OwnAnswer.failureWords, error: "proxy_internal_error", cause: "no buffers are left"))
        }
        let host = ForwardedRequest.write(
            memory.requestHead, clients[client].input.bytes, skipping: stripsPrefix ? matched : 0, upgrade: upgrade,
            isTrusted: clients[client].isTrusted, believed: believed, peer: peer,
            requestID: exchanges[exchange].entry.id.made, identity: identity,
            authority: memory.requestHead.authority == nil ? table.defaultAuthority(service) : [], to: &buffer)
        exchanges[exchange].request.begin(
            &buffer, host: table.services[service].policy.sendsInstanceHost ? host : nil)
        clients[client].input.consume(memory.requestHead.byteCount)
        do throws(HTTPFault) {
            try takeBody(exchange)
        } catch {
            return drive(exchange, exchanges[exchange].receive(.refused(.badRequest(error))))
        }
        drive(exchange, .choose(crowdsOut: true))
    }

    /// The exchange takes over what is here of the request's body.
    @inline(__always)
    mutating func takeBody(_ exchange: ExchangeIndex) throws(HTTPFault) {
        let clients = clients.slab
        let client = exchanges[exchange].client
        guard !exchanges[exchange].request.isComplete, !clients[client].input.isEmpty else { return }
        var taken = 0
        defer {
            exchanges[exchange].entry.record?.received(taken)
            exchanges[exchange].entry.tally.bytesReceived &+= UInt64(taken)
        }
        try exchanges[exchange].request.take(
            &clients[client].input, &exchanges[exchange].clientCodec, limit: table.settings.bodyBytes, &taken)
    }
}

extension BelievedClient {
    /// The client that a trusted sender speaks for.
    static func of(_ fields: FieldLines, _ bytes: Span<UInt8>, sender: [UInt8], _ settings: ForwarderSettings)
        -> BelievedClient
    {
        BelievedClient(fields, bytes, sender: sender) { settings.isTrusted($0) }
    }
}
