import Shared

/// What a token stands for in forwarderd's loop.
enum EventKind: UInt8 {
    case signals = 1
    case control
    case listener
    case downstream, upstream
    /// A client connection's time is up.
    case downstreamTimeout
    /// The connection to discoveryd, and the next attempt at one.
    case subscriber, reconnect
    /// An ejected instance may be tried again.
    case ejectionEnd
    /// Idle connections to instances grow old.
    case sweep
    /// Listening goes on, or begins without a snapshot.
    case resumeAccepting, sliceDue, firstSnapshotOverdue
    /// The end of a drain's announcement, and of the drain.
    case drainDelayOver, drainTimeout
    /// Lines of the access log have waited long enough.
    case accessLogDue
    /// Replaced listeners are emptied and closed.
    case retireListeners

    func token(_ slot: Int = 0, _ generation: UInt32 = 0) -> Token {
        Token(kind: rawValue, slot: slot, generation: generation)
    }
}
