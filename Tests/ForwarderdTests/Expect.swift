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
    mutating func take(_ input: inout Buffer, limit: UInt64? = nil) throws(HTTPFault) -> Int {
        var taken = 0
        try take(&input, limit: limit, &taken)
        return taken
    }
}
