import Shared

/// Looks names up in DNS on the loop: many questions at a time, none of which waits for another (RFC 1035, RFC 6891, RFC 7766). Each goes out
/// with a random number from a random port, so that nobody can answer who does not see it (RFC 5452).
struct DNSClient: ~Copyable {
    /// Whose look-up it is: what the answer carries.
    typealias Owner = (position: Int, generation: UInt32)

    private struct Running {
        var lookUp: LookUp
        let owner: Owner
        let ticket: Admission.Ticket
    }

    private struct Asked {
        var inquiry: DNSInquiry
        let lookUp: Slab<Running>.Index
        var id: UInt16 = 0
        /// Where it was sent to.
        var socket: Slab<DatagramSocket>.Index?
        var connection: Slab<StreamQuestion>.Index?
        var timer = TimerWheel.ID.none
        /// Why it could not be sent, in words.
        var failure: String?
    }

    /// A port from which some questions to one name server have gone out; closed with the last answer.
    private struct DatagramSocket {
        let descriptor: Descriptor
        let server: SocketAddress
        var waiting: [UInt16: Slab<Asked>.Index] = [:]
        var asked = 0
    }

    /// One question over TCP, with two bytes of length before question and answer (RFC 1035 4.2.2).
    private struct StreamQuestion {
        let descriptor: Descriptor
        let asked: Slab<Asked>.Index
        let output: [UInt8]
        var sent = 0
        var input: [UInt8] = []
    }

    private let running = Slab<Running>(capacity: Limits.lookUps)
    private let asked = Slab<Asked>(capacity: 2 * Limits.lookUps)
    private let sockets = Slab<DatagramSocket>(capacity: Limits.dnsSockets)
    private let connections = Slab<StreamQuestion>(capacity: Limits.dnsConnections)
    /// By name server: the port from which the next question goes out.
    private var current: [SocketAddress: Slab<DatagramSocket>.Index] = [:]
    /// Look-ups that have not begun: too many are young.
    private var waiting: [(name: SourceName, isKnown: Bool, owner: Owner)] = []
    private var admission = Admission(
        limit: Limits.lookUpsAtOnce, youthMilliseconds: Limits.lookUpYouthMilliseconds)
    private var roomTimer = TimerWheel.ID.none
    private var results: [(owner: Owner, result: LookUp.Result)] = []

    private var file = ResolverFile()
    private var hosts = HostsFile()
    private var fingerprints: [String: [Int64]] = [:]
    private var filesReadAt: UInt64?
    /// What the configuration says instead of the file.
    private var servers: [SocketAddress] = []
    /// The name server that has answered last, for some time.
    private var preferred = (server: 0, until: UInt64(0))

    /// `servers`: those to ask; empty: those of /etc/resolv.conf.
    mutating func configure(_ servers: [SocketAddress]) {
        self.servers = servers
        filesReadAt = nil
        preferred = (0, 0)
    }

    mutating func takeResults() -> [(owner: Owner, result: LookUp.Result)] {
        defer { results.removeAll(keepingCapacity: true) }
        return results
    }

    /// Reads the files that have changed.
    private mutating func readFiles(now: UInt64) {
        if let filesReadAt, now - filesReadAt < Limits.lookUpGapMilliseconds { return }
        let isFirst = filesReadAt == nil
        filesReadAt = now
        if let bytes = changed(ResolverFile.path, isFirst) {
            file = ResolverFile(bytes)
            if !servers.isEmpty { file.servers = servers }
        }
        if let bytes = changed(HostsFile.path, isFirst) { hosts = HostsFile(bytes) }
    }

    /// Nil: as it was. A file that is not there is an empty one.
    private mutating func changed(_ path: String, _ isFirst: Bool) -> [UInt8]? {
        let fingerprint = (try? Files.fingerprint(path)) ?? []
        guard isFirst || fingerprints[path] != fingerprint else { return nil }
        fingerprints[path] = fingerprint
        return (try? Files.read(path, maxBytes: Limits.resolverFileBytes)) ?? []
    }

    // MARK: Look-ups

    /// Looks a name up. `isKnown`: an earlier look-up has found something.
    mutating func begin(_ name: SourceName, isKnown: Bool, _ owner: Owner, _ loop: inout EventLoop) {
        readFiles(now: loop.now)
        if name.kind == .host, let found = hosts.addresses(of: name.text) {
            results.append((owner, .found(hostsFound(found))))
        } else {
            waiting.append((name, isKnown, owner))
            beginWaiting(&loop)
        }
    }

    private func hostsFound(_ addresses: [SocketAddress]) -> LookUp.Found {
        LookUp.Found(
            values: addresses.map { .address($0) }, seconds: UInt32(Limits.hostsFileHeldMilliseconds / 1000))
    }

