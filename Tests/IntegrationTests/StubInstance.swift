import Foundation
import Shared
import Synchronization

/// An instance that answers exactly what a test says and remembers exactly what it got.
final class StubInstance: Sendable {
    enum Answer: Sendable {
        /// These bytes; the connection stays open.
        case bytes(String)
        /// These bytes, then the connection is closed.
        case bytesAndClose(String)
        /// The connection is closed without a byte.
        case close
        /// These bytes, then whatever comes is sent back; at its end `bye`, and the end.
        case echo(String)
        /// Pieces, each sent when the test calls `release`.
        case pieces([String])
    }

    /// What the threads share; the stub itself only closes the listener when the test lets go of it.
    private final class Core: Sendable {
        let heads = Mutex<[String]>([])
        let ordinals = Mutex<[Int]>([])
        let trailers = Mutex<[String]>([])
        let bodies = Mutex<[[UInt8]]>([])
        let gate = DispatchSemaphore(value: 0)
        let arrived = DispatchSemaphore(value: 0)
        let pieceSent = DispatchSemaphore(value: 0)
        let broken = DispatchSemaphore(value: 0)
        let handler: @Sendable (_ head: String, _ body: [UInt8]) -> Answer
        let readsBody: Bool

        init(_ readsBody: Bool, _ handler: @escaping @Sendable (_ head: String, _ body: [UInt8]) -> Answer) {
            self.readsBody = readsBody
            self.handler = handler
        }
    }

    let port: UInt16
    private let listener: Descriptor
    private let core: Core

    /// Heads of requests other than polls, in order.
    var received: [String] { core.heads.withLock { $0 } }

    /// For each of them how many requests came before it on its connection.
    var ordinals: [Int] { core.ordinals.withLock { $0 } }

    /// Bodies of the same requests.
    var bodies: [[UInt8]] { core.bodies.withLock { $0 } }

    /// The trailers that were worth forwarding, of requests with a chunked body.
    var trailers: [String] { core.trailers.withLock { $0 } }

    /// Waits until another request other than a poll has come.
    func waitForRequest() -> Bool { core.arrived.wait(timeout: .now() + 20) == .success }

    /// Waits until another piece has been sent.
    func waitForPiece() -> Bool { core.pieceSent.wait(timeout: .now() + 20) == .success }

    /// Waits until an echo has ended with an error.
    func waitForBreak() -> Bool { core.broken.wait(timeout: .now() + 20) == .success }

    /// Lets the next piece go.
    func release() { core.gate.signal() }

    /// `readsBody`: the handler is called when the whole body has come; otherwise right after the head.
    init(
        readsBody: Bool = true, on address: SocketAddress = .loopback(port: 0),
        _ handler: @escaping @Sendable (_ head: String, _ body: [UInt8]) -> Answer
    ) throws {
        let core = Core(readsBody, handler)
        let listener = try Socket.listen(on: address)
        try listener.setNonBlocking(false)
        self.core = core
        self.listener = listener
        port = try Socket.localAddress(listener)?.port ?? 0
        Thread.detachNewThread {
            while let (descriptor, _) = try? Socket.accept(listener) {
                try? descriptor.setNonBlocking(false)
                Thread.detachNewThread { Self.serve(descriptor, core) }
            }
            listener.close()
        }
    }

    // Wakes the accepting thread, which closes the listener.
    deinit { Socket.shutdownBoth(listener) }

    private static func serve(_ descriptor: Descriptor, _ core: Core) {
        defer { descriptor.close() }
        var input: [UInt8] = []
        var head = RequestHead()
        var ordinal = 0
        while true {
            while (try? head.parse(input.span)) != true { guard receive(descriptor, &input) else { return } }
            let text = String(decoding: input[..<head.byteCount], as: UTF8.self)
            input.removeFirst(head.byteCount)
            if text.hasPrefix("GET /health ") {
                guard send(descriptor, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") else { return }
                continue
            }
            var body: [UInt8] = []
            var decoder = BodyDecoder(head.framing, status: 400)
            var position = 0
            while core.readsBody, !decoder.isComplete {
                guard let piece = try? decoder.next(input.span, &position) else { return }
                switch piece {
                case .data(let start, let count): body += input[start..<start + count]
                case .end: break
                case .needsMore:
                    input.removeFirst(position)
                    position = 0
                    guard receive(descriptor, &input) else { return }
                }
            }
            input.removeFirst(position)
            if decoder.isChunked, let trailers = try? decoder.forwardableTrailers() {
                core.trailers.withLock { $0.append(String(decoding: trailers, as: UTF8.self)) }
            }
            core.bodies.withLock { $0.append(body) }
            core.ordinals.withLock { $0.append(ordinal) }
            ordinal += 1
            core.heads.withLock { $0.append(text) }
            core.arrived.signal()
            switch core.handler(text, body) {
            case .bytes(let bytes): guard send(descriptor, bytes) else { return }
            case .bytesAndClose(let bytes):
                _ = send(descriptor, bytes)
                return
            case .close: return
            case .echo(let bytes):
                guard send(descriptor, bytes) else { return }
                var chunk = [UInt8](repeating: 0, count: 65536)
                while true {
                    guard send(descriptor, input) else {
                        core.broken.signal()
                        return
                    }
                    var span = chunk.mutableSpan
                    guard let count = descriptor.receive(into: &span).count else {
                        core.broken.signal()
                        return
                    }
                    if count == 0 { break }
                    input = Array(chunk[..<count])
                }
                _ = send(descriptor, "bye")
                return
            case .pieces(let pieces):
                for piece in pieces {
                    core.gate.wait()
                    guard send(descriptor, piece) else { return }
                    core.pieceSent.signal()
                }
            }
        }
    }

    private static func receive(_ descriptor: Descriptor, _ input: inout [UInt8]) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 65536)
        var span = chunk.mutableSpan
        guard let count = descriptor.receive(into: &span).count, count > 0 else { return false }
        input += chunk[..<count]
        return true
    }

    private static func send(_ descriptor: Descriptor, _ text: String) -> Bool {
        send(descriptor, Array(text.utf8))
    }

    private static func send(_ descriptor: Descriptor, _ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            guard let count = descriptor.send(bytes.span.extracting(sent..<bytes.count)).count else { return false }
            sent += count
        }
        return true
    }

    /// A service of stubs, as configuration JSON; polled once at the start and then seldom.
    static func service(
        _ ports: [UInt16], paths: String = "\"/a\"", polling: String = "", policy: String = ""
    ) -> String {
        let servers = ports.map { "\"127.0.0.1:\($0)\"" }.joined(separator: ",")
        return
            "\"stub\": {\"servers\": [\(servers)], \"polling\": {\"method\": \"health\", \"endpoint\": \"/health\"\(polling)}, \"apis\": [\(paths)]\(policy)}"
    }
}
