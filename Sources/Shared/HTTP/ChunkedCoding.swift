/// Writes the chunked coding (RFC 9112 7.1).
public enum ChunkedCoding {
    /// Bytes that the frame of one chunk adds to its data at most.
    public static let frameBytes = 20

    /// One chunk with all of `data`; nothing where there is none, since an empty chunk would end the body.
    @inlinable @inline(__always)
    public static func write(_ data: Span<UInt8>, to out: inout Buffer) {
        if data.isEmpty { return }
        out.append(hexadecimal: UInt64(data.count))
        out.append("\r\n")
        out.append(data)
        out.append("\r\n")
    }

    /// The last chunk and the trailer section; `trailers` are whole lines.
    public static func writeEnd(_ trailers: [UInt8], to out: inout Buffer) {
        out.append("0\r\n")
        out.append(trailers)
        out.append("\r\n")
    }
}
