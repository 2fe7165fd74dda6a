/// A forwarder's part of what all of them together may have.
public struct Share: Equatable, Sendable {
    /// From 0.
    public var index: Int
    /// How many forwarders there are, at least 1.
    public var of: Int

    public init(index: Int, of: Int) {
        self.index = index
        self.of = max(1, of)
    }

    /// This one's part of a limit: the parts add up to it, but none is below 1.
    public func part(of limit: Int) -> Int {
        max(1, limit / of + (index < limit % of ? 1 : 0))
    }
}
