import Shared
import Testing

@testable import forwarderd

/// Random sequences of events over all values of the data path together. This world performs the actions as `Driver` does, with instances
/// and clients that do what they like; every byte of a message says whose it is.
@Suite struct ExchangeSequenceTests {
    /// What a client and the instances have seen of one request.
    private struct Fate {
        let isIdempotent: Bool
        /// Connections that a byte of it went to.
        var connections: Set<Int> = []
        var outcomes = 0
        var isForwarded = false
    }

    private struct World: ~Copyable {
        var random: SplitMix
        let exchanges = Slab<Exchange>(capacity: 12)
        let clients = Slab<Client>(capacity: 12)
        let instances = Slab<InstanceSlot>(capacity: 3)
        var pool = Pool(capacity: 8, idleLimit: 3)
        var queue = WaitingQueue()
        var requests = BufferPool(bufferBytes: Limits.requestBufferBytes, limit: 64, keep: 16)
        var outgoing = Buffer(capacity: Limits.outputBufferBytes)
        /// By the number of the exchange.
        var fates: [Int: Fate] = [:]
        var numbers: [Slab<Exchange>.Index: Int] = [:]
        var connectionNumbers: [Pool.Index: Int] = [:]
        var begun = 0
        var opened = 0
        var events = 0
        /// Pairs of stage and event that have come.
        var seen: Set<String> = []
        var faults: [String] = []

        init(seed: UInt64) {
            random = SplitMix(seed: seed)
            queue.capacity = 3
            for _ in 0..<3 {
                _ = instances.insert(
                    InstanceSlot(
                        service: "s",
                        SnapshotInstance(
                            id: 0, url: "h", authority: "h", priority: .medium, weight: 1,
                            state: InstanceState(
                                status: .up, suspect: false, draining: false, availability: 100,
                                address: .loopback(port: 1))), key: 0))
            }
        }

        mutating func chance(_ percent: UInt64) -> Bool { random.next() % 100 < percent }
        mutating func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

        /// The byte that all of an exchange's messages consist of.
        func mark(_ exchange: Slab<Exchange>.Index) -> UInt8 {
            UInt8(truncatingIfNeeded: 0x80 + (numbers[exchange] ?? 0) % 128)
        }

        // MARK: Events

        static let events = [
            "refused", "chosen", "noRoom", "connecting", "connected", "handedOver", "forwarding", "switched",
            "complete", "taken", "failed", "brokenOff", "starved", "tunnelOver", "overdue", "untaken", "crowdedOut",
            "clientGone", "stopped",
        ]

        /// The pairs of stage and event that `Driver` never brings about.
        static func isImpossible(_ stage: Stage, _ event: String) -> Bool {
            let possible: Set<String> =
                switch stage {
                case .begun:
                    [
                        "refused", "chosen", "noRoom", "connecting", "connected", "complete", "failed", "starved",
                        "clientGone",
                    ]
                case .queued:
                    ["refused", "chosen", "overdue", "crowdedOut", "complete", "starved", "clientGone", "stopped"]
                case .connecting:
                    [
                        "refused", "connected", "failed", "overdue", "crowdedOut", "complete", "starved", "clientGone",
                        "stopped",
                    ]
                case .sending:
                    [
                        "refused", "handedOver", "forwarding", "switched", "complete", "failed", "overdue",
                        "crowdedOut", "starved", "clientGone", "stopped",
                    ]
                case .awaitingHead:
                    [
                        "refused", "forwarding", "switched", "complete", "failed", "overdue", "crowdedOut", "starved",
                        "clientGone", "stopped",
                    ]
                case .relaying:
                    [
                        "handedOver", "forwarding", "complete", "taken", "failed", "brokenOff", "overdue", "untaken",
                        "crowdedOut", "starved", "clientGone", "stopped",
                    ]
                case .flushing: ["taken", "overdue", "untaken", "starved", "clientGone", "stopped"]
                case .tunnel:
                    ["taken", "brokenOff", "tunnelOver", "overdue", "untaken", "starved", "clientGone", "stopped"]
                case .ended: []
                }
            return !possible.contains(event)
        }

        mutating func receive(_ exchange: Slab<Exchange>.Index, _ event: Exchange.Event) -> Exchange.Action {
            events += 1
            let name = String("\(event)".prefix { $0 != "(" })
            let stage = exchanges[exchange].stage
            seen.insert("\(stage) \(name)")
            if Self.isImpossible(stage, name) { faults.append("\(name) while \(stage)") }
            return exchanges[exchange].receive(event)
        }

        mutating func happen(_ exchange: Slab<Exchange>.Index, _ event: Exchange.Event) {
            drive(exchange, receive(exchange, event))
        }

        // MARK: Performing

