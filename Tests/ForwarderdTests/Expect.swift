import Shared
import Testing

@testable import forwarderd

/// `#expect` for what it cannot look into: values that cannot be copied, and calls that change them.
func expect(_ condition: Bool, _ comment: String = "", _ location: SourceLocation = #_sourceLocation) {
    #expect(condition, "\(comment)", sourceLocation: location)
}

extension PendingRequest {
    /// Takes over what is at the front of `input`. Returns how many bytes that were.
    @discardableResult
    mutating func take(_ input: inout Buffer, _ codec: inout ClientCodec, limit: UInt64? = nil) throws(HTTPFault)
        -> Int
    {
        var taken = 0
        try take(&input, &codec, limit: limit, &taken)
        return taken
    }
}

extension ClientCodec {
    /// For a request whose body is delimited as `framing`.
    init(_ framing: BodyFraming, isHTTP10: Bool = false) {
        self.init(isHTTP10: isHTTP10, BodyDecoder(framing, status: 400))
    }
}

extension Exchange {
    /// An exchange without a client, for a request whose body is delimited as `framing`.
    init(isIdempotent: Bool = true, _ framing: BodyFraming = .none, withholdsBody: Bool = false, isHTTP10: Bool = false)
    {
        self.init(
            client: Slab<Client>.Index(0), isHead: false, keepsClient: true, isIdempotent: isIdempotent,
            request: PendingRequest(hasBody: framing != .none, withholdsBody: withholdsBody),
            clientCodec: ClientCodec(framing, isHTTP10: isHTTP10), instanceCodec: InstanceCodec(framing),
            entry: LedgerEntry(tally: Tally(begunAt: 1, bytesReceived: 0), record: nil))
    }

    /// The head of a final response has come.
    mutating func begin(_ framing: BodyFraming) {
        instanceCodec.begin(framing)
        clientCodec.begin(framing)
    }
}
