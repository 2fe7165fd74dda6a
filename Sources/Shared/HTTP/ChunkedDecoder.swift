/// Reads the chunked coding (RFC 9112 7.1) strictly: 1 to 16 hex digits, CRLF everywhere, extensions checked against their
/// grammar, then dropped, and bounded in total; trailers kept aside and bounded. Works across any split of the bytes.
public struct ChunkedDecoder: Sendable {
    public enum Piece: Equatable, Sendable {
        /// Data at an offset of the span given.
        case data(start: Int, count: Int)
        /// All bytes are used; more are needed.
        case needsMore
        /// The body is complete; the position is behind it.
        case end
    }

    private enum State: UInt8, Sendable {
        case sizeFirst, size, sizeLineFeed, data, dataCarriageReturn, dataLineFeed
        // A chunk extension: *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ).
        case beforeSemicolon, beforeName, name, beforeEquals, beforeValue, value, quoted, quotedPair, afterQuoted
        case trailerFirst, trailer, trailerLineFeed, endLineFeed, done
    }

    private var state = State.sizeFirst
    private var digits = 0
    private var remaining: UInt64 = 0
    private var extensionBytes = 0
    private var dataBytes: UInt64 = 0
    /// Names that no forwarded trailer may have, in lower case.
    private let excluded: [[UInt8]]
    /// The trailer section's lines as they came, each with its CRLF.
    public private(set) var trailers: [UInt8] = []
    private let status: UInt16
    private let maxFields: UInt16

    /// `status` is what a fault carries: 400 for requests, 502 for responses. `excluding`: names that the head's Connection
    /// nominated, in lower case. `maxFields`: trailer fields at most.
    public init(status: UInt16, excluding: [[UInt8]] = [], maxFields: Int = Limits.headFields) {
        self.status = status
        self.maxFields = UInt16(clamping: maxFields)
        excluded = excluding
    }

    /// The next piece at or after `position`, which is moved behind it.
    public mutating func next(_ bytes: Span<UInt8>, _ position: inout Int) throws(HTTPFault) -> Piece {
        while position < bytes.count {
            if state == .data {
                let count = Int(clamping: min(remaining, UInt64(bytes.count &- position)))
                let start = position
                position &+= count
                remaining &-= UInt64(count)
                dataBytes &+= UInt64(count)
                if remaining == 0 { state = .dataCarriageReturn }
                return .data(start: start, count: count)
            }
            let byte = bytes[position]
            position &+= 1
            try step(byte)
            if state == .done { return .end }
        }
        return .needsMore
    }

    private func fault(_ reason: String) -> HTTPFault { HTTPFault(status, reason) }

