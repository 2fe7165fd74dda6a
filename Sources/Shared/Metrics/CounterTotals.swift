/// Counters of any number of forwarders, added up.
public struct CounterTotals: Sendable {
    public struct Row: Sendable {
        fileprivate var words = [UInt64](repeating: 0, count: CounterFileLayout.rowWords)

        public init() {}

        public subscript(counter: RowCounter) -> UInt64 { words[counter.rawValue] }
        public var latencies: ArraySlice<UInt64> {
            words[RowCounter.firstBucket.rawValue..<RowCounter.firstBucket.rawValue + LatencyBuckets.count]
        }

        public mutating func add(_ other: Row) {
            for index in RowCounter.summed { words[index] &+= other.words[index] }
        }
    }

    /// By key.
    public private(set) var rows: [UInt64: Row] = [:]
    private var head = [UInt64](repeating: 0, count: HeadCounter.allCases.count)

    public init() {}

    public subscript(counter: HeadCounter) -> UInt64 { head[counter.rawValue] }

    /// What a counter file's head says, if it is one.
    public static func head(_ file: [UInt8]) -> (HeadCounter) -> UInt64 {
        { word(file, $0.rawValue) }
    }

    /// Adds a counter file's content. False: it is none, or of another version. `isOver`: its forwarder is dead, what was present
    /// in it is no more.
    public mutating func add(_ file: [UInt8], isOver: Bool = false) -> Bool {
        guard Self.word(file, HeadCounter.magic.rawValue) == CounterFileLayout.magic,
            Self.word(file, HeadCounter.version.rawValue) == CounterFileLayout.version
        else { return false }
        for counter in HeadCounter.allCases where counter.isSummed && !(isOver && counter == .openConnections) {
            head[counter.rawValue] &+= Self.word(file, counter.rawValue)
        }
        let wholeRows = file.count / 8 / CounterFileLayout.rowWords - 1
        let used = min(Self.word(file, HeadCounter.rows.rawValue), UInt64(clamping: wholeRows))
        for row in 0..<Int(used) {
            let start = CounterFileLayout.start(of: row)
            let key = Self.word(file, start + RowCounter.key.rawValue)
            var words = rows[key] ?? Row()
            words.words[RowCounter.kind.rawValue] = Self.word(file, start + RowCounter.kind.rawValue)
            for index in RowCounter.summed { words.words[index] &+= Self.word(file, start + index) }
            if isOver {
                for present in [RowCounter.inFlight, .ejected] {
                    words.words[present.rawValue] = rows[key]?[present] ?? 0
                }
            }
            rows[key] = words
        }
        return true
    }

    public mutating func add(_ other: CounterTotals) {
        for index in head.indices { head[index] &+= other.head[index] }
        for (key, row) in other.rows { rows[key, default: Row()].add(row) }
    }

    private static func word(_ file: [UInt8], _ index: Int) -> UInt64 {
        guard index * 8 + 8 <= file.count else { return 0 }
        return file.span.word(at: index * 8)
    }

    /// Requests whose end nobody has counted: those under way, or lost with their forwarder.
    public var unended: UInt64 {
        let ended = self[.answeredByInstance] &+ self[.answeredByUs] &+ self[.clientGone] &+ self[.cut]
        return self[.accepted] > ended ? self[.accepted] - ended : 0
    }

    /// The bytes of a file that holds these totals.
    public func encoded(lastFolded: UInt64) -> [UInt8] {
        var words = [UInt64](repeating: 0, count: CounterFileLayout.rowWords)
        words.replaceSubrange(0..<head.count, with: head)
        words[HeadCounter.magic.rawValue] = CounterFileLayout.magic
        words[HeadCounter.version.rawValue] = CounterFileLayout.version
        words[HeadCounter.rows.rawValue] = UInt64(rows.count)
        words[HeadCounter.lastFolded.rawValue] = lastFolded
        for (key, row) in rows {
            var copy = row.words
            copy[RowCounter.key.rawValue] = key
            words += copy
        }
        return words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * UInt64($0))) } }
    }
}

extension HeadCounter {
    /// Whether the totals of several forwarders add up.
    var isSummed: Bool {
        switch self {
        case .magic, .version, .pid, .startedAt, .index, .rows, .epoch, .number, .lastFolded: false
        case .accepted, .answeredByInstance, .answeredByUs, .clientGone, .cut, .connections, .openConnections,
            .bytesReceived, .bytesSent:
            true
        }
    }
}
