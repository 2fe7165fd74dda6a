import Shared

/// One client connection.
struct Downstream: ~Copyable {
    enum State: UInt8 {
        /// Between requests, nothing received: holds no buffer.
        case idle
        /// Part of a head is here.
        case head
        /// A request is being served, or waits for an instance with room.
        case exchange
        /// The answer is complete and waits to be taken; then the next request, or the end.
        case flushing
        /// Our sending side is closed; what the client still sends is discarded.
        case lingering
        /// After 101: bytes in both directions.
        case tunnel
    }

    let descriptor: Descriptor
    /// The client's address: the connection's, or the one that a PROXY header has announced.
    var client: SocketAddress
    /// As text, for X-Forwarded-For.
    var peer: [UInt8] = []
    /// What it says of those it speaks for is believed.
    var isTrusted = false
    /// The connection begins with a PROXY header, which has not come yet.
    var awaitsProxyHeader = false
    var state = State.idle
    /// Received and not yet understood, or body not yet relayed.
    var input = Buffer.none
    /// The canonical request, kept as long as it may have to be sent again.
    var request = Buffer.none
    var requestSent = 0
    /// Where the value of Host stands in `request`, if it is to be the chosen instance's.
    var requestHost: (start: Int, count: Int)?
    /// Bytes for the client that it has not taken yet.
    var output = Buffer.none
    var requestBody = BodyDecoder(.none, status: 400)
    /// Bytes of the body received so far.
    var requestBodyBytes: UInt64 = 0
    var requestIsChunked = false
    /// The request, body included, is in `request` to its end.
    var requestIsComplete = true
    /// The protocols that the instance is offered to change to; empty for none.
    var offeredUpgrade: [UInt8] = []
    var exchange = Exchange()
    /// The answer's body, while one is relayed.
    var responseBody = BodyDecoder(.none, status: 502)
    var responseIsChunked = false
    /// For the client its end is the connection's.
    var responseEndsWithConnection = false
    var hasResponseHead = false
    /// An event said that there is something to read which we have not read yet.
    var mayRead = false
    var sawEnd = false
    /// Which directions of a tunnel have ended.
    var tunnel = TunnelEnds()
    var timer = TimerWheel.ID.none
    var timerAt: UInt64 = 0
    /// When its present wait is over.
    var deadline: UInt64 = 0
    /// When discarding what the client still sends ends at last.
    var lingersUntil: UInt64 = 0
    /// At least one request has been answered on it.
    var hasServed = false
    /// When it came to be between requests.
    var restedAt: UInt64 = 0
    /// One over the limit, which is being told so.
    var isRefused = false
    var requestID = RequestID()
    /// What the access log will say; nil where there is none.
    var record: AccessRecord?

    init(_ descriptor: Descriptor, client: SocketAddress) {
        self.descriptor = descriptor
        self.client = client
        client.appendHost(to: &peer)
    }
}
