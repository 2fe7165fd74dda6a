import Shared

/// What all forwarders have counted since serverpy's start: those that live, read from their files when somebody asks, and those
/// that are dead, whose files are added to the past once and removed.
final class Traffic {
    /// One that lives.
    struct Forwarder {
        let pid: UInt64
        let index: UInt64
        let startedAt: UInt64
        let accepted: UInt64
        let connections: UInt64
        /// Requests that have begun and not ended.
        let inFlight: UInt64
        let snapshot: SnapshotVersion

        init(_ head: (HeadCounter) -> UInt64) {
            pid = head(.pid)
            index = head(.index)
            startedAt = head(.startedAt)
            accepted = head(.accepted)
            connections = head(.openConnections)
            let ended = head(.answeredByInstance) &+ head(.answeredByUs) &+ head(.clientGone) &+ head(.cut)
            inFlight = accepted &- min(accepted, ended)
            snapshot = SnapshotVersion(epoch: head(.epoch), number: head(.number))
        }
    }

    private static let prefix = "counters."
    private static let pastName = "counters.past"

    private let directory: String
    private let log: Log
    private var past = CounterTotals()
    /// Of the file that was added to the past last: should we end before it is removed, it is not added again.
    private var lastFolded: UInt64 = 0
    private(set) var forwarders: [Forwarder] = []
    private(set) var totals = CounterTotals()
    /// Requests that ended with their forwarder.
    var lost: UInt64 { past.unended }
    /// When that was read, by Clock.monotonicMilliseconds; nil before the first time.
    private(set) var readAt: UInt64?
    private var rowsRead = 0
    /// Said once per trouble.
    private var complaint = ""

    init(directory: String, log: Log) {
        self.directory = directory
        self.log = log
        var bytes: [UInt8] = []
        do throws(Errno) {
            let file = try Files.open(directory + "/" + Self.pastName)
            defer { file.close() }
            // Of several forwarders together there may be more rows than one can have.
            bytes = try Files.read(file, maxBytes: Limits.pastCountersBytes)
        } catch .noEntry {
            return
        } catch {
            log.warning("\(directory)/\(Self.pastName) cannot be read (\(error)); counting begins anew")
            return
        }
        guard past.add(bytes) else {
            log.warning("\(directory)/\(Self.pastName) is no counter file; counting begins anew")
            return
        }
        lastFolded = CounterTotals.head(bytes)(.lastFolded)
    }

    /// Reads what there is now. Where that is much, at most every other second.
    func refresh(now: UInt64) {
        if let readAt, rowsRead > Limits.countersReadAtOnce, now < readAt + Limits.countersReadMilliseconds { return }
        readAt = now
        rowsRead = 0
        forwarders = []
        var living = CounterTotals()
        visit { name, file throws(Errno) in try read(name, file, &living) }
        forwarders.sort { ($0.index, $0.startedAt) < ($1.index, $1.startedAt) }
        totals = past
        totals.add(living)
    }

    /// Adds those that are dead to the past, so that their files do not pile up while nobody asks.
    func foldDead() {
        visit { name, file throws(Errno) in
            if try Files.lock(file) { fold(name, try content(file)) }
        }
    }

    private func visit(_ body: (String, Descriptor) throws(Errno) -> Void) {
        let names: [String]
        do throws(Errno) {
            names = try Files.list(directory).filter { $0.hasPrefix(Self.prefix) && $0 != Self.pastName }
        } catch {
            return complain("the forwarders' counters in \(directory) cannot be read: \(error)")
        }
        for name in names.sorted() {
            // Whatever is wrong with one, the others count.
            do throws(Errno) {
                let file = try Files.open(directory + "/" + name)
                defer { file.close() }
                let status = try Files.status(of: file)
                guard status.kind == .file else { throw .notRegular }
                // One that is being made has no size yet, and its lock is not to be disputed.
                if status.size > 0 { try body(name, file) }
            } catch .noEntry {
                continue
            } catch {
                complain("\(directory)/\(name) cannot be read: \(error)")
            }
        }
    }

    private func content(_ file: Descriptor) throws(Errno) -> [UInt8] {
        try Files.read(file, maxBytes: (Limits.counterRows + 1) * CounterFileLayout.rowWords * 8)
    }

    private func read(_ name: String, _ file: Descriptor, _ living: inout CounterTotals) throws(Errno) {
        let isOver = try Files.lock(file)
        let bytes = try content(file)
        rowsRead += bytes.count / (CounterFileLayout.rowWords * 8)
        if isOver {
            // Where it cannot be kept among the past, it counts as it is.
            if !fold(name, bytes) { _ = living.add(bytes, isOver: true) }
            return
        }
        guard living.add(bytes) else {
            // One that is being made says what it is last.
            if CounterTotals.head(bytes)(.magic) == 0 { return }
            return complain("\(directory)/\(name) is no counter file of this version")
        }
        forwarders.append(Forwarder(CounterTotals.head(bytes)))
    }

