import Shared

/// By what a request is known in the instance's log, in the access log and in errors: the client's own `X-Request-Id`, or one
/// that we make.
struct RequestID {
    private(set) var made: (UInt64, UInt64) = (0, 0)
    /// The client's; `givenCount` is 0 where it gave none.
    private var given = InlineArray<128, UInt8>(repeating: 0)
    private var givenCount = 0

    mutating func make(_ high: UInt64, _ low: UInt64) {
        made = (high, low)
        givenCount = 0
    }

    /// Takes what stands in the request's fields.
    mutating func take(_ head: RequestHead, _ bytes: Span<UInt8>) {
        guard head.fields.requestIDIndex >= 0 else { return }
        let line = head.fields.lines[head.fields.requestIDIndex]
        let start = Int(line.valueStart)
        givenCount = min(Int(line.valueCount), Limits.requestIDBytes)
        for index in 0..<givenCount { given[index] = bytes[start + index] }
    }

    var text: String {
        givenCount == 0
            ? Text.hexadecimal(made.0) + Text.hexadecimal(made.1)
            : String(decoding: given.indices.prefix(givenCount).map { given[$0] }, as: UTF8.self)
    }
}
