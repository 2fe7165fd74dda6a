import Shared

/// All memory that bytes pass through: pools by what their buffers are for, and what is used within one call only.
struct Memory: ~Copyable {
    /// Bytes of clients that are not understood yet, requests that may have to be sent again, and heads of responses that come in
    /// pieces.
    var requests: BufferPool
    /// Bytes that a peer has not taken yet.
    var outputs: BufferPool
    /// What was received from an instance. Within one call only.
    var received = Buffer(capacity: Limits.relayBufferBytes)
    /// What is about to be sent. Within one call only.
    var outgoing = Buffer(capacity: Limits.outputBufferBytes)
    /// The head of the request that is about to begin. Within one call only.
    var requestHead = RequestHead()
    /// The head of the response that is about to be forwarded. Within one call only.
    var responseHead = ResponseHead()
    /// The address of the client that has sent the last request, and its host in text.
    var peerAddress: SocketAddress?
    var peer: [UInt8] = []
    /// The most buffers that were lent at one time since memory was last given back to the system.
    private var peak = 0

    /// `exchanges`, `peers`: as many as there can be at one time.
    init(exchanges: Int, peers: Int) {
        requests = BufferPool(bufferBytes: Limits.requestBufferBytes, limit: exchanges, keep: 128)
        outputs = BufferPool(bufferBytes: Limits.outputBufferBytes, limit: peers, keep: 16)
    }

    /// When a burst of slow readers is over, what the allocator holds for the next one goes back to the system. Not where bursts come
    /// again and again.
    mutating func giveBackIdle() {
        let recent = requests.takePeak() + outputs.takePeak()
        peak = max(peak, recent)
        guard peak - recent > Limits.buffersReturned else { return }
        peak = recent
        Process.returnFreeMemory()
    }
}
