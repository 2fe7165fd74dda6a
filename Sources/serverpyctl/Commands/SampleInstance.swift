import Shared

/// A small instance for the demo and for trying things out: answers /health with 200 and everything else with its name.
struct SampleInstance: ~Copyable {
    private struct Connection: ~Copyable {
        let descriptor: Descriptor
        var input = Buffer(capacity: Limits.requestBufferBytes)
        var body = BodyDecoder(.none, status: 400)
        var isInBody = false
        /// The answer to send when the body is over.
        var pending: [UInt8] = []
        var closes = false
    }

    private var loop: EventLoop
    private let signals: SignalQueue
    private let listener: Descriptor
    private let name: String
    private let connections = Slab<Connection>(capacity: 16_384)
    private var head = RequestHead()
    private var served = 0

    private static let signalsKind: UInt8 = 1
    private static let listenerKind: UInt8 = 2
    private static let connectionKind: UInt8 = 3

    static func make(name: String, port: UInt16) throws(StartFault) -> SampleInstance {
        let loop = try EventLoop.makeForStart()
        do throws(Errno) {
            let signals = try SignalQueue([.terminate, .interrupt, .quit, .hangUp])
            let listener = try Socket.listen(on: .loopback(port: port))
            try loop.add(signals.descriptor, Token(kind: signalsKind), [.readable])
            try loop.add(listener, Token(kind: listenerKind), [.readable])
            return SampleInstance(loop, signals, listener, name)
        } catch {
            throw StartFault("the instance cannot listen on 127.0.0.1:\(port): \(error)")
        }
    }

    private init(_ loop: consuming EventLoop, _ signals: SignalQueue, _ listener: Descriptor, _ name: String) {
        self.loop = loop
        self.signals = signals
        self.listener = listener
        self.name = name
    }

    /// The port, where the system chose it.
    var port: UInt16 { ((try? Socket.localAddress(listener)) ?? nil)?.port ?? 0 }

    mutating func run() -> Int32 {
        while true {
            do { try loop.turn() } catch { return ExitCode.failed }
            while let event = loop.nextEvent() {
                switch event.token.kind {
                case Self.signalsKind: return ExitCode.done
                case Self.listenerKind: accept()
                default: if let connection = connections.index(of: event.token) { serve(connection) }
                }
            }
        }
    }

    private mutating func accept() {
        while true {
            let descriptor: Descriptor
            do { (descriptor, _) = try Socket.accept(listener) } catch {
                if error.acceptOutcome == .next { continue }
                // It would be asked again at once.
                if error.acceptOutcome != .nobody { Clock.sleep(milliseconds: Limits.memoryPauseMilliseconds) }
                return
            }
            guard !connections.isFull else {
                descriptor.close()
                continue
            }
            let slot = connections.insert(Connection(descriptor: descriptor))
            do {
                try loop.add(
                    descriptor, connections.token(Self.connectionKind, slot),
                    [.readable])
            } catch {
                close(slot)
            }
        }
    }

    private func close(_ slot: Slab<Connection>.Index) {
        connections[slot].descriptor.close()
        _ = connections.remove(slot)
    }

    private mutating func serve(_ slot: Slab<Connection>.Index) {
        let connections = connections
        connections[slot].input.compact()
        let result = connections[slot].input.receive(from: connections[slot].descriptor)
        guard let count = result.count, count > 0 else {
            if result.count == 0 || !result.isAgain { close(slot) }
            return
        }
        while !connections[slot].input.isEmpty {
            do throws(HTTPFault) {
                if connections[slot].isInBody {
                    var position = 0
                    let piece = try connections[slot].body.next(connections[slot].input.bytes, &position)
                    connections[slot].input.consume(position)
                    if piece == .needsMore { return }
                } else {
                    guard try head.parse(connections[slot].input.bytes) else { return }
                    begin(slot)
                }
            } catch {
                return close(slot)
            }
            guard connections[slot].body.isComplete else { continue }
            connections[slot].isInBody = false
            // A sample's answers fit any socket buffer.
            _ = connections[slot].descriptor.send(connections[slot].pending.span)
            if connections[slot].closes { return close(slot) }
        }
    }

    private mutating func begin(_ slot: Slab<Connection>.Index) {
        served += 1
        let bytes = connections[slot].input.bytes
        let path = String(decoding: bytes.array(head.targetStart, head.targetCount), as: UTF8.self)
        let method = String(decoding: bytes.array(head.methodStart, head.methodCount), as: UTF8.self)
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("instance", name)
        writer.field("pid", Process.pid)
        writer.field("method", method)
        writer.field("path", path)
        writer.field("served", served)
        writer.endObject()
        writer.endLine()
        var answer = Array(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: \(writer.bytes.count)\r\n".utf8)
        connections[slot].closes = !head.keepsAlive
        if connections[slot].closes { answer.append(contentsOf: "Connection: close\r\n".utf8) }
        answer.append(contentsOf: [0x0d, 0x0a])
        if head.method != .head { answer.append(contentsOf: writer.bytes) }
        connections[slot].pending = answer
        connections[slot].body = BodyDecoder(head.framing, status: 400)
        connections[slot].isInBody = true
        connections[slot].input.consume(head.byteCount)
    }
}
