/// The bytes of one connection, in both directions. No other type sends or receives on a connection, so that a second kind of
/// transport (TLS) is one more branch here and nothing else.
///
/// A stream is registered with the event loop edge-triggered: `note` takes what an event says, and `mayReceive` stays true until a
/// receive has found nothing more.
public struct Stream {
    /// For the event loop and for options of the socket; bytes go through the methods below.
    public let descriptor: Descriptor
    /// A receive may find bytes, or the end.
    public private(set) var mayReceive = false
    /// An event has announced the end of what the peer sends. Bytes that came before the end may still be waiting.
    public private(set) var hasEndAhead = false

    @inlinable public init(_ descriptor: Descriptor) { self.descriptor = descriptor }

    /// What a receive has found.
    public enum Received {
        /// This many bytes, at least one.
        case bytes(Int)
        /// Nothing now; an event will say when there is more.
        case nothing
        /// The peer has ended its side.
        case end
        case failed(Errno)
    }

    /// What a send has done.
    public enum Sent {
        /// This many bytes, possibly fewer than given.
        case bytes(Int)
        /// Nothing now; an event will say when there is room.
        case nothing
        case failed(Errno)
    }

    /// Takes what an event says of the receiving side. An error counts as an end ahead: the next receive returns it.
    @inlinable @inline(__always)
    public mutating func note(_ readiness: Readiness) {
        if !readiness.isDisjoint(with: .receivingSide) { noteMore() }
        if !readiness.isDisjoint(with: .endOfReceiving) { noteEnd() }
    }

    /// A receive may find more, though no event has said so.
    public mutating func noteMore() { mayReceive = true }

    /// Receive until the end, though no event has announced it.
    public mutating func noteEnd() {
        mayReceive = true
        hasEndAhead = true
    }

    /// Receives behind what `buffer` holds, which must have room. The corresponding C function is recv(2).
    @inlinable @inline(__always)
    public mutating func receive(into buffer: inout Buffer) -> Received {
        let room = buffer.free
        let result = buffer.receive(from: descriptor)
        guard let count = result.count else {
            if !result.isAgain { return .failed(result.error) }
            noteEmpty()
            return hasEndAhead ? .end : .nothing
        }
        if count == 0 { return .end }
        // The socket is empty when it gave less than was asked for; an end that is ahead is still to be received.
        if count < room, !hasEndAhead { noteEmpty() }
        return .bytes(count)
    }

    @usableFromInline mutating func noteEmpty() { mayReceive = false }

    /// Sends without waiting. The corresponding C function is send(2).
    @inlinable @inline(__always)
    public func send(_ bytes: Span<UInt8>) -> Sent { Self.sent(descriptor.send(bytes)) }

    /// Sends `first` and `second` in one call; either may be empty. The corresponding C function is sendmsg(2).
    @inlinable @inline(__always)
    public func send(_ first: Span<UInt8>, _ second: Span<UInt8>) -> Sent {
        if second.isEmpty { return send(first) }
        if first.isEmpty { return send(second) }
        return Self.sent(descriptor.send(first, second))
    }

    @inlinable @inline(__always)
    static func sent(_ result: IOResult) -> Sent {
        if let count = result.count { return .bytes(count) }
        return result.isAgain ? .nothing : .failed(result.error)
    }

    /// Whether nothing has come on a connection at rest: no byte, no end, no error. The system call is the only proof; an event may
    /// not have been read yet.
    public mutating func isQuiet() -> Bool {
        let peeked = descriptor.peek()
        guard peeked.count == nil, peeked.isAgain else { return false }
        mayReceive = false
        return true
    }

    /// Ends our side: the peer receives an end behind what was sent. The corresponding C function is shutdown(2).
    public func endSending() { Socket.shutdownWrite(descriptor) }

    /// `close` will be a reset instead of an end, so that the peer sees that something is missing.
    public func resetOnClose() { Socket.resetOnClose(descriptor) }

    /// Whether the peer has acknowledged every byte: a reset would destroy what is still on its way.
    public var isDelivered: Bool { Socket.unacknowledgedBytes(descriptor) == 0 }

    public func close() { descriptor.close() }
}
