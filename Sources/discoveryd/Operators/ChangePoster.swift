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
    private enum Phase { case idle, resolving, calling, resting }

    private var hook: ChangeHook?
    private var waiting: [StatusChange] = []
    private var dropped = 0
    private var phase = Phase.idle
    private var call = HTTPCall()
    private var reader = HTTPCall.Reader(limit: 1, keep: 1)
    private var address = SocketAddress.loopback(port: 0)
    /// Which connection it is: a late event of a former one is told by it.
    private var connection: UInt32 = 0
    private var request: [UInt8] = []
    private var tries = 0
    private var timer = TimerWheel.ID.none
    private let log: Log

    init(log: Log) {
        self.log = log
        reader.headFields = Limits.headFieldsRange.upperBound
        reader.headBytes = Limits.pollHeadBytes
    }

    /// The receiver's name, if that is to be looked up.
    var name: SourceName? { Self.name(of: hook) }

    static func name(of hook: ChangeHook?) -> SourceName? {
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
        phase = .calling
        connection &+= 1
        address = addresses[tries % addresses.count]
        address.port = endpoint.port
        let step = call.connect(to: address, EventKind.changePost.token(0, connection), loop)
        proceed(step, names, &loop)
    }

    /// A name has been looked up: perhaps the receiver's.
    mutating func lookUpEnded(_ name: SourceName, _ names: borrowing NameBook, _ loop: inout EventLoop) {
        if phase == .resolving, name == self.name { resolve(names, &loop) }
    }

    mutating func ready(
        _ connection: UInt32, _ readiness: Readiness, _ names: borrowing NameBook, _ loop: inout EventLoop
    ) {
        guard connection == self.connection, call.isOpen else { return }
        if readiness.contains(.writable), call.hasUnsent {
            let bytes = request
            let step = call.sendRest(bytes.span)
            proceed(step, names, &loop)
        }
        guard call.isOpen else { return }
        let step = call.ready(readiness, address, &reader)
        proceed(step, names, &loop)
    }

    private mutating func proceed(_ step: HTTPCall.Step, _ names: borrowing NameBook, _ loop: inout EventLoop) {
        switch step {
        case .pending: break
        case .connected:
            let bytes = request
            let step = call.send(bytes.span)
            proceed(step, names, &loop)
        case .answered:
            let status = reader.head.status
            if status < 300 { succeed(names, &loop) } else { fail("status \(status)", &loop) }
        case .failed(.system(let error)): fail("\(error)", &loop)
        case .failed(.closed): fail("closed without an answer", &loop)
        case .failed(.malformed(let kind)): fail("its answer is not HTTP: \(kind.words)", &loop)
        case .failed(.noMemory): fail("no memory is left for its answer", &loop)
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
        case .resolving, .calling:
            fail("no answer within \(Limits.changePostTimeoutMilliseconds / 1000) s", &loop)
        }
    }

    private mutating func disconnect(_ loop: inout EventLoop) {
        loop.cancel(&timer)
        call.close(&reader)
    }
}
