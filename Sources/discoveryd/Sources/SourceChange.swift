import Shared

/// What a source says: all that there is from its side, or what has come and gone since it said something last.
struct SourceChange<Item: Sendable>: Sendable {
    enum Content: Sendable {
        case reset([Item])
        /// `removed`: by their names.
        case difference(added: [Item], removed: [String], changed: [Item])
    }

    /// Counts what the source has said, from 1.
    let version: UInt64
    let content: Content
}

/// How much a source's last word is worth.
enum SourceHealth: Equatable, Sendable {
    /// It has not said anything yet.
    case never
    case fresh
    /// It does not answer: what it said stands, since this moment (milliseconds of the loop's clock).
    case stale(since: UInt64)
}
