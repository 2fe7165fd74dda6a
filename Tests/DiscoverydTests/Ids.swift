import Shared
import Testing

@testable import discoveryd

/// Instances get their ids in the order of the configuration.
extension Slab.Index: ExpressibleByIntegerLiteral {
    public init(integerLiteral value: Int) { self.init(value) }
}

/// `#expect` for what it cannot look into: values that cannot be copied, and calls that change them.
func expect(_ condition: Bool, _ comment: String = "", _ location: SourceLocation = #_sourceLocation) {
    #expect(condition, "\(comment)", sourceLocation: location)
}
