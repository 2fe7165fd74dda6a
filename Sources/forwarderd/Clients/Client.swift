import Shared

/// One client connection. Its requests are `exchanges`; between requests it holds no buffer.
struct Client: ~Copyable {
    enum Phase: UInt8, CaseIterable {
        /// Between requests; nothing of the next one has come.
        case idle
        /// Part of a request's head has come.
        case head
        /// At least one exchange is in progress.
        case serving
        /// Our side is closed; bytes that the client still sends are discarded.
        case lingering
    }

    enum Event: CaseIterable {
        /// A request has begun: its head is complete, or it is refused.
        case begun
        /// All received bytes were read; they end within a head.
        case headIncomplete
        /// All received bytes were read; nothing is left.
        case drained
        /// The last exchange has ended. The connection stays open for another request.
        case finished
        /// The last exchange has ended. The connection closes, and unread bytes of the client may still come.
        case finishedWithRest
        /// The last exchange has ended. The connection closes, and all bytes of the client were read.
        case finishedForGood
        /// The deadline has passed.
        case overdue
        /// The client has closed or broken the connection.
        case gone
    }

    enum Action: Equatable {
        case nothing
        /// Give back the input buffer: the connection is at rest.
        case rest
        /// The rest of the head must come within `timeouts.head`.
        case awaitHead
        /// Wait for the next request, which may have come already.
        case awaitRequest
        /// 408: the head took too long.
        case refuseSlowHead
        /// The deadline is an exchange's.
        case expireExchange
        /// End our side and discard what still comes: unread bytes would turn a close into a reset, which destroys the response.
        case linger
        case close
    }

    var stream: Stream
    /// The client's address: of the connection, or from its PROXY header.
    var address: SocketAddress
    private(set) var phase = Phase.idle
    /// The peer is one of `trusted_proxies`: its `Forwarded` and `X-Forwarded-*` fields are believed.
    var isTrusted = false
    /// The connection begins with a PROXY header, which has not come yet.
    var awaitsProxyHeader = false
    /// It is over the limit of connections, and is being told so.
    var isRefused = false
    /// At least one request has been answered.
    private(set) var hasServed = false
    /// Received bytes that are not parsed yet, or body that is not moved to the exchange yet.
    var input = Buffer.none
    /// Bytes that the client has not taken yet.
    var output = Buffer.none
    var exchanges = ExchangeList()
    /// It goes on at the end of the turn.
    var isUnfinished = false
    var timer = TimerWheel.ID.none
    var timerAt: UInt64 = 0
    /// When the present wait ends, milliseconds of the loop's clock.
    var deadline: UInt64 = 0
    /// When it came to be between requests.
    var restedAt: UInt64 = 0
    /// When lingering ends at the latest.
    var lingersUntil: UInt64 = 0

    init(_ descriptor: Descriptor, address: SocketAddress) {
        stream = Stream(descriptor)
        self.address = address
    }

    /// The transition table. Pairs that cannot happen return `.nothing`.
    mutating func receive(_ event: Event) -> Action {
        switch (phase, event) {
        case (.idle, .begun), (.head, .begun), (.serving, .begun):
            phase = .serving
            return .nothing
        case (.idle, .headIncomplete):
            phase = .head
            return .awaitHead
        case (.head, .headIncomplete): return .nothing
        case (.idle, .drained), (.head, .drained):
            phase = .idle
            return .rest
        case (.serving, .finished):
            phase = .idle
            hasServed = true
            return .awaitRequest
        case (.serving, .finishedWithRest):
            phase = .lingering
            return .linger
        case (.serving, .finishedForGood): return .close
        case (.head, .overdue): return awaitsProxyHeader ? .close : .refuseSlowHead
        case (.serving, .overdue): return .expireExchange
        case (.idle, .overdue), (.lingering, .overdue): return .close
        case (.idle, .gone), (.head, .gone), (.serving, .gone), (.lingering, .gone): return .close
        // While a request is served, no head is read; a request that is over has no second end.
        case (.serving, .headIncomplete), (.serving, .drained), (.idle, .finished), (.head, .finished),
            (.idle, .finishedWithRest), (.head, .finishedWithRest), (.idle, .finishedForGood),
            (.head, .finishedForGood):
            return .nothing
        // Nothing is read as a request after our side has closed.
        case (.lingering, .begun), (.lingering, .headIncomplete), (.lingering, .drained), (.lingering, .finished),
            (.lingering, .finishedWithRest), (.lingering, .finishedForGood):
            return .nothing
        }
    }
}
