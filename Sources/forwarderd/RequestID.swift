import Shared

/// By what a request is known in the instance's log, in the access log and in errors: the client's own `X-Request-Id`, or one
/// that we make.
struct RequestID {
    static let givenBytes = 128

    private(set) var made: (UInt64, UInt64) = (0, 0)
    /// The client's, shortened; empty where it gave none. Its memory is used again by the next request.
    private var given: [UInt8] = []

    mutating func make(_ high: UInt64, _ low: UInt64) {
        made = (high, low)
        if !given.isEmpty { given.removeAll(keepingCapacity: true) }
    }

    /// Takes what stands in the request's fields.
    mutating func take(_ head: RequestHead, _ bytes: Span<UInt8>) {
        for line in head.fields.lines where line.name == .xRequestID && line.valueCount > 0 {
            let start = Int(line.valueStart)
            for index in start..<start + min(Self.givenBytes, Int(line.valueCount)) { given.append(bytes[index]) }
            return
        }
    }

    var text: String {
        given.isEmpty
            ? Text.hexadecimal(made.0) + Text.hexadecimal(made.1) : String(decoding: given, as: UTF8.self)
    }
}
