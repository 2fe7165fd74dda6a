import Shared

/// A connection on which discoveryd itself makes requests, one after the other: polls and `on_change`. A call connects or uses the connection
/// of the one before, sends, and reads up to the head of the final response, which is the outcome; the body is followed to its end, so that
/// the connection can be used again.
struct HTTPCall: ~Copyable {
    enum Phase {
        /// No connection.
        case closed
        case connecting
        /// It stands, and the request is not begun.
        case connected
        case awaitingHead
        /// The outcome is out; the rest of the body is read.
        case drainingBody
        /// The connection waits for the next call.
        case kept
    }

    enum Step: Equatable {
        case pending
        /// The connection stands: `send` is next.
        case connected
        /// The head of the final response is in `Reader.head`.
        case answered
        case failed(Failure)
    }

    enum Failure: Equatable {
        case system(Errno)
        /// Closed without a whole head.
        case closed
        case malformed(HTTPFault.Kind)
        /// No buffer could be had.
        case noMemory
    }

    /// What many calls share: the buffers, the head that was read last, and what bounds heads.
    struct Reader: ~Copyable {
        var head = ResponseHead()
        private(set) var buffers: BufferPool
        var headBytes = Limits.headBytes
        var headFields = Limits.headFields

        /// `limit`: answers that are read at a time.
        init(limit: Int, keep: Int) {
            buffers = BufferPool(bufferBytes: Limits.pollHeadBytes, limit: limit, keep: keep)
        }

        fileprivate mutating func lease(_ input: inout Buffer) -> Bool {
            if !input.isLeased { input = buffers.lease() }
            return input.isLeased
        }

        fileprivate mutating func giveBack(_ input: inout Buffer) { buffers.giveBack(from: &input) }
    }

    private(set) var phase = Phase.closed
    private var stream = Stream(.none)
    /// The connection has served an earlier call.
    private(set) var isReused = false
    /// Calls on this connection, the present one included.
    private(set) var calls: UInt16 = 0
    private var input = Buffer.none
    private var sent: Int32 = 0
    private var isSent = false
    /// Bytes received for the present call, interim responses and framing included, and of its body.
    private var receivedBytes: Int32 = 0
    private var bodyBytes: Int32 = 0
    private var body = BodyDecoder(.none, status: 502)

    var isOpen: Bool { phase != .closed }

    // MARK: Connecting and sending

    /// Begins a connection. `sendsFirst`: a request follows at once.
    mutating func connect(
        to address: SocketAddress, sendsFirst: Bool = true, _ token: Token, _ loop: borrowing EventLoop
    ) -> Step {
        isReused = false
        calls = 0
        do throws(Errno) {
            let (descriptor, isConnected) = try Socket.connect(to: address, noDelay: false, sendsFirst: sendsFirst)
            stream = Stream(descriptor)
            phase = .connecting
            try loop.add(descriptor, token, [.readable, .writable, .peerClosed, .edgeTriggered])
            return isConnected ? established(address) : .pending
        } catch {
            return .failed(.system(error))
        }
    }

    private mutating func established(_ address: SocketAddress) -> Step {
        phase = .connected
        // A dead port of this machine's own ephemeral range may connect to itself (RFC 9293 3.5, simultaneous open).
        if Socket.isConnectedToItself(stream.descriptor, address) { return .failed(.system(.connectionRefused)) }
        return .connected
    }

    /// Sends a request on the connection that stands. What does not go out now goes with `sendRest`.
    mutating func send(_ request: Span<UInt8>) -> Step {
        isReused = phase == .kept
        phase = .awaitingHead
        receivedBytes = 0
        bodyBytes = 0
        calls &+= 1
        sent = 0
        isSent = false
        return sendRest(request)
    }

    /// Whether `sendRest` is wanted when the socket is writable.
    var hasUnsent: Bool { phase == .awaitingHead && !isSent }

    mutating func sendRest(_ request: Span<UInt8>) -> Step {
        let start = min(Int(sent), request.count)
        switch stream.send(request.extracting(start..<request.count)) {
        case .bytes(let count):
            sent += Int32(truncatingIfNeeded: count)
            isSent = Int(sent) == request.count
            return .pending
        case .nothing: return .pending
        case .failed(let error): return .failed(.system(error))
        }
    }

    // MARK: Receiving