    private mutating func step(_ byte: UInt8) throws(HTTPFault) {
        switch state {
        case .sizeFirst, .size:
            if let digit = Text.hexValue(byte) {
                digits &+= 1
                guard digits <= 16 else { throw fault("a chunk size of more than 16 digits") }
                remaining = remaining << 4 | UInt64(digit)
                state = .size
            } else if state == .size, byte == 0x0d {
                state = .sizeLineFeed
            } else if state == .size, byte == 0x3b || Self.isBlank(byte) {
                state = byte == 0x3b ? .beforeName : .beforeSemicolon
                try countExtension()
            } else {
                throw fault("byte \(Text.hex(byte)) in a chunk size")
            }
        case .beforeSemicolon, .beforeName, .name, .beforeEquals, .beforeValue, .value, .quoted, .quotedPair,
            .afterQuoted:
            try countExtension()
            try stepInExtension(byte)
        case .sizeLineFeed:
            guard byte == 0x0a else { throw fault("bare CR in a chunk size line") }
            guard remaining <= UInt64(Int64.max) else { throw fault("a chunk of more than 2^63-1 bytes") }
            state = remaining == 0 ? .trailerFirst : .data
            digits = 0
        case .data:
            break
        case .dataCarriageReturn:
            guard byte == 0x0d else { throw fault("no CRLF after chunk data") }
            state = .dataLineFeed
        case .dataLineFeed:
            guard byte == 0x0a else { throw fault("no CRLF after chunk data") }
            state = .sizeFirst
        case .trailerFirst:
            if byte == 0x0d { state = .endLineFeed } else { try trailer(byte) }
        case .trailer:
            try trailer(byte)
        case .trailerLineFeed:
            guard byte == 0x0a else { throw fault("bare CR in a trailer") }
            trailers.append(0x0a)
            state = .trailerFirst
        case .endLineFeed:
            guard byte == 0x0a else { throw fault("bare CR after the last chunk") }
            state = .done
        case .done:
            break
        }
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    /// One byte of a chunk extension (RFC 9112 7.1.1). What is read is dropped: an extension is for the next hop only.
    private mutating func stepInExtension(_ byte: UInt8) throws(HTTPFault) {
        switch state {
        case .beforeSemicolon:
            if byte == 0x3b { state = .beforeName } else if !Self.isBlank(byte) { throw extensionFault(byte) }
        case .beforeName:
            if Grammar.isToken(byte) { state = .name } else if !Self.isBlank(byte) { throw extensionFault(byte) }
        case .name:
            if Self.isBlank(byte) {
                state = .beforeEquals
            } else if byte == 0x3d {
                state = .beforeValue
            } else if !Grammar.isToken(byte) {
                try endExtension(byte)
            }
        case .beforeEquals:
            if byte == 0x3d {
                state = .beforeValue
            } else if byte == 0x3b {
                state = .beforeName
            } else if !Self.isBlank(byte) {
                throw extensionFault(byte)
            }
        case .beforeValue:
            if byte == 0x22 {
                state = .quoted
            } else if Grammar.isToken(byte) {
                state = .value
            } else if !Self.isBlank(byte) {
                throw extensionFault(byte)
            }
        case .value:
            if !Grammar.isToken(byte) { try endExtension(byte) }
        case .quoted:
            if byte == 0x22 {
                state = .afterQuoted
            } else if byte == 0x5c {
                state = .quotedPair
            } else if !Grammar.isFieldValue(byte) {
                throw extensionFault(byte)
            }
        case .quotedPair:
            guard Grammar.isFieldValue(byte) else { throw extensionFault(byte) }
            state = .quoted
        case .afterQuoted:
            try endExtension(byte)
        case .sizeFirst, .size, .sizeLineFeed, .data, .dataCarriageReturn, .dataLineFeed, .trailerFirst, .trailer,
            .trailerLineFeed, .endLineFeed, .done:
            break
        }
    }

    /// A byte behind a complete extension: the line ends, or another extension follows.
    private mutating func endExtension(_ byte: UInt8) throws(HTTPFault) {
        if byte == 0x0d {
            state = .sizeLineFeed
        } else if byte == 0x3b {
            state = .beforeName
        } else if Self.isBlank(byte) {
            state = .beforeSemicolon
        } else {
            throw extensionFault(byte)
        }
    }

    private func extensionFault(_ byte: UInt8) -> HTTPFault {
        fault(byte == 0x0a ? "bare LF in a chunk extension" : "byte \(Text.hex(byte)) in a chunk extension")
    }

    private mutating func countExtension() throws(HTTPFault) {
        extensionBytes &+= 1
        // In total, and in proportion to the data: a long body may have an extension in each chunk.
        guard UInt64(extensionBytes) <= UInt64(Limits.chunkExtensionBytes) &+ dataBytes / 8 else {
            throw fault("chunk extensions of more than \(Limits.chunkExtensionBytes) bytes and an eighth of the data")
        }
    }

    private mutating func trailer(_ byte: UInt8) throws(HTTPFault) {
        guard trailers.count < Limits.trailerBytes else {
            throw HTTPFault(status == 400 ? 431 : status, "trailers of more than \(Limits.trailerBytes) bytes")
        }
        guard byte == 0x0d || Grammar.isFieldValue(byte) else {
            throw fault(byte == 0x0a ? "bare LF in a trailer" : "byte \(Text.hex(byte)) in a trailer")
        }
        trailers.append(byte)
        state = byte == 0x0d ? .trailerLineFeed : .trailer
    }

    /// The trailer fields that may be passed on, as lines with CRLF: names that decide framing, routing or the connection
    /// are dropped (RFC 9110 6.5.1), malformed lines are faults.
    public func forwardableTrailers() throws(HTTPFault) -> [UInt8] {
        guard !trailers.isEmpty else { return [] }
        let section = trailers + [0x0d, 0x0a]
        var fields = FieldLines()
        var position = 0
        let side = status == 400 ? FieldLines.Side.request : .response
        guard try fields.read(section.span, from: &position, side: side, maxFields: Int(maxFields), isTrailer: true)
        else {
            throw fault("malformed trailers")
        }
        var out: [UInt8] = []
        for line in fields.lines {
            guard line.name == .other || line.name == .date else { continue }
            let name = section[Int(line.nameStart)..<Int(line.nameStart + line.nameCount)]
            let lower = name.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 }
            if excluded.contains(lower) || Self.isForHeads(lower) { continue }
            out.append(contentsOf: section[Int(line.nameStart)..<Int(line.nameStart + line.nameCount)])
            out.append(contentsOf: [0x3a, 0x20])
            out.append(contentsOf: section[Int(line.valueStart)..<Int(line.valueStart + line.valueCount)])
            out.append(contentsOf: [0x0d, 0x0a])
        }
        return out
    }
}

