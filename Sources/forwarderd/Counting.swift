import Shared

/// What is counted of one request before it ends.
struct Tally {
    /// When its head was understood, nanoseconds of the monotonic clock; 0: it has ended, or not begun.
    var begunAt: UInt64 = 0
    /// Rows of the instance and of the API path; -1 for none.
    var instanceRow: Int32 = -1
    var pathRow: Int32 = -1
    var status: UInt16 = 0
    /// The answer is ours.
    var isOwn = false
    var bytesReceived: UInt64 = 0
    var bytesSent: UInt64 = 0
}

/// How a request ended: the ledger knows nothing else.
enum Outcome: String {
    case answered
    case clientGone = "client_gone"
    case cut
}

/// Counting: additions to mapped memory, with the turn's clock.
extension Forwarder {
    @inline(__always)
    mutating func countBegin(_ slot: Int, bytes: Int) {
        downstreams[slot].exchange.tally.begunAt = max(1, loop.nowNanoseconds)
        downstreams[slot].exchange.tally.bytesReceived = UInt64(truncatingIfNeeded: bytes)
        counters.add(.accepted)
    }

    @inline(__always)
    mutating func countRoute(_ slot: Int, _ path: Int) {
        var row = pathCounters[path].row
        if row < 0 {
            row = counters.row(.path, pathCounters[path].key)
            pathCounters[path].row = row
        }
        downstreams[slot].exchange.tally.pathRow = row
        counters.add(.inFlight, row: row)
    }

    /// The request is about to be sent to an instance.
    @inline(__always)
    mutating func countTry(_ slot: Int, _ instance: Int) {
        var row = instances[instance].counterRow
        if row < 0 {
            row = counters.row(.instance, instances[instance].key)
            instances[instance].counterRow = row
        }
        downstreams[slot].exchange.tally.instanceRow = row
        counters.add(.tries, row: row)
        counters.add(.inFlight, row: row)
    }

    /// A request has left an instance.
    @inline(__always)
    mutating func countLeave(_ instance: Int) {
        counters.add(.inFlight, row: instances[instance].counterRow, UInt64.max)
    }

    /// An ejection begins or ends.
    mutating func countEjection(_ instance: Int, _ isEjected: Bool) {
        let row = instances[instance].counterRow
        if row >= 0 { counters.add(.ejected, row: row, isEjected ? 1 : UInt64.max) }
    }

    mutating func countFailure(_ slot: Int, _ fault: UpstreamFault) {
        let row = downstreams[slot].exchange.tally.instanceRow
        guard row >= 0 else { return }
        let counter: RowCounter =
            switch fault {
            case .connect, .noAddress, .ourLimit: .failedConnect
            case .connectTimeout: .connectTimedOut
            case .closed, .reset: .connectionLost
            case .timeout: .timedOut
            case .malformed: .badAnswer
            }
        counters.add(counter, row: row)
    }

    /// The head of an instance's final answer is here.
    @inline(__always)
    mutating func countHead(_ slot: Int, _ status: UInt16) {
        downstreams[slot].exchange.tally.status = status
        let tally = downstreams[slot].exchange.tally
        let microseconds = (loop.nowNanoseconds &- tally.begunAt) / 1000
        if tally.instanceRow >= 0 { counters.observe(microseconds: microseconds, row: tally.instanceRow) }
        if tally.pathRow >= 0 { counters.observe(microseconds: microseconds, row: tally.pathRow) }
    }

    /// The request has ended: once, in one of these ways. Its line for the access log is written too.
    mutating func endExchange(_ slot: Int, _ outcome: Outcome) {
        let tally = downstreams[slot].exchange.tally
        guard tally.begunAt != 0 else { return }
        downstreams[slot].exchange.tally.begunAt = 0
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
            countEnd(tally.pathRow, tally, outcome)
        }
        if tally.instanceRow >= 0, !tally.isOwn { countEnd(tally.instanceRow, tally, outcome) }
        if downstreams[slot].record != nil { writeRecord(slot, outcome) }
    }

    @inline(__always)
    private mutating func countEnd(_ row: Int32, _ tally: Tally, _ outcome: Outcome) {
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

    private mutating func writeRecord(_ slot: Int, _ outcome: Outcome) {
        guard let record = downstreams[slot].record else { return }
        downstreams[slot].record = nil
        record.tries = downstreams[slot].exchange.tries
        accessLog.add(record, outcome, requestID: downstreams[slot].requestID.text)
        scheduleAccessLog()
    }
}
