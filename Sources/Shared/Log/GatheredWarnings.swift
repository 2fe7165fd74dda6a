/// Warnings that may come again and again, by their kind: one line at a time, and in the next how many there were meanwhile. Whoever
/// can cause them cannot fill the log.
public struct GatheredWarnings: Sendable {
    private struct Kind {
        let name: String
        var saidAt: UInt64
        var unsaid = 0
    }

    private var kinds: [Kind] = []

    public init() {}

    /// Notes a warning. Returns the line to be written now; nil: it is only counted. `now`: milliseconds of the monotonic clock.
    public mutating func note(_ words: @autoclosure () -> String, kind: StaticString, now: UInt64) -> String? {
        let name = kind.description
        guard let index = kinds.firstIndex(where: { $0.name == name }) else {
            kinds.append(Kind(name: name, saidAt: now))
            return words()
        }
        guard now &- kinds[index].saidAt >= Limits.complaintGapMilliseconds else {
            kinds[index].unsaid += 1
            return nil
        }
        let unsaid = kinds[index].unsaid
        kinds[index].saidAt = now
        kinds[index].unsaid = 0
        return unsaid == 0 ? words() : "\(words()) (and \(unsaid) more like this)"
    }
}
