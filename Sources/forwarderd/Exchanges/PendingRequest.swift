import Shared

/// A request on its way to an instance: its canonical head and the unframed bytes of its body. Both are kept while the request may have to
/// be sent again on another connection.
struct PendingRequest: ~Copyable {
    private enum Body: UInt8 {
        /// The client waits for 100 (Continue) before it sends its body.
        case withheld
        /// The client has more to send.
        case open
        /// All of it is in the buffer, or was sent.
        case complete
    }

    /// Head and body; the readable bytes are all that may be sent again.
    private(set) var buffer = Buffer.none
    private var body: Body
    private let encoder: BodyEncoder
    private var decoder: BodyDecoder
    private var bodyBytes: UInt64 = 0
    private var trailers: [UInt8] = []
    /// Bytes of the buffer that are the head.
    private var headBytes = 0
    /// Bytes of the buffer that the present connection has taken over.
    private(set) var sent = 0
    /// The last chunk was written to the present connection.
    private var hasSentEnd = false
    /// Framed bytes wait at the connection.
    var hasUnsentFrames = false
    /// Where the value of Host is in the head, if it is to be the chosen instance's.
    private var host: (start: Int, count: Int)?
    /// The protocols that the instance is offered to switch to; empty for none.
    var offeredUpgrade: [UInt8] = []

    /// `withholdsBody`: the client expects 100 (Continue).
    init(
        _ framing: BodyFraming, excluding: [[UInt8]] = [], maxFields: Int = Limits.headFields,
        withholdsBody: Bool = false
    ) {
        decoder = BodyDecoder(framing, status: 400, excluding: excluding, maxFields: maxFields)
        encoder = framing == .chunked ? .chunked : .asGiven
        body = decoder.isComplete ? .complete : withholdsBody ? .withheld : .open
    }

    /// A request whose head is invalid: bytes after it are never parsed as a request.
    static var unreadable: PendingRequest { PendingRequest(.chunked) }

    /// The whole body has come.
    var isComplete: Bool { body == .complete }
    /// The client waits for 100 (Continue).
    var isWithheld: Bool { body == .withheld }
    /// Every byte that is here was handed over.
    var isDrained: Bool {
        sent == buffer.count && !hasUnsentFrames && (encoder.isTransparent || !isComplete || hasSentEnd)
    }
    var isHandedOver: Bool { isComplete && isDrained }
    /// Bytes that can be sent as they are.
    var unframed: Span<UInt8>? {
        @_lifetime(borrow self)
        get { encoder.isTransparent ? buffer.bytes.extracting(sent..<buffer.count) : nil }
    }

    // MARK: From the client

    /// Takes the buffer that holds the head. `host`: the place of the Host value, where it is to be replaced.
    mutating func begin(_ buffer: inout Buffer, host: (start: Int, count: Int)?) {
        swap(&self.buffer, &buffer)
        headBytes = self.buffer.count
        self.host = host
    }

    /// The client does not wait any longer.
    mutating func noteContinue() { if body == .withheld { body = .open } }

    /// Moves body bytes from the front of `input` to the buffer while there is room, and adds to `taken` how many bytes of `input` that were.
    /// `limit`: the longest body allowed. Throws if the body is invalid; bytes after it must not be read as a request then.
    mutating func take(_ input: inout Buffer, limit: UInt64?, _ taken: inout Int) throws(HTTPFault) {
        while body != .complete, !input.isEmpty {
            // Leave room for a longer Host value.
            let room = buffer.free - (host != nil ? Limits.authorityBytes : 0)
            guard room > 0 else { return }
            noteContinue()
            let position = try takePiece(input.bytes.extracting(first: room), limit: limit)
            input.consume(position)
            taken &+= position
        }
    }

    /// Takes over the next piece of the body. Returns how many of the bytes that were.
    @inline(__always)
    private mutating func takePiece(_ bytes: Span<UInt8>, limit: UInt64?) throws(HTTPFault) -> Int {
        var position = 0
        switch try decoder.next(bytes, &position) {
        case .data(let start, let count):
            bodyBytes &+= UInt64(count)
            if let limit, bodyBytes > limit { throw HTTPFault(413, "a body of more than \(ByteSize.text(limit))") }
            buffer.append(bytes.extracting(start..<start &+ count))
            if encoder.isTransparent, decoder.isComplete { body = .complete }
        case .needsMore: break
        case .end:
            trailers = try decoder.forwardableTrailers()
            body = .complete
        }
        return position
    }

    /// Drops the body that is at the front of `input`, because this forwarder responds by itself.
    mutating func discard(_ input: inout Buffer) {
        while body != .complete, !input.isEmpty {
            var position = 0
            guard let piece = try? decoder.next(input.bytes, &position) else { return }
            if piece == .end, (try? decoder.forwardableTrailers()) == nil { return }
            input.consume(position)
            if decoder.isComplete || piece == .end { body = .complete }
        }
    }

    // MARK: To the instance

    /// Another connection is about to be used. `authority`: of its instance.
    mutating func rewind(authority: [UInt8]) {
        sent = 0
        hasSentEnd = false
        hasUnsentFrames = false
        guard let place = host else { return }
        buffer.replace(place.start, place.count, with: authority)
        headBytes &+= authority.count &- place.count
        host = (place.start, authority.count)
    }

    mutating func noteSent(_ count: Int) { sent &+= count }

    /// Writes what was not handed over yet in the framing of the instance. `out` must have room for the buffer's bytes, a chunk's
    /// frame and the trailers, and all of it counts as handed over.
    mutating func frame(into out: inout Buffer) {
        let bodyStart = max(sent, headBytes)
        if sent < headBytes { out.append(buffer.bytes.extracting(sent..<headBytes)) }
        encoder.write(buffer.bytes.extracting(bodyStart..<buffer.count), to: &out)
        sent = buffer.count
        if isComplete, !hasSentEnd {
            hasSentEnd = true
            encoder.writeEnd(trailers, to: &out)
        }
    }

    /// Drops the bytes that were sent if there is little room for more of the body. True: they can no longer be sent again.
    mutating func dropSentIfFull() -> Bool {
        guard buffer.free < Limits.requestRoomBytes + (host != nil ? Limits.authorityBytes : 0), sent == buffer.count
        else { return false }
        buffer.removeAll()
        sent = 0
        headBytes = 0
        host = nil
        return true
    }

    /// The request is not needed any longer.
    mutating func giveBack(to pool: inout BufferPool) {
        pool.giveBack(from: &buffer)
        sent = 0
        headBytes = 0
    }
}