        mutating func drive(_ exchange: Slab<Exchange>.Index, _ first: Exchange.Action) {
            var action = first
            while let event = perform(exchange, action) { action = receive(exchange, event) }
        }

        mutating func perform(_ exchange: Slab<Exchange>.Index, _ action: Exchange.Action) -> Exchange.Event? {
            switch action {
            case .wait: return nil
            case .choose:
                exchanges[exchange].place.instance = nil
                if chance(20) { return .noRoom }
                let excluded = exchanges[exchange].law.excluded
                guard let free = (0..<3).first(where: { !excluded.contains(Int32($0)) }) else {
                    return .refused(
                        .unavailable(after: exchanges[exchange].law.lastFault, wasSent: exchanges[exchange].law.wasSent)
                    )
                }
                exchanges[exchange].place.instance = Table.Instance(free)
                return .chosen
            case .enqueue:
                if queue.isFull { return .refused(.full("x")) }
                queue.append(exchange)
                return nil
            case .connect: return connect(exchange, isFresh: false)
            case .reconnect: return connect(exchange, isFresh: true)
            case .send: return send(exchange)
            case .fail(let fault): return fail(exchange, fault)
            case .answer:
                release(exchange, keeps: false)
                return chance(2) ? .clientGone : chance(1) ? .starved : .complete
            case .refuseQueued, .refuseSlowBody, .refuseHalfClosed: return .refused(OwnAnswer(503, "x", error: nil))
            case .finish:
                release(exchange, keeps: true)
                return chance(70) ? .taken : nil
            case .relayTunnel: return nil
            case .reset, .cutTunnel, .end, .endWithClient:
                forget(exchange, action.outcome)
                return nil
            }
        }

        mutating func connect(_ exchange: Slab<Exchange>.Index, isFresh: Bool) -> Exchange.Event? {
            guard let instance = exchanges[exchange].place.instance else {
                return .refused(OwnAnswer(503, "x", error: nil))
            }
            exchanges[exchange].request.rewind(authority: [])
            exchanges[exchange].law.begin()
            let address = SocketAddress.loopback(port: 1)
            if !isFresh,
                let kept = pool.candidate(
                    in: instances[instance].idle, isIdempotent: exchanges[exchange].law.isIdempotent, now: 0)
            {
                pool.remove(kept, from: &instances[instance].idle)
                attach(kept, exchange)
                return .connected
            }
            if pool.isFull, !pool.closeOldest(instances) { return fail(exchange, .ourLimit(8)) }
            if chance(10) { return fail(exchange, .connect(.connectionRefused)) }
            let connection = pool.connections.insert(
                InstanceConnection(.none, instance: instance, address: address))
            opened += 1
            connectionNumbers[connection] = opened
            attach(connection, exchange)
            return chance(50) ? .connected : .connecting
        }

        func attach(_ connection: Pool.Index, _ exchange: Slab<Exchange>.Index) {
            pool.connections[connection].phase = .busy
            pool.connections[connection].exchanges.add(exchange)
            exchanges[exchange].place.connection = connection
        }

        mutating func detach(_ exchange: Slab<Exchange>.Index, keeps: Bool) {
            guard let connection = exchanges[exchange].place.connection else { return }
            exchanges[exchange].place.connection = nil
            pool.connections[connection].exchanges.remove(exchange)
            if keeps, exchanges[exchange].request.isHandedOver, pool.connections[connection].keepsAlive {
                pool.keep(connection, in: &instances[pool.connections[connection].instance].idle, now: 0)
                if pool.isOverIdleLimit { _ = pool.closeOldest(instances) }
            } else {
                _ = pool.connections.remove(connection)
            }
        }

        /// The instance takes all that is here, some of it, or nothing.
        mutating func send(_ exchange: Slab<Exchange>.Index) -> Exchange.Event? {
            guard let connection = exchanges[exchange].place.connection, let number = numbers[exchange] else {
                return nil
            }
            if chance(20) { return nil }
            let exchanges = exchanges
            outgoing.removeAll()
            if exchanges[exchange].instanceCodec.isTransparent {
                outgoing.append(exchanges[exchange].request.unsent)
                let unsent = outgoing.count
                let part = chance(70) ? unsent : min(unsent, pick(8))
                exchanges[exchange].request.noteSent(part)
            } else if !exchanges[exchange].request.isDrained {
                exchanges[exchange].instanceCodec.write(&exchanges[exchange].request, to: &outgoing)
            }
            if !outgoing.isEmpty {
                exchanges[exchange].law.noteSent()
                fates[number]?.connections.insert(connectionNumbers[connection] ?? -1)
                check(outgoing.bytes.array(0, outgoing.count), exchange, "a request")
            }
            outgoing.removeAll()
            return exchanges[exchange].request.isHandedOver ? .handedOver : nil
        }

