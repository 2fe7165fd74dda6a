import Shared

/// What has been tried with a request, and whether it may be tried again. No other file decides that; whether the retry budget has room is
/// `ServiceEntry.allowsRetry`.
struct RetryLaw: ~Copyable {
    enum Verdict: Equatable {
        /// The same address, on a new connection.
        case freshConnection
        /// Another instance; the present one is excluded.
        case nextInstance
        /// The client gets an error response of this forwarder.
        case answer
        /// Part of a response has been forwarded: the client's connection is cut, so that it can see the loss.
        case cut
    }

    /// A failed try, with what the verdict depends on.
    struct Failure: Equatable {
        var fault: InstanceFault
        /// The connection had served another request before: the instance may have closed it at any time.
        var isReused = false
        /// The service's retry budget allows one more retry.
        var isInBudget = true
        /// Instances that one request may be tried at.
        var tries = Limits.instancesTriedPerRequest
    }

    /// How much of the request an instance may have seen.
    private enum Handed: UInt8 {
        case nothing
        /// To a connection before the present one.
        case before
        /// To the present connection.
        case now
    }

    /// How often the request has moved on after a byte of it was sent.
    private enum Moves: UInt8 {
        case none, once
        /// More than once, which is counted in the service's retry budget.
        case counted
    }

    let isIdempotent: Bool
    private var handed = Handed.nothing
    /// All that was sent is still there to be sent again.
    private(set) var isReplayable = true
    private var hasTriedFresh = false
    private var moves = Moves.none
    /// Instances that failed this request.
    private(set) var excluded = ExclusionSet()
    /// Why the last try failed; nil: none has.
    private(set) var lastFault: InstanceFault?
    /// Connections that this request was tried on, failed attempts to connect included.
    private(set) var tries = 0

    init(isIdempotent: Bool) { self.isIdempotent = isIdempotent }

    /// A byte was handed to the present connection.
    var hasSent: Bool { handed == .now }
    /// A byte was handed to any connection: `sent` of `Proxy-Status`.
    var wasSent: Bool { handed != .nothing }
    /// The request counts in the service's retry budget.
    var isRetrying: Bool { moves == .counted }

    /// A try begins.
    mutating func begin() {
        if handed == .now { handed = .before }
        tries &+= 1
    }

    mutating func noteSent() { handed = .now }

    /// Part of the request is no longer there to be sent again.
    mutating func noteDropped() { isReplayable = false }

    /// Judges the failure of the present try at `instance`. `hasForwarded`: part of a final response went to the client.
    mutating func judge(_ failure: Failure, at instance: Int32, hasForwarded: Bool) -> Verdict {
        lastFault = failure.fault
        if hasForwarded { return .cut }
        switch failure.fault {
        case .ourLimit: return .answer
        case .connect(.tooManyOpenFiles), .connect(.fileTableFull): return .answer
        case .connect, .connectTimeout, .noAddress:
            // Nothing was sent: any method and any body may go to the next instance.
            excluded.insert(Int(instance))
            return excluded.count < failure.tries ? .nextInstance : .answer
        case .closed, .reset:
            guard !hasSent || isIdempotent && isReplayable else { return .answer }
            if failure.isReused, !hasTriedFresh {
                hasTriedFresh = true
                return .freshConnection
            }
            excluded.insert(Int(instance))
            guard excluded.count < failure.tries else { return .answer }
            // The first move is always allowed, or a killed instance would fail what it was serving on new connections. The budget
            // bounds further moves.
            switch moves {
            case .none: moves = .once
            case .once:
                guard failure.isInBudget else { return .answer }
                moves = .counted
            case .counted: break
            }
            // Kept connections of the next instance may be as old.
            hasTriedFresh = false
            return .nextInstance
        case .timeout, .malformed:
            return .answer
        }
    }
}
