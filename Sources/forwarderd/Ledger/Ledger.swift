import Shared

/// What this forwarder has done, for others to see: counters in mapped memory, and the access log. Counting is adding to memory.
struct Ledger: ~Copyable {
    private(set) var counters: CounterFile
    private(set) var accessLog: AccessLog
    private let runtimeDirectory: String
    private let index: Int?
    /// Lines of the access log wait for this timer to be written.
    var isFlushScheduled = false
    private var warnings = GatheredWarnings()
    private let log: Log

    init(
        _ counters: consuming CounterFile, log: Log, standardError: Descriptor, runtimeDirectory: String, index: Int?
    ) {
        self.counters = counters
        self.log = log
        accessLog = AccessLog(log: log, standardError: standardError)
        self.runtimeDirectory = runtimeDirectory
        self.index = index
    }

    // MARK: Requests

    /// A request has begun; its head has `bytes`.
    @inline(__always)
    mutating func begin(bytes: Int, now nanoseconds: UInt64) -> Tally {
        counters.add(.accepted)
        return Tally(begunAt: nanoseconds, bytesReceived: UInt64(truncatingIfNeeded: bytes))
    }

    /// The request is for this API path.
    @inline(__always)
    mutating func route(_ path: inout PathRow, _ tally: inout Tally) {
        if path.row < 0 { path.row = counters.row(.path, path.key) }
        tally.pathRow = path.row
        counters.add(.inFlight, row: path.row)
    }

    /// The request comes to an instance.
    @inline(__always)
    mutating func enter(_ instance: inout InstanceSlot, _ tally: inout Tally) {
        if instance.counterRow < 0 { instance.counterRow = counters.row(.instance, instance.key) }
        tally.instanceRow = instance.counterRow
        counters.add(.inFlight, row: instance.counterRow)
    }

    /// The request is tried at the instance that it has come to.
    @inline(__always)
    mutating func noteTry(_ tally: Tally) { counters.add(.tries, row: tally.instanceRow) }

    @inline(__always)
    mutating func leave(_ instance: InstanceSlot) {
        counters.add(.inFlight, row: instance.counterRow, UInt64.max)
    }

    mutating func noteFailure(_ tally: Tally, _ fault: InstanceFault) {
        guard tally.instanceRow >= 0 else { return }
        let counter: RowCounter =
            switch fault {
            case .connect, .noAddress, .ourLimit: .failedConnect
            case .connectTimeout: .connectTimedOut
            case .closed, .reset: .connectionLost
            case .timeout: .timedOut
            case .malformed: .badAnswer
            }
        counters.add(counter, row: tally.instanceRow)
    }

    /// The head of an instance's final response has come.
    @inline(__always)
    mutating func noteHead(_ tally: inout Tally, status: UInt16, now nanoseconds: UInt64) {
        tally.status = status
        let microseconds = (nanoseconds &- tally.begunAt) / 1000
        if tally.instanceRow >= 0 { counters.observe(microseconds: microseconds, row: tally.instanceRow) }
        if tally.pathRow >= 0 { counters.observe(microseconds: microseconds, row: tally.pathRow) }
    }

    /// Counts and logs the end of a request. `tries`: connections it was tried on.
    mutating func end(_ entry: borrowing LedgerEntry, _ outcome: Outcome, tries: Int) {
        let tally = entry.tally
        switch outcome {
        case .answered: counters.add(tally.isOwn ? .answeredByUs : .answeredByInstance)
        case .clientGone: counters.add(.clientGone)
        case .cut: counters.add(.cut)
        }
        counters.add(.bytesReceived, tally.bytesReceived)
        counters.add(.bytesSent, tally.bytesSent)
        if tally.pathRow >= 0 {
            counters.add(.inFlight, row: tally.pathRow, UInt64.max)
            if tally.isOwn { counters.add(.tries, row: tally.pathRow) }
            end(tally.pathRow, tally, outcome)
        }
        if tally.instanceRow >= 0, !tally.isOwn { end(tally.instanceRow, tally, outcome) }
        guard let record = entry.record else { return }
        record.tries = tries
        accessLog.add(record, outcome, requestID: entry.id.text)
    }

    @inline(__always)
    private mutating func end(_ row: Int32, _ tally: Tally, _ outcome: Outcome) {
        counters.add(.requests, row: row)
        switch tally.status / 100 {
        case 1: counters.add(.status1xx, row: row)
        case 2: counters.add(.status2xx, row: row)
        case 3: counters.add(.status3xx, row: row)
        case 4: counters.add(.status4xx, row: row)
        case 5: counters.add(.status5xx, row: row)
        default: break
        }
        switch outcome {
        case .answered: break
        case .clientGone: counters.add(.clientGone, row: row)
        case .cut: counters.add(.cut, row: row)
        }
        counters.add(.bytesReceived, row: row, tally.bytesReceived)
        counters.add(.bytesSent, row: row, tally.bytesSent)
    }

    // MARK: Everything else

    /// An ejection begins or ends.
    mutating func noteEjection(_ instance: InstanceSlot, _ isEjected: Bool) {
        let row = instance.counterRow
        if row >= 0 { counters.add(.ejected, row: row, isEjected ? 1 : UInt64.max) }
    }

    mutating func noteConnection() { counters.add(.connections) }

    mutating func noteOpenConnections(_ count: Int) { counters[.openConnections] = UInt64(count) }

    /// The snapshot that is in use.
    mutating func noteVersion(_ version: SnapshotVersion?) {
        counters[.epoch] = version?.epoch ?? 0
        counters[.number] = version?.number ?? 0
    }

    /// Requests so far.
    var accepted: UInt64 { counters[.accepted] }

    /// Counters that could not be kept in a file are kept in one as soon as possible.
    mutating func retryFile() {
        if counters.trouble != nil, counters.moveToFile(in: runtimeDirectory, index: index) {
            log.info("counters are kept in \(runtimeDirectory) again")
        }
    }

    mutating func configureLog(_ settings: ForwarderSettings) { accessLog.configure(settings) }
    mutating func flushLog() { accessLog.flush() }
    mutating func flushLargeLog() { if accessLog.isLarge { accessLog.flush() } }
    mutating func reopenLog() { accessLog.reopen() }
    mutating func checkLogRename() { accessLog.checkRename() }

    /// Lines wait, and no timer will write them. Asked by who can schedule one, which it must do then.
    mutating func takeFlushRequest() -> Bool {
        guard accessLog.hasPending, !isFlushScheduled else { return false }
        isFlushScheduled = true
        return true
    }

    /// Warns of what may happen again a moment later. Each kind is logged every few seconds at most, with how often it happened.
    mutating func warn(_ words: String, kind: StaticString, now: UInt64) {
        if let line = warnings.note(words, kind: kind, now: now) { log.warning("\(line)") }
    }
}

/// The counters of one API path.
struct PathRow {
    let key: UInt64
    /// -1 before the first request.
    var row: Int32 = -1
}