    /// Its forwarder is dead: what it counted belongs to the past. False: it cannot be kept there now.
    @discardableResult
    private func fold(_ name: String, _ bytes: [UInt8]) -> Bool {
        let id = UInt64(name.dropFirst(Self.prefix.count), radix: 16) ?? 0
        if id != lastFolded || id == 0 {
            var next = past
            guard next.add(bytes, isOver: true) else {
                complain("\(directory)/\(name) is no counter file of this version")
                return false
            }
            do {
                let (parent, _) = try Files.openPrivateDirectory(directory)
                defer { parent.close() }
                try Files.replace(Self.pastName, in: parent, with: next.encoded(lastFolded: id))
            } catch {
                // Its file stays, and is tried again with the next question.
                complain("the counters of a forwarder that ended cannot be kept: \(error)")
                return false
            }
            past = next
            lastFolded = id
        }
        Files.remove(directory + "/" + name)
        return true
    }

    private func complain(_ words: String) {
        if complaint != words { log.warning("\(words)") }
        complaint = words
    }

    /// Whether every forwarder that lives works with this snapshot or a later one.
    func isApplied(_ version: SnapshotVersion) -> Bool {
        var isApplied = true
        eachHead { if Forwarder($0).snapshot < version { isApplied = false } }
        return isApplied
    }

    /// Client connections of all that live: the heads of their files alone, whatever is behind them.
    func openConnections() -> Int {
        var sum: UInt64 = 0
        eachHead { sum &+= $0(.openConnections) }
        return Int(clamping: sum)
    }

    private func eachHead(_ body: ((HeadCounter) -> UInt64) -> Void) {
        var head = [UInt8](repeating: 0, count: CounterFileLayout.rowWords * 8)
        visit { _, file throws(Errno) in
            var span = head.mutableSpan
            // A dead one's stands for nothing; it is folded when somebody asks for more.
            guard file.read(into: &span).count == head.count, try !Files.lock(file) else { return }
            body(CounterTotals.head(head))
        }
    }

    /// How many requests each living forwarder has at these instances, and with which snapshot it works.
    func present(_ keys: [UInt64]) -> [(forwarder: Forwarder, inFlight: UInt64)] {
        var found: [(Forwarder, UInt64)] = []
        visit { name, file throws(Errno) in
            let isOver = try Files.lock(file)
            let bytes = try content(file)
            if isOver {
                fold(name, bytes)
                return
            }
            var counters = CounterTotals()
            guard counters.add(bytes) else { return }
            found.append(
                (Forwarder(CounterTotals.head(bytes)), keys.reduce(0) { $0 &+ (counters.rows[$1]?[.inFlight] ?? 0) }))
        }
        return found
    }

    /// What was counted of an instance.
    func row(_ instance: InstanceName) -> CounterTotals.Row? {
        totals.rows[CounterKey.hash(.instance, instance.service, instance.label)]
    }

    /// What was counted of one of a service's API paths.
    func row(path: String, of service: String) -> CounterTotals.Row? {
        totals.rows[CounterKey.hash(.path, service, path)]
    }
}

extension CounterTotals.Row {
    /// Names of the words, as all answers use them.
    static let classes: [(name: StaticString, counter: RowCounter)] = [
        ("1xx", .status1xx), ("2xx", .status2xx), ("3xx", .status3xx), ("4xx", .status4xx), ("5xx", .status5xx),
    ]
    static let failures: [(name: StaticString, counter: RowCounter)] = [
        ("connect", .failedConnect), ("connect_timeout", .connectTimedOut), ("connection_lost", .connectionLost),
        ("timeout", .timedOut), ("bad_answer", .badAnswer),
    ]

    /// As a JSON object.
    func write(to writer: inout JSONWriter, isPath: Bool) {
        writer.beginObject()
        writer.field("requests", self[.requests])
        writer.field("in_flight", self[.inFlight])
        writer.key("status")
        writer.beginObject()
        for (name, counter) in Self.classes { writer.field(name, self[counter]) }
        writer.endObject()
        if isPath {
            writer.field("answered_by_us", self[.tries])
        } else {
            writer.field("ejected_by", self[.ejected])
            writer.field("tries", self[.tries])
            writer.key("failures")
            writer.beginObject()
            for (name, counter) in Self.failures { writer.field(name, self[counter]) }
            writer.endObject()
        }
        writer.field("client_gone", self[.clientGone])
        writer.field("cut", self[.cut])
        writer.field("bytes_received", self[.bytesReceived])
        writer.field("bytes_sent", self[.bytesSent])
        writer.key("latency_ms")
        let counts = Array(latencies)
        let total = counts.reduce(0, &+)
        if total == 0 {
            writer.null()
        } else {
            writer.beginObject()
            writer.key("mean")
            writer.value(Self.milliseconds(Double(self[.latencySum]) / Double(total)))
            for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
                writer.key(name)
                writer.value(Self.milliseconds(LatencyBuckets.quantile(share, counts) ?? 0))
            }
            writer.endObject()
        }
        writer.endObject()
    }

    private static func milliseconds(_ microseconds: Double) -> Double { (microseconds).rounded() / 1000 }
}
