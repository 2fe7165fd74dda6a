import Testing

/// `#expect` for what it cannot look into: values that cannot be copied, and calls that change them.
func expect(_ condition: Bool, _ comment: String = "", _ location: SourceLocation = #_sourceLocation) {
    #expect(condition, "\(comment)", sourceLocation: location)
}
