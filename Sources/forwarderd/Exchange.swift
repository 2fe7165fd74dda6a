import Shared

/// Why an instance connection failed.
enum UpstreamFault: Equatable, Sendable {
    /// Nothing was sent: the connection never stood.
    case connect(Errno)
    /// The instance has no address that answers its polls.
    case noAddress
    /// All connections to instances that this forwarder can have are in use; how many.
    case ourLimit(Int)
    case connectTimeout
    /// Closed or reset after it stood.
    case closed
    case reset
    case timeout
    /// The answer was not HTTP; the words say how.
    case malformed(String)

    /// Evidence against the instance rather than against us or the message.
    var accuses: Bool {
        switch self {
        case .connect(let error): !error.isOurOwn
        case .connectTimeout, .reset: true
        case .noAddress, .ourLimit, .closed, .timeout, .malformed: false
        }
    }

    /// What we ourselves have no more of: no instance's failure, and another would meet with the same.
    var isOurOwn: Bool {
        switch self {
        case .connect(let error): error.isOurOwn
        case .ourLimit: true
        case .noAddress, .connectTimeout, .closed, .reset, .timeout, .malformed: false
        }
    }

    /// For `Proxy-Status` (RFC 9209 2.3) and the log.
    var proxyError: StaticString {
        switch self {
        case .connect(let error): error == .connectionRefused ? "connection_refused" : "destination_ip_unroutable"
        case .noAddress: "destination_ip_unroutable"
        case .ourLimit: "connection_limit_reached"
        case .connectTimeout: "connection_timeout"
        case .closed, .reset: "connection_terminated"
        case .timeout: "http_response_timeout"
        case .malformed: "http_protocol_error"
        }
    }

    var words: String {
        switch self {
        case .connect(let error): "connect: \(error)"
        case .noAddress: "no address of the instance is known"
        case .ourLimit(let count): "all \(count) connections to instances that this forwarder can have are in use"
        case .connectTimeout: "connect timed out"
        case .closed: "closed without a complete answer"
        case .reset: "connection reset"
        case .timeout: "timed out"
        case .malformed(let reason): "bad answer: \(reason)"
        }
    }

    var status: UInt16 {
        switch self {
        case .connectTimeout, .timeout: 504
        case .ourLimit: 503
        case .connect, .noAddress, .closed, .reset, .malformed: 502
        }
    }
}

/// One request on its way: what has been tried and what may still be. The retry law is here and nowhere else.
struct Exchange {
    /// What to do after a failure.
    enum Action: Equatable {
        /// The same address once more, on a fresh connection.
        case freshConnection
        /// Another address of the same instance.
        case nextAddress
        /// Another instance, this one excluded.
        case nextInstance
        /// The client gets an error of ours.
        case answer
        /// Part of an answer has gone out: the client's connection is cut, so that it can see the loss.
        case cut
    }

    var service = -1
    var instance = -1
    var upstream = -1
    var isIdempotent = false
    var isHead = false
    var clientIsHTTP10 = false
    /// The client's connection stays open after the answer.
    var keepsClient = false
    /// A byte of the request has been handed to the present connection.
    var hasSent = false
    /// Ever, to any instance: for `Proxy-Status`.
    var wasSent = false
    /// All that was sent is still in the buffer.
    var isReplayable = true
    /// A byte of a final answer has been forwarded.
    var hasForwarded = false
    /// The client waits for 100 (Continue) before it sends its body.
    var expectsContinue = false
    /// A reused connection failed and a fresh one to the same instance was tried.
    var hasTriedFresh = false
    /// It has moved to another instance after a byte was sent.
    var hasMoved = false
    /// It moves further than that, which is counted in the service's retry budget.
    var isRetrying = false
    var excluded = ExclusionSet()
    /// Of an instance with several addresses: that of the present try. Of one address nothing is kept, which would cost memory in each
    /// connection.
    var address: SocketAddress? {
        get { presentAddress.first }
        set {
            if let newValue { presentAddress = [newValue] } else if !presentAddress.isEmpty { presentAddress = [] }
        }
    }
    private var presentAddress: [SocketAddress] = []
    /// Those of the present instance that have failed.
    private(set) var triedAddresses: [SocketAddress] = []
    var tries = 0
    /// Waits for an instance with room.
    var isQueued = false
    /// What the request is hashed by, where its service balances by hash.
    var key: UInt64 = 0
    /// Its part in the counters.
    var tally = Tally()
    /// When it was sent, nanoseconds of the monotonic clock; 0 where nobody asks.
    var sentAt: UInt64 = 0

    /// Judges a failure of the present connection. `isReused`: it had served before. `budget`: the service allows a retry.
    /// `tries`: instances that one request may be tried at. `addresses`: those of the present instance.
    mutating func failed(
        _ fault: UpstreamFault, isReused: Bool, budget: Bool, tries: Int = Limits.instancesTriedPerRequest,
        addresses: [SocketAddress] = []
    ) -> Action {
        if hasForwarded { return .cut }
        switch fault {
        case .ourLimit: return .answer
        case .connect(.tooManyOpenFiles), .connect(.fileTableFull): return .answer
        case .connect, .connectTimeout, .noAddress:
            // Nothing was sent: any method, any body may go on to the next address, then to the next instance.
            if tryAnotherAddress(addresses) { return .nextAddress }
            exclude()
            return excluded.count < tries ? .nextInstance : .answer
        case .closed, .reset:
            guard !hasSent || isIdempotent && isReplayable else { return .answer }
            if isReused, !hasTriedFresh {
                hasTriedFresh = true
                return .freshConnection
            }
            // `retry: off` is meant for whatever has been sent.
            let hasNextAddress = tries > 1 && tryAnotherAddress(addresses)
            if !hasNextAddress {
                exclude()
                guard excluded.count < tries else { return .answer }
            }
            // The first move is always allowed, or a killed instance would fail those that it was serving on new connections; the
            // budget bounds what comes after.
            if hasMoved {
                guard isRetrying || budget else { return .answer }
                isRetrying = true
            }
            hasMoved = true
            // Its kept connections may be as old.
            hasTriedFresh = false
            return hasNextAddress ? .nextAddress : .nextInstance
        case .timeout, .malformed:
            return .answer
        }
    }

    /// The request does not go to the present address again. False: the instance has no other that it may go to.
    private mutating func tryAnotherAddress(_ addresses: [SocketAddress]) -> Bool {
        guard let address, addresses.count > 1 else { return false }
        triedAddresses.append(address)
        guard tries < Limits.connectionsTriedPerRequest else { return false }
        return AddressEvidence.hasMore(addresses, tried: triedAddresses)
    }

    /// The request does not go to the present instance again.
    private mutating func exclude() {
        excluded.insert(instance)
        if !triedAddresses.isEmpty { triedAddresses = [] }
    }

    /// A connection to an instance is about to be used.
    mutating func begin(instance: Int, upstream: Int) {
        self.instance = instance
        self.upstream = upstream
        hasSent = false
        tries &+= 1
    }
}
