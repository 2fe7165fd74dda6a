/// A forwarder's part of what all of them together may have.
public struct Share: Equatable, Sendable {
    /// From 0.
    public var index: Int
    /// How many forwarders there are, at least 1.
    public var of: Int
    /// Client connections that all of them had when this was said.
    public var connections: Int

    public init(index: Int, of: Int, connections: Int = 0) {
        self.index = index
        self.of = max(1, of)
        self.connections = connections
    }

    /// Whether one with so many connections has clearly more than its part: others are to have the next. Where it has far more than
    /// all had, the figure is old, and nobody is to wait because of it.
    public func isExceeded(by connections: Int) -> Bool {
        let part = self.connections / of
        return of > 1 && connections > part + max(part / 4, Limits.connectionsAboveShare)
            && connections <= self.connections + self.connections / 2
    }

    /// This one's part of a limit: the parts add up to it, but none is below 1.
    public func part(of limit: Int) -> Int {
        max(1, limit / of + (index < limit % of ? 1 : 0))
    }
}
