import Shared

/// A change of an instance's status, as it is told outside.
struct StatusChange: Equatable {
    let service: String
    let instance: String
    /// Which of its addresses, if its name has several.
    let address: SocketAddress?
    let previous: InstanceStatus
    let status: InstanceStatus
    /// What the poll that decided said.
    let response: String
    /// Wall clock, milliseconds.
    let at: UInt64

    var json: [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("service", service)
        writer.field("instance", instance)
        if let address { writer.field("address", address.description) }
        writer.field("status", status.rawValue)
        writer.field("previous", previous.rawValue)
        writer.field("response", response)
        writer.field("at", Timestamp.iso8601(wallMilliseconds: at))
        writer.endObject()
        return writer.bytes
    }
}

/// Posts each change of status to the configured URL (`on_change`), one after the other in their order. A receiver that is slow
/// or gone delays nothing and costs bounded memory: what does not fit is dropped and counted in the log.
struct ChangePoster: ~Copyable {
    private enum Phase { case idle, resolving, connecting, awaitingAnswer, resting }

    private var hook: ChangeHook?
    private var waiting: [StatusChange] = []
    private var dropped = 0
    private var phase = Phase.idle
    private var descriptor = Descriptor.none
    /// Which connection it is: a late event of a former one is told by it.
    private var connection: UInt32 = 0
    private var request: [UInt8] = []
    private var sent = 0
    private var input = Buffer(capacity: Limits.pollHeadBytes)
    private var tries = 0
    private var timer = TimerWheel.ID.none
    private let log: Log

    init(log: Log) { self.log = log }

    /// The receiver's name, if that is to be looked up.
    var name: SourceName? {
        guard let endpoint = hook?.endpoint, endpoint.literal == nil else { return nil }
        return SourceName(endpoint.host, .host)
    }

    /// The configuration may name another receiver now; what waits goes to it.
    mutating func configure(_ hook: ChangeHook?, _ names: borrowing NameBook, _ loop: inout EventLoop) {
        guard hook != self.hook else { return }
        self.hook = hook
        disconnect(&loop)
        phase = .idle
        tries = 0
        if hook == nil { waiting.removeAll() }
        begin(names, &loop)
    }

    mutating func post(_ changes: [StatusChange], _ names: borrowing NameBook, _ loop: inout EventLoop) {
        guard hook != nil else { return }
        for change in changes {
            if waiting.count < Limits.changePosts {
                waiting.append(change)
            } else {
                if dropped == 0 {
                    log.warning("on_change: \(waiting.count) posts wait already; further ones are dropped")
                }
                dropped += 1
            }
        }
        begin(names, &loop)
    }

    private mutating func begin(_ names: borrowing NameBook, _ loop: inout EventLoop) {
        guard phase == .idle, let hook, let change = waiting.first else { return }
        loop.cancel(&timer)
        timer = loop.schedule(EventKind.changePostTimeout.token(), after: Limits.changePostTimeoutMilliseconds)
        let body = change.json
        request = Array(
            "POST \(hook.target) HTTP/1.1\r\nHost: \(hook.endpoint.authority)\r\nUser-Agent: serverpy/\(Version.current)\r\nContent-Type: application/json\r\nContent-Length: \(body.count)\r\nConnection: close\r\n\r\n"
                .utf8)
        request += body
        sent = 0
        resolve(names, &loop)
    }

    private mutating func resolve(_ names: borrowing NameBook, _ loop: inout EventLoop) {
        guard let endpoint = hook?.endpoint else { return }
        let addresses =
            endpoint.literal.map { [$0] }
            ?? names.addresses(SourceName(endpoint.host, .host))
        guard !addresses.isEmpty else {
            phase = .resolving
            if !names.isAwaited(SourceName(endpoint.host, .host)) { fail("\(endpoint.host) is not resolved", &loop) }
            return
        }
        phase = .connecting
        connection &+= 1
        var address = addresses[tries % addresses.count]
        address.port = endpoint.port
        do {
            let connected: Bool
            (descriptor, connected) = try Socket.connect(to: address)
            try loop.add(
                descriptor, EventKind.changePost.token(0, connection),
                [.readable, .writable, .peerClosed, .edgeTriggered])
            if connected { send(&loop) }
        } catch {
            fail("\(error)", &loop)
        }
    }

    /// A name has been looked up: perhaps the receiver's.
    mutating func lookUpEnded(_ name: SourceName, _ names: borrowing NameBook, _ loop: inout EventLoop) {
        if phase == .resolving, name == self.name { resolve(names, &loop) }
    }

    mutating func ready(
        _ connection: UInt32, _ readiness: Readiness, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        guard connection == self.connection, descriptor.isOpen else { return }
        if phase == .connecting {
            if let error = Socket.pendingError(descriptor) { return fail("connect: \(error)", &loop) }
            guard readiness.contains(.writable) else { return }
        }
        if sent < request.count { send(&loop) }
        if descriptor.isOpen, !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) {
            receive(names, &loop)
        }
    }

    private mutating func send(_ loop: inout EventLoop) {
        phase = .awaitingAnswer
        while sent < request.count {
            let result = descriptor.send(request.span.extracting(sent..<request.count))
            guard let count = result.count else {
                if !result.isAgain { fail("\(result.error)", &loop) }
                return
            }
            sent += count
        }
    }

    private mutating func receive(_ names: borrowing NameBook, _ loop: inout EventLoop) {
        var head = ResponseHead()
        while true {
            let result = input.receive(from: descriptor)
            guard let count = result.count, count > 0 else {
                if result.count == nil, result.isAgain { return }
                return fail("closed without an answer", &loop)
            }
            do throws(HTTPFault) {
                if try head.readFinal(
                    from: &input, maxBytes: Limits.pollHeadBytes, maxFields: Limits.headFieldsRange.upperBound)
                {
                    guard head.status < 300 else { return fail("status \(head.status)", &loop) }
                    return succeed(names, &loop)
                }
            } catch {
                return fail(error.reason, &loop)
            }
        }
    }

    private mutating func succeed(_ names: borrowing NameBook, _ loop: inout EventLoop) {
        disconnect(&loop)
        waiting.removeFirst()
        tries = 0
        if dropped > 0, waiting.isEmpty {
            log.warning("on_change: \(dropped) posts were dropped")
            dropped = 0
        }
        phase = .idle
        begin(names, &loop)
    }

    private mutating func fail(_ reason: String, _ loop: inout EventLoop) {
        disconnect(&loop)
        tries += 1
        if tries >= Limits.changePostTries {
            // The path of such a URL is often a secret.
            let receiver = hook?.endpoint.authority ?? ""
            log.warning("on_change: \(receiver): \(reason); given up after \(tries) tries")
            if !waiting.isEmpty { waiting.removeFirst() }
            tries = 0
        }
        phase = .resting
        timer = loop.schedule(EventKind.changePostTimeout.token(), after: Limits.changePostRestMilliseconds)
    }

    /// A try has taken too long, or the rest after a failed one is over.
    mutating func timerFired(_ names: borrowing NameBook, _ loop: inout EventLoop) {
        timer = .none
        switch phase {
        case .idle: break
        case .resting:
            phase = .idle
            begin(names, &loop)
        case .resolving, .connecting, .awaitingAnswer:
            fail("no answer within \(Limits.changePostTimeoutMilliseconds / 1000) s", &loop)
        }
    }

    private mutating func disconnect(_ loop: inout EventLoop) {
        loop.cancel(&timer)
        descriptor.close()
        descriptor = .none
        input.removeAll()
    }
}
