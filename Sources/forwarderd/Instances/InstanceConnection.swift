import Shared

/// One connection to an instance.
struct InstanceConnection: ~Copyable {
    enum Phase: UInt8 {
        case connecting
        /// It serves its exchanges.
        case busy
        /// It is kept for another request.
        case idle
    }

    var stream: Stream
    let instance: Slab<InstanceSlot>.Index
    let address: SocketAddress
    var phase = Phase.connecting
    var exchanges = ExchangeList()
    /// It has served a request before.
    var isReused = false
    /// The beginning of a head that comes in pieces.
    var input = Buffer.none
    /// Framed bytes of a request that the instance has not taken yet.
    var output = Buffer.none
    /// Nothing is received until the client has taken what it was sent.
    var isPaused = false
    /// The response allows another request on this connection.
    var keepsAlive = false
    var idleSince: UInt64 = 0
    /// After how long at rest the instance closes the connection, by its `Keep-Alive`; `.max`: it has not said.
    var announcedTimeoutMilliseconds = UInt64.max
    /// Its neighbours among the idle connections of its instance, and of all instances.
    var ofInstance = IdleLinks()
    var ofAll = IdleLinks()

    init(_ descriptor: Descriptor, instance: Slab<InstanceSlot>.Index, address: SocketAddress) {
        stream = Stream(descriptor)
        self.instance = instance
        self.address = address
    }

    /// The head of a final response has come; its body is delimited as `framing`. The head says whether the connection may serve another
    /// request, and how long it may be idle.
    @inline(__always)
    mutating func noteHead(_ head: ResponseHead, _ bytes: Span<UInt8>, _ framing: BodyFraming) {
        keepsAlive = head.keepsAlive && framing != .untilClose
        if let seconds = head.fields.announcedTimeout(in: bytes) { announcedTimeoutMilliseconds = seconds * 1000 }
    }
}

/// The neighbours in a list of idle connections.
struct IdleLinks {
    var newer: Slab<InstanceConnection>.Index?
    var older: Slab<InstanceConnection>.Index?
}
