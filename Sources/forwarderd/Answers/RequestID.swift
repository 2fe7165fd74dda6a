import Shared

/// By what a request is known in the instance's log, in the access log and in errors: the client's own `X-Request-Id`, or one
/// that we make.
struct RequestID {
    private(set) var made: (UInt64, UInt64) = (0, 0)
    /// The client's; empty where it gave none. Its memory is used again by the next request.
    private var given: [UInt8] = []

    mutating func make(_ high: UInt64, _ low: UInt64) {
        made = (high, low)
        if !given.isEmpty { given.removeAll(keepingCapacity: true) }
    }

    /// Takes what stands in the request's fields.
    mutating func take(_ head: RequestHead, _ bytes: Span<UInt8>) {
        guard head.fields.requestIDIndex >= 0 else { return }
        let line = head.fields.lines[head.fields.requestIDIndex]
        let start = Int(line.valueStart)
        for index in start..<start + Int(line.valueCount) { given.append(bytes[index]) }
    }

    var text: String {
        given.isEmpty
            ? Text.hexadecimal(made.0) + Text.hexadecimal(made.1) : String(decoding: given, as: UTF8.self)
    }
}
