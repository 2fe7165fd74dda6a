import Shared

/// A request on its way to an instance: its canonical head, the unframed bytes of its body and its trailers. They are kept while the request
/// may have to be sent again on another connection.
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
    private var buffer = Buffer.none
    private var body: Body
    private var bodyBytes: UInt64 = 0
    /// Whole lines.
    private(set) var trailers: [UInt8] = []
    /// Bytes of the buffer that are the head.
    private var headBytes = 0
    /// Bytes of the buffer that the present connection has taken over.
    private var sent = 0
    /// The end of the body was written to the present connection.
    private var hasSentEnd = false
    /// Framed bytes wait at the connection.
    var hasUnsentFrames = false
    /// Where the value of Host is in the head, if it is to be the chosen instance's.
    private var host: (start: Int, count: Int)?
    /// The protocols that the instance is offered to switch to; empty for none.
    var offeredUpgrade: [UInt8] = []

    /// `withholdsBody`: the client expects 100 (Continue).
    init(hasBody: Bool, withholdsBody: Bool = false) {
        body = !hasBody ? .complete : withholdsBody ? .withheld : .open
    }

    /// The whole body has come.
    var isComplete: Bool { body == .complete }
    /// The client waits for 100 (Continue).
    var isWithheld: Bool { body == .withheld }
    /// Every byte that is here was handed over.
    var isDrained: Bool { sent == buffer.count && !hasUnsentFrames && !owesEnd }
    var isHandedOver: Bool { isComplete && isDrained }
    /// The end of the body is known and was not handed over.
    var owesEnd: Bool { isComplete && !hasSentEnd }
    /// What was not handed over: head and body, unframed.
    var unsent: Span<UInt8> {
        @_lifetime(borrow self)
        get { buffer.bytes.extracting(sent..<buffer.count) }
    }
    var unsentHead: Span<UInt8> {
        @_lifetime(borrow self)
        get { buffer.bytes.extracting(min(sent, headBytes)..<headBytes) }
    }
    var unsentBody: Span<UInt8> {
        @_lifetime(borrow self)
        get { buffer.bytes.extracting(max(sent, headBytes)..<buffer.count) }
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
    @inline(__always)
    mutating func take(_ input: inout Buffer, _ codec: inout ClientCodec, limit: UInt64?, _ taken: inout Int)
        throws(HTTPFault)
    {
        while body != .complete, !input.isEmpty {
            // Leave room for a longer Host value.
            let room = buffer.free - (host != nil ? Limits.authorityBytes : 0)
            guard room > 0 else { return }
            noteContinue()
            let position = try takePiece(input.bytes.extracting(first: room), &codec, limit: limit)
            input.consume(position)
            taken &+= position
        }
    }

    /// Takes over the next piece of the body. Returns how many of the bytes that were.
    @inline(__always)
    private mutating func takePiece(_ bytes: Span<UInt8>, _ codec: inout ClientCodec, limit: UInt64?)
        throws(HTTPFault) -> Int
    {
        var position = 0
        switch try codec.next(bytes, &position) {
        case .data(let start, let count):
            bodyBytes &+= UInt64(count)
            if let limit, bodyBytes > limit { throw HTTPFault(413, "a body of more than \(ByteSize.text(limit))") }
            buffer.append(bytes.extracting(start..<start &+ count))
            if codec.isComplete { body = .complete }
        case .needsMore: break
        case .end:
            trailers = try codec.trailers()
            body = .complete
        }
        return position
    }

    /// The body is whole, and nobody wants it: this forwarder responds by itself.
    mutating func noteDiscarded() { body = .complete }

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

    /// The instance has taken bytes as they are kept. With the last of a body goes its end.
    mutating func noteSent(_ count: Int) {
        sent &+= count
        if sent == buffer.count, isComplete { hasSentEnd = true }
    }

    /// Everything that is here was handed over, and with a whole body its end.
    mutating func noteAllSent() { noteSent(buffer.count &- sent) }

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
