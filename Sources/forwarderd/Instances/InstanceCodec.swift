import Shared

/// HTTP/1.1 towards the instance, for one exchange: the request is written, the response is read. The rest of the forwarder speaks of heads,
/// pieces of a body, trailers and ends. The text of heads is in `Answers`, which is HTTP/1.1, too.
struct InstanceCodec: ~Copyable {
    private let encoder: BodyEncoder
    /// Nil before the head of the final response.
    private var decoder: BodyDecoder?

    /// `framing`: of the request's body, as the client has delimited it.
    init(_ framing: BodyFraming) { encoder = framing == .chunked ? .chunked : .asGiven }

    // MARK: The request

    /// The request goes out as it is kept.
    var isTransparent: Bool { encoder.isTransparent }

    /// Writes what was not handed over yet, all of which counts as handed over. `out` must have room for the bytes that are kept, a
    /// chunk's frame and the trailers.
    func write(_ request: inout PendingRequest, to out: inout Buffer) {
        out.append(request.unsentHead)
        encoder.write(request.unsentBody, to: &out)
        if request.owesEnd { encoder.writeEnd(request.trailers, to: &out) }
        request.noteAllSent()
    }

    // MARK: The response

    /// Reads a head from the front of `bytes`. `offeredUpgrade`: the protocols that the instance may switch to.
    @inline(__always)
    func readHead(
        _ bytes: Span<UInt8>, to head: inout ResponseHead, _ settings: ForwarderSettings, offeredUpgrade: [UInt8]
    ) throws(HTTPFault) -> ResponseHead.Part {
        let part = try head.next(bytes, maxBytes: settings.headBytes, maxFields: settings.headFields)
        if part == .switched { try UpgradeProtocols.check(head, bytes, offered: offeredUpgrade) }
        return part
    }

    /// The body of the final response begins. Returns how the instance has delimited it.
    @inline(__always)
    mutating func begin(_ head: ResponseHead, _ bytes: Span<UInt8>, requestWasHead: Bool, maxFields: Int)
        -> BodyFraming
    {
        let framing = head.framing(requestWasHead: requestWasHead)
        begin(
            framing, excluding: head.fields.nominated.isEmpty ? [] : head.fields.nominatedNames(in: bytes),
            maxFields: maxFields)
        return framing
    }

    /// `excluding`: names that no trailer may have. `maxFields`: trailer fields at most.
    @inline(__always)
    mutating func begin(_ framing: BodyFraming, excluding: [[UInt8]] = [], maxFields: Int = Limits.headFields) {
        decoder = BodyDecoder(framing, status: 502, excluding: excluding, maxFields: maxFields)
    }

    /// The head of the final response was read.
    var hasHead: Bool { decoder != nil }
    /// The whole response was read.
    var isComplete: Bool { decoder?.isComplete ?? false }
    /// Pieces of the body may be long, and have no frames between them.
    var isUnframed: Bool { decoder.map { !$0.isChunked } ?? false }
    /// The end of the connection is the end of the body.
    var endsWithConnection: Bool { decoder?.endsWithConnection ?? false }

    /// The next piece of the body at `position`, which is moved behind it. Throws if the response is invalid.
    @inline(__always)
    mutating func next(_ bytes: Span<UInt8>, _ position: inout Int) throws(HTTPFault) -> ChunkedDecoder.Piece {
        try decoder?.next(bytes, &position) ?? .needsMore
    }

    /// The trailers that may be forwarded, as lines. Throws if they are invalid.
    func trailers() throws(HTTPFault) -> [UInt8] { try decoder?.forwardableTrailers() ?? [] }
}