        /// Bytes from 0x80 on are somebody's; frames have none.
        mutating func check(_ bytes: [UInt8], _ exchange: Slab<Exchange>.Index, _ what: String) {
            let mark = mark(exchange)
            if let other = bytes.first(where: { $0 >= 0x80 && $0 != mark }) {
                faults.append("\(what) of \(mark) holds \(other)")
            }
        }

        mutating func fail(_ exchange: Slab<Exchange>.Index, _ fault: InstanceFault) -> Exchange.Event {
            let isReused = exchanges[exchange].place.connection.map { pool.connections[$0].isReused } ?? false
            detach(exchange, keeps: false)
            return .failed(RetryLaw.Failure(fault: fault, isReused: isReused, isInBudget: chance(50)))
        }

        mutating func release(_ exchange: Slab<Exchange>.Index, keeps: Bool) {
            detach(exchange, keeps: keeps)
            exchanges[exchange].place.instance = nil
            queue.remove(exchange)
            exchanges[exchange].request.giveBack(to: &requests)
        }

        mutating func forget(_ exchange: Slab<Exchange>.Index, _ outcome: Outcome?) {
            release(exchange, keeps: false)
            if outcome == nil { faults.append("an end without an outcome") }
            if let number = numbers.removeValue(forKey: exchange) {
                fates[number]?.outcomes += 1
                close(number)
            }
            _ = exchanges.remove(exchange)
        }

        /// What must hold of every request when it has ended.
        mutating func close(_ number: Int) {
            guard let fate = fates.removeValue(forKey: number) else { return }
            if fate.outcomes != 1 { faults.append("\(fate.outcomes) outcomes") }
            if !fate.isIdempotent, fate.connections.count > 1 {
                faults.append("not idempotent, and sent to \(fate.connections.count) connections")
            }
        }

        // MARK: What happens from outside

        mutating func begin() {
            guard !exchanges.isFull else { return }
            begun += 1
            let framing: BodyFraming = [.none, .length(40), .chunked][pick(3)]
            let isIdempotent = chance(60)
            let exchange = exchanges.insert(
                Exchange(
                    isIdempotent: isIdempotent, framing, withholdsBody: chance(10), isHTTP10: chance(10)))
            numbers[exchange] = begun
            fates[begun] = Fate(isIdempotent: isIdempotent)
            if chance(3) { return happen(exchange, .refused(OwnAnswer(404, "x", error: nil))) }
            var buffer = requests.lease()
            for _ in 0..<20 { buffer.append(mark(exchange)) }
            exchanges[exchange].request.begin(&buffer, host: nil)
            drive(exchange, .choose(crowdsOut: true))
        }

        /// More of the request's body comes from the client.
        mutating func feed(_ exchange: Slab<Exchange>.Index) {
            guard exchanges[exchange].wantsBody else { return }
            if chance(3) {
                let hasForwarded = exchanges[exchange].hasForwarded
                return happen(exchange, hasForwarded ? .brokenOff : .refused(OwnAnswer(400, "x", error: nil)))
            }
            var input = requests.lease()
            let mark = mark(exchange)
            if !exchanges[exchange].instanceCodec.isTransparent {
                if chance(50) {
                    input.append("5\r\n")
                    for _ in 0..<5 { input.append(mark) }
                    input.append("\r\n")
                } else {
                    input.append("0\r\n\r\n")
                }
            } else {
                for _ in 0..<10 { input.append(mark) }
            }
            if exchanges[exchange].request.dropSentIfFull() { exchanges[exchange].law.noteDropped() }
            if (try? exchanges[exchange].request.take(&input, &exchanges[exchange].clientCodec)) == nil {
                faults.append("its own body refused")
            }
            requests.giveBack(input)
            drive(exchange, .send)
        }

        /// The instance says something.
        mutating func respond(_ exchange: Slab<Exchange>.Index) {
            guard let connection = exchanges[exchange].place.connection, pool.connections[connection].phase == .busy
            else {
                return
            }
            switch exchanges[exchange].stage {
            case .sending, .awaitingHead:
                if chance(5) { return happen(exchange, .switched) }
                if chance(10) {
                    return drive(exchange, .fail([.closed, .reset, .malformed("x")][pick(3)]))
                }
                let source: BodyFraming = [.none, .length(60), .chunked, .untilClose][pick(4)]
                exchanges[exchange].begin(source)
                pool.connections[connection].keepsAlive = source != .untilClose && chance(80)
                _ = receive(exchange, .forwarding)
                if exchanges[exchange].instanceCodec.isComplete { happen(exchange, .complete) }
            case .relaying:
                if chance(5) { return drive(exchange, .fail([.closed, .reset][pick(2)])) }
                relay(exchange)
            case .begun, .queued, .connecting, .flushing, .tunnel, .ended: break
            }
        }

