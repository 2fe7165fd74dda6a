import Shared

/// HTTP/1.1 towards the client, for one exchange: the request is read, the response is written. The rest of the forwarder speaks of heads,
/// pieces of a body, trailers and ends. The text of heads is in `Answers`, which is HTTP/1.1, too.
struct ClientCodec: ~Copyable {
    /// The client knows HTTP/1.0 only: no chunks, no interim responses.
    let isHTTP10: Bool
    private var decoder: BodyDecoder
    private var encoder = BodyEncoder.asGiven

    init(isHTTP10: Bool, _ decoder: BodyDecoder) {
        self.isHTTP10 = isHTTP10
        self.decoder = decoder
    }

    /// For a request whose head was read from `bytes`. `maxFields`: trailer fields at most.
    @inline(__always)
    init(_ head: RequestHead, _ bytes: Span<UInt8>, maxFields: Int) {
        isHTTP10 = head.minorVersion == 0
        let excluded = head.fields.nominated.isEmpty ? [] : head.fields.nominatedNames(in: bytes)
        decoder = BodyDecoder(head.framing, status: 400, excluding: excluded, maxFields: maxFields)
    }

    /// For a request whose head is invalid: bytes after it are never read as a request.
    static var unreadable: ClientCodec { ClientCodec(isHTTP10: false, BodyDecoder(.chunked, status: 400)) }

    // MARK: The request

    /// Reads a head from the front of `bytes`. False: it is not complete yet.
    @inline(__always)
    static func readHead(_ bytes: Span<UInt8>, to head: inout RequestHead, _ bounds: RequestHead.Bounds)
        throws(HTTPFault) -> Bool
    {
        try head.parse(bytes, bounds: bounds)
    }

    /// Whether a request that was not read is HEAD.
    static func isHead(_ bytes: Span<UInt8>) -> Bool {
        bytes.spells("HEAD ", at: 0) || bytes.spells("\r\nHEAD ", at: 0)
    }

    /// The whole body was read.
    var isComplete: Bool { decoder.isComplete }

    /// The next piece of the body at `position`, which is moved behind it. The pieces of a length end without `.end`.
    @inline(__always)
    mutating func next(_ bytes: Span<UInt8>, _ position: inout Int) throws(HTTPFault) -> ChunkedDecoder.Piece {
        try decoder.next(bytes, &position)
    }

    /// The trailers that may be forwarded, as lines.
    func trailers() throws(HTTPFault) -> [UInt8] { try decoder.forwardableTrailers() }

    /// Drops what is here of the body, because this forwarder responds by itself. False: it is not whole.
    mutating func discard(_ input: inout Buffer) -> Bool {
        while !decoder.isComplete, !input.isEmpty {
            var position = 0
            guard let piece = try? next(input.bytes, &position) else { return false }
            if piece == .end, (try? trailers()) == nil { return false }
            input.consume(position)
        }
        return decoder.isComplete
    }

    // MARK: The response

    /// Writes the head of an interim response, 101 among them.
    func writeInterim(_ head: ResponseHead, _ bytes: Span<UInt8>, _ identity: Identity, to out: inout Buffer) {
        ForwardedResponse.write(
            head, bytes, framing: .asGiven, closes: false, keepAliveToHTTP10: false, identity: identity, to: &out)
    }

    /// Chooses how the body is written for a body that the instance has delimited as `source`.
    @inline(__always)
    mutating func begin(_ source: BodyFraming) { encoder = .forClient(of: source, isHTTP10: isHTTP10) }

    /// Writes the head of the final response. `keepsClient`: the connection stays open behind the response.
    @inline(__always)
    func writeHead(
        _ head: ResponseHead, _ bytes: Span<UInt8>, keepsClient: Bool, _ identity: Identity, to out: inout Buffer
    ) {
        ForwardedResponse.write(
            head, bytes, framing: encoder, closes: !keepsClient, keepAliveToHTTP10: isHTTP10 && keepsClient,
            identity: identity, to: &out)
    }

    /// Writes a whole response of this forwarder's own.
    func write(
        _ own: OwnAnswer, requestID: String, isHead: Bool, keepsClient: Bool, _ identity: Identity,
        to out: inout Buffer
    ) {
        own.write(
            requestID: requestID, isHead: isHead, keepsClient: keepsClient, clientIsHTTP10: isHTTP10,
            identity: identity, to: &out)
    }

    /// The end of the connection is the end of the body.
    var endsWithConnection: Bool { encoder == .untilClose }
    /// Pieces of the body go out as they are.
    var isTransparent: Bool { encoder.isTransparent }

    /// Writes a piece of the body. `out` must have room for it and `BodyEncoder.frameBytes`.
    @inline(__always)
    func write(_ piece: Span<UInt8>, to out: inout Buffer) { encoder.write(piece, to: &out) }

    /// Writes the end of the body. `trailers`: whole lines.
    @inline(__always)
    func writeEnd(_ trailers: [UInt8], to out: inout Buffer) { encoder.writeEnd(trailers, to: &out) }
}
