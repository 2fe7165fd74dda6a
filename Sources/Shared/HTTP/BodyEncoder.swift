/// Writes a body in the framing of its receiver (RFC 9112 6): the counterpart of `BodyDecoder`.
public enum BodyEncoder: UInt8, Sendable {
    /// As its sender has announced it, by a length, or there is none.
    case asGiven
    /// In the chunked coding (RFC 9112 7.1).
    case chunked
    /// Its end is the end of the connection (HTTP/1.0 clients).
    case untilClose

    /// Bytes that the frame of one piece adds at most.
    public static let frameBytes = 20

    /// For the response to a client that may know HTTP/1.0 only.
    public static func forClient(of source: BodyFraming, isHTTP10: Bool) -> BodyEncoder {
        switch source {
        case .none, .length: .asGiven
        case .chunked, .untilClose: isHTTP10 ? .untilClose : .chunked
        }
    }

    /// Pieces go out as they are.
    @inlinable public var isTransparent: Bool { self != .chunked }

    /// One piece. `out` must have room for it and `frameBytes`. An empty piece writes nothing: in chunks it would be the end.
    @inlinable @inline(__always)
    public func write(_ piece: Span<UInt8>, to out: inout Buffer) {
        if piece.isEmpty { return }
        guard self == .chunked else { return out.append(piece) }
        out.append(hexadecimal: UInt64(piece.count))
        out.append("\r\n")
        out.append(piece)
        out.append("\r\n")
    }

    /// The end of the body. `trailers`: whole lines, which only chunks can carry.
    public func writeEnd(_ trailers: [UInt8], to out: inout Buffer) {
        guard self == .chunked else { return }
        out.append("0\r\n")
        out.append(trailers)
        out.append("\r\n")
    }
}