    private mutating func beginWaiting(_ loop: inout EventLoop) {
        var next = 0
        while next < waiting.count, !running.isFull, admission.admits(now: loop.now) {
            let (name, isKnown, owner) = waiting[next]
            next += 1
            let lookUp = LookUp(name.text, name.kind, file, isKnown: isKnown)
            guard !lookUp.firstQuestions.isEmpty else {
                results.append((owner, .noAnswer("it is not a valid DNS name")))
                continue
            }
            let index = running.insert(
                Running(lookUp: lookUp, owner: owner, ticket: admission.begin(now: loop.now)))
            ask(running[index].lookUp.firstQuestions, of: index, &loop)
        }
        waiting.removeFirst(next)
        guard !waiting.isEmpty, !roomTimer.isScheduled else { return }
        roomTimer = loop.schedule(
            EventKind.lookUpRoom.token(),
            at: max(loop.now + 1, admission.nextAging ?? loop.now + Limits.lookUpYouthMilliseconds))
    }

    mutating func roomDue(_ loop: inout EventLoop) {
        roomTimer = .none
        beginWaiting(&loop)
    }

    private mutating func ask(_ questions: [DNSQuestion], of lookUp: Slab<Running>.Index, _ loop: inout EventLoop) {
        let first = loop.now < preferred.until ? preferred.server : 0
        let indices = questions.map { asked.insert(Asked(inquiry: DNSInquiry($0, file, first: first), lookUp: lookUp)) }
        for index in indices { send(index, &loop) }
    }

    private mutating func receive(_ event: DNSInquiry.Event, of index: Slab<Asked>.Index, _ loop: inout EventLoop) {
        withdraw(index, &loop)
        if case .response = event, !asked[index].inquiry.isOverTCP {
            preferred = (asked[index].inquiry.server, loop.now + Limits.lookUpServerKeptMilliseconds)
        }
        switch asked[index].inquiry.receive(event) {
        case .ask: send(index, &loop)
        case .end(let outcome):
            let (lookUp, question) = (asked[index].lookUp, asked[index].inquiry.question)
            asked.discard(index)
            switch running[lookUp].lookUp.receive(outcome, of: question) {
            case .wait: break
            case .ask(let questions): ask(questions, of: lookUp, &loop)
            case .end(let result):
                results.append((running[lookUp].owner, result))
                admission.end(running[lookUp].ticket)
                running.discard(lookUp)
                beginWaiting(&loop)
            }
        }
    }

    // MARK: Sending

    private mutating func send(_ index: Slab<Asked>.Index, _ loop: inout EventLoop) {
        let inquiry = asked[index].inquiry
        guard inquiry.server < file.servers.count else { return fail(index, "the name servers have changed", &loop) }
        asked[index].timer = loop.schedule(
            EventKind.lookUpTimeout.token(index, asked.generation(index)), after: inquiry.timeoutMilliseconds)
        do throws(Errno) {
            if inquiry.isOverTCP {
                try sendOverTCP(index, to: file.servers[inquiry.server], &loop)
            } else {
                try sendDatagram(index, to: file.servers[inquiry.server], &loop)
            }
        } catch {
            leave(index)
            fail(index, "\(file.servers[inquiry.server]): \(error)", &loop)
        }
    }

    /// It failed before it was under way: tried elsewhere at the next turn, so that failures do not call each other.
    private func fail(_ index: Slab<Asked>.Index, _ reason: String, _ loop: inout EventLoop) {
        asked[index].failure = reason
        loop.cancel(&asked[index].timer)
        asked[index].timer = loop.schedule(
            EventKind.lookUpTimeout.token(index, asked.generation(index)), after: 1)
    }

    private mutating func sendDatagram(_ index: Slab<Asked>.Index, to server: SocketAddress, _ loop: inout EventLoop)
        throws(Errno)
    {
        let socket = try datagramSocket(server, &loop)
        var id: UInt16
        repeat { id = UInt16(truncatingIfNeeded: SystemRandom.word()) } while sockets[socket].waiting[id] != nil
        asked[index].id = id
        asked[index].socket = socket
        sockets[socket].waiting[id] = index
        sockets[socket].asked += 1
        let inquiry = asked[index].inquiry
        let message = inquiry.question.message(id: id, withOptions: inquiry.usesOptions)
        let result = sockets[socket].descriptor.send(message.span)
        // What the socket cannot take is as lost as any datagram.
        guard result.count != nil || result.isAgain else {
            // The error may be the answer to an earlier question from this port, and comes only once.
            for other in sockets[socket].waiting.values { fail(other, "\(server): \(result.error)", &loop) }
            throw result.error
        }
    }

    private mutating func datagramSocket(_ server: SocketAddress, _ loop: inout EventLoop) throws(Errno)
        -> Slab<DatagramSocket>.Index
    {
        if let index = current[server], sockets[index].asked < Limits.questionsPerSocket || sockets.isFull {
            return index
        }
        guard !sockets.isFull else { throw .tooManyOpenFiles }
        let descriptor = try Socket.datagram(to: server)
        let index = sockets.insert(DatagramSocket(descriptor: descriptor, server: server))
        do throws(Errno) {
            try loop.add(
                descriptor, EventKind.dnsSocket.token(index, sockets.generation(index)), [.readable, .edgeTriggered])
        } catch {
            descriptor.close()
            sockets.discard(index)
            throw error
        }
        current[server] = index
        return index
    }

