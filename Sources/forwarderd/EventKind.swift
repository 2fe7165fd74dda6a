import Shared

/// What a token of forwarderd's event loop stands for.
enum EventKind: UInt8 {
    case signals = 1
    case control
    case listener
    case client, connection
    /// The deadline of a client connection, or of one of its exchanges.
    case clientDeadline
    /// The connection to discoveryd, and the next attempt to establish it.
    case subscriber, reconnect
    /// An ejected instance may be tried again.
    case ejectionEnd
    /// Once a second: connections that have been idle for too long are closed, and other housekeeping.
    case sweep
    /// Accepting goes on after a pause.
    case resumeAccepting
    /// The next slice of a snapshot may be taken over.
    case sliceDue
    /// No snapshot has come from discoveryd in time.
    case firstSnapshotOverdue
    /// The end of a drain's announcement, and of the drain.
    case drainDelayOver, drainTimeout
    /// Lines of the access log have waited long enough.
    case accessLogDue
    /// Replaced listeners are emptied and closed.
    case retireListeners

    func token(_ slot: Int = 0) -> Token { Token(kind: rawValue, slot: slot) }
}
