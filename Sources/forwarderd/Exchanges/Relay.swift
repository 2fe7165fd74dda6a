import Shared

/// The body of a final response on its way to the client: decoded from the instance's framing, written in the client's.
struct Relay {
    /// How the client can tell where the body ends.
    enum Framing: UInt8 {
        /// As the instance announced it, or there is none.
        case asGiven
        case chunked
        /// By the end of the connection (HTTP/1.0 clients).
        case untilClose

        /// For a client that may know HTTP/1.0 only.
        static func forClient(of framing: BodyFraming, isHTTP10: Bool) -> Framing {
            switch framing {
            case .none, .length: .asGiven
            case .chunked, .untilClose: isHTTP10 ? .untilClose : .chunked
            }
        }
    }

    /// What is to be done with a piece.
    enum Step: Equatable {
        /// It is in `out`, or there was nothing to write.
        case written
        /// The bytes of this range go out as they are, behind what is in `out`.
        case direct(start: Int, count: Int)
    }

    let framing: Framing
    private var decoder: BodyDecoder

    /// `source`: as the instance frames the body. `excluding`: names that no trailer may have.
    init(_ source: BodyFraming, to framing: Framing, excluding: [[UInt8]] = [], maxFields: Int = Limits.headFields) {
        self.framing = framing
        decoder = BodyDecoder(source, status: 502, excluding: excluding, maxFields: maxFields)
    }

    var isComplete: Bool { decoder.isComplete }

    /// The next piece at or after `position`, which is moved behind it. `out` must have room for the piece and a chunk's frame, and for
    /// the trailers at the end.
    @inline(__always)
    mutating func next(_ bytes: Span<UInt8>, _ position: inout Int, to out: inout Buffer) throws(HTTPFault) -> Step {
        switch try decoder.next(bytes, &position) {
        case .data(let start, let count):
            if framing == .chunked {
                ChunkedCoding.write(bytes.extracting(start..<start &+ count), to: &out)
            } else if count <= Limits.copiedBodyBytes || decoder.isChunked {
                out.append(bytes.extracting(start..<start &+ count))
            } else {
                return .direct(start: start, count: count)
            }
        case .end:
            guard framing == .chunked || decoder.isChunked else { break }
            // Invalid trailers make an invalid response, even where they are not forwarded.
            let trailers = try decoder.forwardableTrailers()
            if framing == .chunked { ChunkedCoding.writeEnd(trailers, to: &out) }
        case .needsMore: break
        }
        return .written
    }

    /// The instance has ended its connection. True: that is the end of the body, and the client's framing of it is in `out`.
    func end(to out: inout Buffer) -> Bool {
        guard decoder.endsWithConnection else { return false }
        if framing == .chunked { ChunkedCoding.writeEnd([], to: &out) }
        return true
    }
}
