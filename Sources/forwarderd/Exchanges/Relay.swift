import Shared

/// The body of a final response on its way to the client: pieces come out of the instance's framing and go into the client's.
struct Relay {
    /// What is to be done with a piece.
    enum Step: Equatable {
        /// It is in `out`, or there was nothing to write.
        case written
        /// Send the bytes of this range unchanged, after `out`.
        case direct(start: Int, count: Int)
    }

    let encoder: BodyEncoder
    private var decoder: BodyDecoder

    /// `source`: as the instance frames the body. `excluding`: names that no trailer may have.
    init(
        _ source: BodyFraming, to encoder: BodyEncoder, excluding: [[UInt8]] = [], maxFields: Int = Limits.headFields
    ) {
        self.encoder = encoder
        decoder = BodyDecoder(source, status: 502, excluding: excluding, maxFields: maxFields)
    }

    var isComplete: Bool { decoder.isComplete }

    /// Moves the piece at `position` to `out` and advances `position`. `out` must have room for the piece with its frame, and for trailers.
    /// Throws if the response is invalid.
    @inline(__always)
    mutating func next(_ bytes: Span<UInt8>, _ position: inout Int, to out: inout Buffer) throws(HTTPFault) -> Step {
        switch try decoder.next(bytes, &position) {
        case .data(let start, let count):
            if encoder.isTransparent, count > Limits.copiedBodyBytes, !decoder.isChunked {
                return .direct(start: start, count: count)
            }
            encoder.write(bytes.extracting(start..<start &+ count), to: &out)
        case .end:
            // Invalid trailers make an invalid response, even where they are not forwarded.
            encoder.writeEnd(try decoder.forwardableTrailers(), to: &out)
        case .needsMore: break
        }
        return .written
    }

    /// The instance has ended its connection. True: that is the end of the body, and the client's form of it is in `out`.
    func end(to out: inout Buffer) -> Bool {
        guard decoder.endsWithConnection else { return false }
        encoder.writeEnd([], to: &out)
        return true
    }
}
