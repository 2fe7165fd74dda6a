import Shared

/// What the ledger keeps of one exchange until it ends.
struct LedgerEntry: ~Copyable {
    /// By what the request is known in logs and errors.
    var id = RequestID()
    var tally: Tally
    /// The line for the access log; nil: there is no access log.
    var record: AccessRecord?
    /// The outcome was counted and logged.
    var isClosed = false
}

/// What is counted of one request before it ends.
struct Tally {
    /// When its head was understood, nanoseconds of the monotonic clock.
    var begunAt: UInt64
    /// Rows of the instance and of the API path; -1 for none.
    var instanceRow: Int32 = -1
    var pathRow: Int32 = -1
    var status: UInt16 = 0
    /// The response is this forwarder's.
    var isOwn = false
    var bytesReceived: UInt64
    var bytesSent: UInt64 = 0
}
