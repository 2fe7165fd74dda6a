/// A forwarder's side of its counters: a file in the runtime directory, mapped, so that counting is adding to memory and nothing is
/// lost when the forwarder is killed. Whoever reads it knows by the lock whether the forwarder lives.
public struct CounterFile: ~Copyable {
    /// Below the runtime directory; empty where the counters are ours alone.
    public private(set) var name: String
    private var words: SharedWords
    private var rowByKey: [UInt64: Int32] = [:]
    private var rows = 1

    /// Why the counters are ours alone.
    public private(set) var trouble: Errno?

    /// Makes the file. Where that is impossible, the counters are kept in memory that nobody else sees, and `trouble` says why.
    public static func make(in directory: String, index: Int?) throws(Errno) -> CounterFile {
        let name = "counters." + Text.hexadecimal(SystemRandom.word())
        do throws(Errno) {
            let file = try Files.createLocked(directory + "/" + name)
            do throws(Errno) {
                return try CounterFile(name, file, index, nil)
            } catch {
                Files.remove(directory + "/" + name)
                throw error
            }
        } catch {
            return try CounterFile("", .none, index, error)
        }
    }

    private init(_ name: String, _ file: Descriptor, _ index: Int?, _ trouble: Errno?) throws(Errno) {
        self.name = name
        self.trouble = trouble
        var words = try SharedWords(file, capacity: CounterFileLayout.start(of: Limits.counterRows))
        try words.grow(to: CounterFileLayout.start(of: 1))
        self.words = words
        self[.version] = CounterFileLayout.version
        self[.pid] = UInt64(clamping: Process.pid)
        self[.startedAt] = Clock.wallMilliseconds()
        self[.index] = UInt64(clamping: index ?? 0)
        self[.rows] = 1
        self[.magic] = CounterFileLayout.magic
    }

    /// Counters that were ours alone go on in a file, with all that they have counted. False: there is still no room for it.
    public mutating func moveToFile(in directory: String, index: Int?) -> Bool {
        guard var next = try? Self.make(in: directory, index: index), next.trouble == nil else { return false }
        guard (try? next.words.grow(to: CounterFileLayout.start(of: rows))) != nil else {
            Files.remove(directory + "/" + next.name)
            return false
        }
        next[.magic] = 0
        for word in HeadCounter.startedAt.rawValue..<CounterFileLayout.start(of: rows) {
            next.words[word] = words[word]
        }
        next.rowByKey = rowByKey
        next.rows = rows
        next[.magic] = CounterFileLayout.magic
        self = next
        return true
    }

    public subscript(counter: HeadCounter) -> UInt64 {
        @inline(__always) get { words[counter.rawValue] }
        @inline(__always) mutating set { words[counter.rawValue] = newValue }
    }

    @inline(__always)
    public mutating func add(_ counter: HeadCounter, _ amount: UInt64 = 1) { words.add(amount, at: counter.rawValue) }

    @inline(__always)
    public mutating func add(_ counter: RowCounter, row: Int32, _ amount: UInt64 = 1) {
        words.add(amount, at: CounterFileLayout.start(of: Int(row)) &+ counter.rawValue)
    }

    @inline(__always)
    public mutating func observe(microseconds: UInt64, row: Int32) {
        let start = CounterFileLayout.start(of: Int(row))
        words.add(microseconds, at: start &+ RowCounter.latencySum.rawValue)
        words.add(1, at: start &+ RowCounter.firstBucket.rawValue &+ LatencyBuckets.index(microseconds))
    }

    /// The row of a key, made if it is new; the common one where there is no room for more.
    public mutating func row(_ kind: CounterKey.Kind, _ key: UInt64) -> Int32 {
        if let row = rowByKey[key] { return row }
        guard rows < Limits.counterRows, (try? words.grow(to: CounterFileLayout.start(of: rows + 1))) != nil else {
            return 0
        }
        let start = CounterFileLayout.start(of: rows)
        words[start + RowCounter.key.rawValue] = key
        words[start + RowCounter.kind.rawValue] = kind.rawValue
        let row = Int32(truncatingIfNeeded: rows)
        rowByKey[key] = row
        rows += 1
        self[.rows] = UInt64(rows)
        return row
    }
}