extension ChunkedDecoder {
    /// Fields of authentication, of what the content is, of control and of conditions, which a trailer comes too late for and must
    /// not change (RFC 9110 6.5.1). `name` is in lower case.
    private static func isForHeads(_ name: [UInt8]) -> Bool {
        [
            "authorization", "cookie", "set-cookie", "www-authenticate", "content-type", "content-encoding",
            "content-range", "content-location", "content-language", "content-disposition", "cache-control", "pragma",
            "expires", "age", "vary", "location", "retry-after", "range", "if-match", "if-none-match", "if-range",
            "if-modified-since", "if-unmodified-since", "accept-encoding", "prefer", "x-http-method-override",
        ]
        .contains { name.elementsEqual($0.utf8) }
    }
}

/// Follows a body of any framing through the bytes of a connection.
public struct BodyDecoder: Sendable {
    private enum Kind: Sendable {
        case none
        case length(UInt64)
        case chunked(ChunkedDecoder)
        case untilClose
    }

    private var kind: Kind
    public private(set) var isComplete: Bool

    /// `status` is what a fault carries: 400 for requests, 502 for responses.
    /// `excluding`: names that no forwarded trailer may have, in lower case.
    public init(
        _ framing: BodyFraming, status: UInt16, excluding: [[UInt8]] = [], maxFields: Int = Limits.headFields
    ) {
        isComplete = false
        switch framing {
        case .none:
            kind = .none
            isComplete = true
        case .length(let length):
            kind = .length(length)
            isComplete = length == 0
        case .chunked:
            kind = .chunked(ChunkedDecoder(status: status, excluding: excluding, maxFields: maxFields))
        case .untilClose: kind = .untilClose
        }
    }

    /// Whether the end of the connection is the regular end of this body.
    public var endsWithConnection: Bool {
        if case .untilClose = kind { return true }
        return false
    }

    public var isChunked: Bool {
        if case .chunked = kind { return true }
        return false
    }

    /// The next piece at or after `position`, which is moved behind it.
    @inline(__always)
    public mutating func next(_ bytes: Span<UInt8>, _ position: inout Int) throws(HTTPFault) -> ChunkedDecoder.Piece {
        switch kind {
        case .none:
            return .end
        case .length(let remaining):
            if remaining == 0 { return .end }
            let count = Int(clamping: min(remaining, UInt64(bytes.count &- position)))
            if count == 0 { return .needsMore }
            let start = position
            position &+= count
            kind = .length(remaining &- UInt64(count))
            isComplete = remaining == UInt64(count)
            return .data(start: start, count: count)
        case .untilClose:
            let count = bytes.count &- position
            if count == 0 { return .needsMore }
            let start = position
            position &+= count
            return .data(start: start, count: count)
        case .chunked(var decoder):
            kind = .none
            let piece = try decoder.next(bytes, &position)
            if piece == .end { isComplete = true }
            kind = .chunked(decoder)
            return piece
        }
    }

    /// See `ChunkedDecoder.forwardableTrailers`.
    public func forwardableTrailers() throws(HTTPFault) -> [UInt8] {
        if case .chunked(let decoder) = kind { return try decoder.forwardableTrailers() }
        return []
    }
}
