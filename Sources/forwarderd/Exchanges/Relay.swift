import Shared

/// The body of a final response on its way to the client: pieces come out of the instance's framing and go into the client's.
enum Relay {
    /// What is to be done with a piece.
    enum Step: Equatable {
        /// It is in `out`, or there was nothing to write.
        case written
        /// Send the bytes of this range unchanged, after `out`.
        case direct(start: Int, count: Int)
    }

    /// Moves the piece at `position` to `out` and advances `position`. `out` must have room for the piece with its frame, and for trailers.
    /// Throws if the response is invalid.
    @inline(__always)
    static func next(
        _ bytes: Span<UInt8>, _ position: inout Int, from source: inout InstanceCodec, to target: borrowing ClientCodec,
        _ out: inout Buffer
    ) throws(HTTPFault) -> Step {
        switch try source.next(bytes, &position) {
        case .data(let start, let count):
            if target.isTransparent, count > Limits.copiedBodyBytes, source.isUnframed {
                return .direct(start: start, count: count)
            }
            target.write(bytes.extracting(start..<start &+ count), to: &out)
        case .end:
            // Invalid trailers make an invalid response, even where they are not forwarded.
            target.writeEnd(try source.trailers(), to: &out)
        case .needsMore: break
        }
        return .written
    }

    /// The instance has ended its connection. True: that is the end of the body, and the client's form of it is in `out`.
    static func end(from source: borrowing InstanceCodec, to target: borrowing ClientCodec, _ out: inout Buffer) -> Bool
    {
        guard source.endsWithConnection else { return false }
        target.writeEnd([], to: &out)
        return true
    }
}
