/// A response's head (RFC 9112 4): offsets into the bytes it was read from. Kept and reused.
public struct ResponseHead: Sendable {
    public private(set) var status: UInt16 = 0
    public private(set) var minorVersion = 1
    public private(set) var reasonStart = 0
    public private(set) var reasonCount = 0
    public private(set) var fields = FieldLines()
    public private(set) var byteCount = 0

    public init() {}

    public var isInterim: Bool { status < 200 }

    /// Whether the connection may carry another exchange (RFC 9112 9.3).
    public var keepsAlive: Bool { !fields.closes && (minorVersion >= 1 || fields.keepsAlive) }

    /// How the body is delimited, given the request's method (RFC 9112 6.3).
    public func framing(requestWasHead: Bool) -> BodyFraming {
        if requestWasHead || isInterim || status == 204 || status == 304 { return .none }
        if fields.hasTransferEncoding { return .chunked }
        if let length = fields.contentLength { return length == 0 ? .none : .length(length) }
        return .untilClose
    }

    /// Reads a head from the front of `bytes`. False: not all of it is there yet.
    public mutating func parse(
        _ bytes: Span<UInt8>, maxBytes: Int = Limits.headBytes, maxFields: Int = Limits.headFields
    )
        throws(HTTPFault) -> Bool
    {
        fields.removeAll()
        var index = 0
        guard try parseLine(bytes, &index),
            try fields.read(bytes, from: &index, side: .response, maxFields: maxFields)
        else {
            if bytes.count >= maxBytes { throw HTTPFault(502, "a head of more than \(maxBytes) bytes", .headTooLarge) }
            return false
        }
        if index > maxBytes { throw HTTPFault(502, "a head of more than \(maxBytes) bytes", .headTooLarge) }
        if minorVersion == 0, fields.hasTransferEncoding {
            throw HTTPFault(502, "Transfer-Encoding in HTTP/1.0", .transferEncodingInHTTP10)
        }
        byteCount = index
        return true
    }

    /// What stands at the front of the bytes of a response.
    public enum Part: Sendable {
        /// More bytes are needed.
        case incomplete
        /// The head of an interim response: another head follows (RFC 9110 15.2).
        case interim
        /// 101: bytes of another protocol follow (RFC 9110 15.2.2).
        case switched
        /// The head of the final response.
        case final
    }

    /// Reads a head from the front of `bytes`: `byteCount` bytes, unless it is incomplete.
    @inlinable
    public mutating func next(_ bytes: Span<UInt8>, maxBytes: Int, maxFields: Int) throws(HTTPFault) -> Part {
        guard try parse(bytes, maxBytes: maxBytes, maxFields: maxFields) else { return .incomplete }
        if !isInterim { return .final }
        return status == 101 ? .switched : .interim
    }

    /// Reads the head of the final response of one who has asked for no upgrade, and removes it from the front of `input` with all interim
    /// ones. False: it is not complete yet. What `input` holds then is at its front.
    public mutating func readFinal(from input: inout Buffer, maxBytes: Int, maxFields: Int) throws(HTTPFault) -> Bool {
        while true {
            switch try next(input.bytes, maxBytes: maxBytes, maxFields: maxFields) {
            case .incomplete:
                input.compact()
                return false
            case .interim: input.consume(byteCount)
            case .switched: throw HTTPFault(502, "101 without an upgrade", .unaskedUpgrade)
            case .final:
                input.consume(byteCount)
                return true
            }
        }
    }

    private mutating func parseLine(_ bytes: Span<UInt8>, _ index: inout Int) throws(HTTPFault) -> Bool {
        let count = bytes.count
        guard count >= 14 else {
            // Enough to tell garbage from a slow start.
            let expected: [UInt8] = Array("HTTP/1.".utf8)
            for offset in 0..<min(expected.count, count) where bytes[offset] != expected[offset] {
                throw HTTPFault(502, "an answer that is not HTTP/1", .notHTTP)
            }
            return false
        }
        guard bytes.word(at: 0) & 0xff_ffff_ffff_ffff == 0x2e_312f_5054_5448 else {
            throw HTTPFault(502, "an answer that is not HTTP/1", .notHTTP)
        }
        let minor = bytes[7] &- 0x30
        guard minor <= 9, bytes[8] == 0x20 else { throw HTTPFault(502, "a bad status line", .statusLine) }
        minorVersion = minor == 0 ? 0 : 1
        let (a, b, c) = (bytes[9] &- 0x30, bytes[10] &- 0x30, bytes[11] &- 0x30)
        guard a >= 1, a <= 5, b <= 9, c <= 9 else {
            throw HTTPFault(502, "a status that is no number from 100 to 599", .statusNumber)
        }
        status = UInt16(a) &* 100 &+ UInt16(b) &* 10 &+ UInt16(c)
        index = 12
        // Some servers leave out the space before an empty reason.
        if bytes[index] == 0x20 {
            index = 13
        } else if bytes[index] != 0x0d {
            throw HTTPFault(502, "a bad status line", .statusLine)
        }
        reasonStart = index
        index = Grammar.endOfFieldValue(bytes, index)
        reasonCount = index &- reasonStart
        guard index &+ 1 < count else { return false }
        guard bytes[index] == 0x0d, bytes[index &+ 1] == 0x0a else {
            throw HTTPFault(
                502, "\(bytes[index] == 0x0a ? "bare LF" : "a control byte") in the status line",
                bytes[index] == 0x0a ? .bareLF : .controlByte)
        }
        index &+= 2
        return true
    }
}