        mutating func relay(_ exchange: Slab<Exchange>.Index) {
            var bytes: [UInt8] = []
            let mark = mark(exchange)
            let isChunked = !exchanges[exchange].instanceCodec.isUnframed
            if isChunked || exchanges[exchange].instanceCodec.endsWithConnection, chance(30) {
                outgoing.removeAll()
                if Relay.end(
                    from: exchanges[exchange].instanceCodec, to: exchanges[exchange].clientCodec, &outgoing)
                {
                    return happen(exchange, .complete)
                }
                bytes = Array("0\r\n\r\n".utf8)
            } else if isChunked {
                bytes = Array("14\r\n".utf8) + [UInt8](repeating: mark, count: 20) + [0x0d, 0x0a]
            } else {
                bytes = [UInt8](repeating: mark, count: 30)
            }
            var position = 0
            outgoing.removeAll()
            while position < bytes.count, !exchanges[exchange].instanceCodec.isComplete {
                do {
                    _ = try Relay.next(
                        bytes.span, &position, from: &exchanges[exchange].instanceCodec,
                        to: exchanges[exchange].clientCodec, &outgoing)
                } catch {
                    return drive(exchange, .fail(.malformed("x")))
                }
            }
            check(outgoing.bytes.array(0, outgoing.count), exchange, "a response")
            _ = receive(exchange, .forwarding)
            if chance(10) { _ = receive(exchange, .taken) }
            if chance(1) { return happen(exchange, .starved) }
            if exchanges[exchange].instanceCodec.isComplete { happen(exchange, .complete) }
        }

        mutating func step() {
            if chance(15) { return begin() }
            guard let exchange = exchanges.index(at: pick(12)) else { return }
            if chance(1) { return happen(exchange, .clientGone) }
            if chance(1), chance(20) { return happen(exchange, .stopped) }
            if chance(1), chance(50) { return happen(exchange, .starved) }
            if chance(1), [.connecting, .sending, .awaitingHead, .relaying].contains(exchanges[exchange].stage) {
                return happen(exchange, .crowdedOut)
            }
            if chance(1), exchanges[exchange].stage != .begun {
                let isTaken = exchanges[exchange].hasForwarded && chance(50)
                return happen(exchange, isTaken ? .untaken : .overdue)
            }
            switch exchanges[exchange].stage {
            case .queued:
                guard chance(30) else { return }
                if chance(10) { return happen(exchange, .crowdedOut) }
                queue.remove(exchange)
                exchanges[exchange].place.instance = Table.Instance(pick(3))
                happen(exchange, .chosen)
            case .connecting:
                if chance(20) {
                    drive(exchange, .fail(.connect(.connectionRefused)))
                } else {
                    happen(exchange, .connected)
                }
            case .sending:
                if chance(40) {
                    drive(exchange, .send)
                } else if chance(70) {
                    feed(exchange)
                } else {
                    respond(exchange)
                }
            case .awaitingHead: respond(exchange)
            case .relaying: if chance(20) { feed(exchange) } else { respond(exchange) }
            case .flushing: if chance(50) { happen(exchange, .taken) }
            case .tunnel:
                if chance(20) { return happen(exchange, .taken) }
                if chance(20) { happen(exchange, chance(50) ? .tunnelOver : .brokenOff) }
            case .begun, .ended: faults.append("\(exchanges[exchange].stage) at rest")
            }
        }

        mutating func stop() {
            for exchange in exchanges.indices { happen(exchange, .stopped) }
        }
    }

    /// 10^6 events in all.
    @Test(arguments: 0..<4) func noSequenceOfEventsBreaksAPromise(_ seed: Int) {
        var world = World(seed: UInt64(seed) &* 7919 &+ 1)
        while world.events < 250_000, world.faults.isEmpty { world.step() }
        world.stop()
        let seen = world.seen
        let missing = Stage.allCases.flatMap { stage in
            World.events.filter { !World.isImpossible(stage, $0) }.map { "\(stage) \($0)" }
        }.filter { !seen.contains($0) }
        #expect(missing.isEmpty, "pairs that were never tried: \(missing)")
        let (faults, begun, lent) = (world.faults, world.begun, world.requests.lent)
        #expect(faults.isEmpty, "seed \(seed), request \(begun): \(faults.prefix(3))")
        #expect(begun > 10_000)
        #expect(lent == 0, "every buffer is given back")
        let (open, waiting, busy) = (world.exchanges.count, world.queue.count, world.pool.connections.count)
        #expect(open == 0 && waiting == 0 && busy == world.pool.idleCount && world.fates.isEmpty)
    }
}