    private mutating func sendOverTCP(_ index: Slab<Asked>.Index, to server: SocketAddress, _ loop: inout EventLoop)
        throws(Errno)
    {
        guard !connections.isFull else { throw .tooManyOpenFiles }
        let id = UInt16(truncatingIfNeeded: SystemRandom.word())
        asked[index].id = id
        let inquiry = asked[index].inquiry
        let message = inquiry.question.message(id: id, withOptions: inquiry.usesOptions)
        let (descriptor, isConnected) = try Socket.connect(to: server)
        let connection = connections.insert(
            StreamQuestion(
                descriptor: descriptor, asked: index,
                output: [UInt8(message.count >> 8), UInt8(message.count & 0xff)] + message))
        asked[index].connection = connection
        do throws(Errno) {
            try loop.add(
                descriptor, EventKind.dnsConnection.token(connection, connections.generation(connection)),
                [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            leave(index)
            throw error
        }
        if isConnected { _ = sendRest(connection) }
    }

    /// The question is no longer under way.
    private mutating func withdraw(_ index: Slab<Asked>.Index, _ loop: inout EventLoop) {
        loop.cancel(&asked[index].timer)
        leave(index)
    }

    private mutating func leave(_ index: Slab<Asked>.Index) {
        if let socket = asked[index].socket {
            sockets[socket].waiting[asked[index].id] = nil
            if sockets[socket].waiting.isEmpty {
                if current[sockets[socket].server] == socket { current[sockets[socket].server] = nil }
                sockets[socket].descriptor.close()
                sockets.discard(socket)
            }
        }
        if let connection = asked[index].connection {
            connections[connection].descriptor.close()
            connections.discard(connection)
        }
        asked[index].socket = nil
        asked[index].connection = nil
    }

    // MARK: Events

    /// Datagrams have come, or the name server's host says that nothing listens there.
    mutating func socketReady(_ token: Token, _ loop: inout EventLoop) {
        while let socket = sockets.index(of: token) {
            let (result, bytes, _) = sockets[socket].descriptor.receiveDatagram(capacity: Limits.datagramReadBytes)
            if result.isAgain { return }
            guard result.count != nil else {
                let server = sockets[socket].server
                for index in sockets[socket].waiting.values.sorted(by: { $0.rawValue < $1.rawValue }) {
                    receive(.failed("\(server): \(result.error)"), of: index, &loop)
                }
                continue
            }
            // What is no answer to a question of ours may be anybody's: it says nothing.
            guard let response = try? DNSResponse(bytes.span), let index = sockets[socket].waiting[response.id],
                response.question == asked[index].inquiry.question
            else { continue }
            receive(.response(response), of: index, &loop)
        }
    }

    mutating func connectionReady(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        guard let connection = connections.index(of: token) else { return }
        let index = connections[connection].asked
        if readiness.contains(.error) || readiness.contains(.hangUp),
            let error = Socket.pendingError(connections[connection].descriptor)
        {
            return receive(.failed("\(error)"), of: index, &loop)
        }
        if readiness.contains(.writable), !sendRest(connection) {
            return receive(.failed("the question could not be sent over TCP"), of: index, &loop)
        }
        guard !readiness.isDisjoint(with: [.readable, .peerClosed]) else { return }
        var chunk = [UInt8](repeating: 0, count: Limits.datagramReadBytes)
        while true {
            var span = chunk.mutableSpan
            let result = connections[connection].descriptor.receive(into: &span)
            if result.isAgain { return }
            guard let count = result.count, count > 0 else {
                return receive(.failed("the name server closed the connection"), of: index, &loop)
            }
            connections[connection].input += chunk[..<count]
            let input = connections[connection].input
            guard input.count >= 2 else { continue }
            let length = Int(input[0]) << 8 | Int(input[1])
            guard input.count >= 2 + length else { continue }
            guard let response = try? DNSResponse(input.span.extracting(2..<2 + length)),
                response.id == asked[index].id,
                response.question == asked[index].inquiry.question
            else { return receive(.failed("the name server's answer cannot be read"), of: index, &loop) }
            return receive(.response(response), of: index, &loop)
        }
    }

    /// False: the connection is of no use.
    private mutating func sendRest(_ connection: Slab<StreamQuestion>.Index) -> Bool {
        while connections[connection].sent < connections[connection].output.count {
            let sent = connections[connection].sent
            let output = connections[connection].output
            let result = connections[connection].descriptor.send(output.span.extracting(sent..<output.count))
            guard let count = result.count else { return result.isAgain }
            connections[connection].sent += count
        }
        return true
    }

    mutating func timedOut(_ token: Token, _ loop: inout EventLoop) {
        guard let index = asked.index(of: token) else { return }
        asked[index].timer = .none
        if let failure = asked[index].failure {
            asked[index].failure = nil
            return receive(.failed(failure), of: index, &loop)
        }
        let server = asked[index].inquiry.server
        let name = server < file.servers.count ? "\(file.servers[server])" : "the name server"
        receive(.failed("\(name) has not answered in time"), of: index, &loop)
    }
}