    /// Something has happened on the socket; what is unsent is the caller's to send first.
    mutating func ready(_ readiness: Readiness, _ address: SocketAddress, _ reader: inout Reader) -> Step {
        stream.note(readiness)
        switch phase {
        case .closed, .connected: return .pending
        case .kept:
            // Data or an end on a connection that is only kept: it is of no more use.
            if stream.mayReceive { close(&reader) }
            return .pending
        case .connecting:
            if !readiness.isDisjoint(with: [.error, .hangUp]), let error = Socket.pendingError(stream.descriptor) {
                return .failed(.system(error))
            }
            return readiness.contains(.writable) ? established(address) : .pending
        case .awaitingHead: return stream.mayReceive ? readHead(&reader) : .pending
        case .drainingBody:
            drainBody(&reader)
            return .pending
        }
    }

    /// The peer may speak first, and the event does not come again.
    var mayReceive: Bool { stream.mayReceive }

    mutating func readHead(_ reader: inout Reader) -> Step {
        guard reader.lease(&input) else { return .failed(.noMemory) }
        while true {
            switch stream.receive(into: &input) {
            case .nothing: return .pending
            case .end: return .failed(.closed)
            case .failed(let error): return .failed(.system(error))
            case .bytes(let count): receivedBytes += Int32(truncatingIfNeeded: count)
            }
            // Interim responses without end are a malformed response.
            if receivedBytes > Limits.pollBodyBytes { return .failed(.malformed(.endlessInterim)) }
            do throws(HTTPFault) {
                if try reader.head.readFinal(from: &input, maxBytes: reader.headBytes, maxFields: reader.headFields) {
                    body = BodyDecoder(reader.head.framing(requestWasHead: false), status: 502)
                    phase = .drainingBody
                    return .answered
                }
            } catch {
                return .failed(.malformed(error.kind))
            }
            if input.free == 0 { return .failed(.malformed(.headTooLarge)) }
        }
    }

    /// A failed connection that was kept accuses nobody: the call may begin anew on a fresh one.
    var mayBeginAnew: Bool { isReused && input.isEmpty && receivedBytes == 0 }

    /// Whether the connection may be kept, as far as the head that was just read says.
    func mayKeep(_ reader: borrowing Reader) -> Bool { reader.head.keepsAlive && !body.endsWithConnection }

    /// Follows the body; at its end the connection is kept, beyond the limit or on nonsense it is closed.
    mutating func drainBody(_ reader: inout Reader) {
        while followBody(&reader) {
            input.compact()
            guard case .bytes(let count) = stream.receive(into: &input) else {
                // Nothing now, or never again.
                if stream.mayReceive || stream.hasEndAhead { close(&reader) }
                return
            }
            receivedBytes += Int32(truncatingIfNeeded: count)
            if receivedBytes > Limits.pollHeadBytes + Limits.pollBodyBytes { return close(&reader) }
        }
    }

    /// True: more of the body is to be received.
    private mutating func followBody(_ reader: inout Reader) -> Bool {
        var position = 0
        while true {
            let piece: ChunkedDecoder.Piece
            do throws(HTTPFault) {
                piece = try Self.next(&body, input, &position)
            } catch {
                close(&reader)
                return false
            }
            switch piece {
            case .data(_, let count):
                bodyBytes += Int32(truncatingIfNeeded: count)
                if bodyBytes > Limits.pollBodyBytes {
                    close(&reader)
                    return false
                }
                if body.isComplete { continue }
            case .needsMore:
                input.consume(position)
                return true
            case .end:
                input.consume(position)
                // Bytes after a response are never a response.
                if !input.isEmpty {
                    close(&reader)
                    return false
                }
                phase = .kept
                reader.giveBack(&input)
                return false
            }
        }
    }

    private static func next(_ body: inout BodyDecoder, _ input: borrowing Buffer, _ position: inout Int)
        throws(HTTPFault) -> ChunkedDecoder.Piece
    {
        let piece = try body.next(input.bytes, &position)
        // Bad trailers make a bad response, whose connection is not used again.
        if piece == .end { _ = try body.forwardableTrailers() }
        return piece
    }

    mutating func close(_ reader: inout Reader) {
        if isOpen { stream.close() }
        phase = .closed
        stream = Stream(.none)
        reader.giveBack(&input)
    }
}
