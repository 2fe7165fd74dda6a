import Shared

/// A client that sees every byte.
final class Client {
    struct Response {
        var status: UInt16
        /// The head as it came.
        var head: String
        var body: [UInt8]

        var text: String { String(decoding: body, as: UTF8.self) }

        /// All values of a field.
        func values(_ name: String) -> [String] {
            head.split(separator: "\r\n").dropFirst().compactMap { line in
                let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, parts[0].lowercased() == name.lowercased() else { return nil }
                return parts[1].trimmed
            }
        }
    }

    struct Fault: Error, CustomStringConvertible {
        let description: String
    }

    let descriptor: Descriptor
    private let queue: EventQueue
    private var received: [UInt8] = []

    init(port: UInt16) throws {
        (descriptor, _) = try Socket.connect(to: .loopback(port: port))
        queue = try EventQueue(eventsPerTurn: 1)
        try queue.add(descriptor, token: 0, interest: [.writable])
        guard try queue.wait(timeoutMilliseconds: 5000) > 0, Socket.pendingError(descriptor) == nil else {
            throw Fault(description: "cannot connect to port \(port)")
        }
        try queue.modify(descriptor, token: 0, interest: [.readable])
    }

    /// A connection that is open already.
    init(_ descriptor: Descriptor) throws {
        self.descriptor = descriptor
        queue = try EventQueue(eventsPerTurn: 1)
        try queue.add(descriptor, token: 0, interest: [.readable])
    }

    private var isClosed = false

    func close() {
        if !isClosed { descriptor.close() }
        isClosed = true
    }

    deinit { close() }

    /// Sends the end of the stream; reading goes on.
    func endSending() { Socket.shutdownWrite(descriptor) }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let result = descriptor.send(bytes.span.extracting(sent..<bytes.count))
            if let count = result.count {
                sent += count
            } else if result.isAgain {
                try queue.modify(descriptor, token: 0, interest: [.writable])
                guard try queue.wait(timeoutMilliseconds: 20_000) > 0 else {
                    throw Fault(description: "not writable for 20 s")
                }
                try queue.modify(descriptor, token: 0, interest: [.readable])
            } else {
                throw result.error
            }
        }
    }

    /// More bytes; false at the end of the stream.
    private func receive() throws -> Bool {
        guard try queue.wait(timeoutMilliseconds: 20_000) > 0 else {
            throw Fault(description: "nothing came for 20 s; so far: \(String(decoding: received, as: UTF8.self))")
        }
        var chunk = [UInt8](repeating: 0, count: 65536)
        var span = chunk.mutableSpan
        let result = descriptor.receive(into: &span)
        guard let count = result.count else {
            if result.isAgain { return true }
            throw result.error
        }
        received += chunk[..<count]
        return count > 0
    }

    /// Everything up to the end of the stream.
    func readToEnd() throws -> String {
        while try receive() {}
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }

    /// Exactly so many bytes.
    func read(count: Int) throws -> [UInt8] {
        while received.count < count {
            guard try receive() else { throw Fault(description: "closed after \(received.count) of \(count) bytes") }
        }
        defer { received.removeFirst(count) }
        return Array(received[..<count])
    }

    /// What has come up to and with `text`; it is taken.
    func readSome(until text: String) throws -> String {
        while !String(decoding: received, as: UTF8.self).contains(text) {
            guard try receive() else { throw Fault(description: "closed before \(text)") }
        }
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }

    /// One response, interim ones included in `interim`.
    func read(isHead: Bool = false, interim: inout [UInt16]) throws -> Response {
        var head = ResponseHead()
        while true {
            while true {
                let soFar = received
                if try head.parse(soFar.span, maxBytes: 1 << 20) { break }
                guard try receive() else {
                    throw Fault(description: "closed before a head: \(String(decoding: received, as: UTF8.self))")
                }
            }
            let text = String(decoding: received[..<head.byteCount], as: UTF8.self)
            received.removeFirst(head.byteCount)
            if head.isInterim {
                interim.append(head.status)
                continue
            }
            var decoder = BodyDecoder(head.framing(requestWasHead: isHead), status: 502)
            var body: [UInt8] = []
            var position = 0
            while !decoder.isComplete {
                let soFar = received
                switch try decoder.next(soFar.span, &position) {
                case .data(let start, let count): body += received[start..<start + count]
                case .end: break
                case .needsMore:
                    received.removeFirst(position)
                    position = 0
                    if try !receive() {
                        guard decoder.endsWithConnection else {
                            throw Fault(description: "closed inside a body after \(body.count) bytes")
                        }
                        return Response(status: head.status, head: text, body: body)
                    }
                }
            }
            received.removeFirst(position)
            return Response(status: head.status, head: text, body: body)
        }
    }

    func read(isHead: Bool = false) throws -> Response {
        var interim: [UInt16] = []
        return try read(isHead: isHead, interim: &interim)
    }

    /// One request on a connection of its own.
    static func get(_ port: UInt16, _ path: String, headers: String = "") throws -> Response {
        let client = try Client(port: port)
        try client.send("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\(headers)\r\n")
        return try client.read()
    }
}

extension Substring {
    var trimmed: String { String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()) }
}
