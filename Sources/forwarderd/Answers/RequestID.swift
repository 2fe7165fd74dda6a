import Shared

/// The id of a request in the instance's log, the access log and error responses: the client's `X-Request-Id`, or a generated one.
struct RequestID {
    private(set) var made: (UInt64, UInt64) = (0, 0)
    /// The client's id; `givenCount` is 0 if it sent none.
    private var given = InlineArray<128, UInt8>(repeating: 0)
    private var givenCount = 0

    mutating func make(_ high: UInt64, _ low: UInt64) {
        made = (high, low)
        givenCount = 0
    }

    /// Takes the client's id.
    mutating func take(_ head: RequestHead, _ bytes: Span<UInt8>) {
        guard head.fields.requestIDIndex >= 0 else { return }
        let line = head.fields.lines[head.fields.requestIDIndex]
        let start = Int(line.valueStart)
        givenCount = min(Int(line.valueCount), given.count)
        for index in 0..<givenCount { given[index] = bytes[start + index] }
    }

    var text: String {
        givenCount == 0
            ? Text.hexadecimal(made.0) + Text.hexadecimal(made.1)
            : String(decoding: given.indices.prefix(givenCount).map { given[$0] }, as: UTF8.self)
    }
}
