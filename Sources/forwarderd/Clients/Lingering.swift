import Shared

/// The end of a client connection whose client may still send something: unread bytes would turn a close into a reset, which destroys the
/// response on its way. Bytes are discarded for a while instead.
extension Forwarder {
    mutating func beginLingering(_ client: Clients.Index) {
        let clients = clients.slab
        clients[client].lingersUntil = loop.now + Limits.lingerMilliseconds
        memory.requests.giveBack(from: &clients[client].input)
        clients[client].stream.endSending()
        setDeadline(client, loop.now + Limits.lingerSilenceMilliseconds)
        clients[client].stream.noteMore()
        resumeLater(client)
    }

    /// Discards what the client still sends, until it ends, is silent, or has had its time.
    mutating func linger(_ client: Clients.Index) {
        let clients = clients.slab
        var discarded = 0
        while discarded < Limits.relayBytesPerTurn {
            memory.received.removeAll()
            guard clients[client].stream.mayReceive else { break }
            switch clients[client].stream.receive(into: &memory.received) {
            case .bytes(let count): discarded += count
            case .nothing: break
            case .end, .failed: return closeClient(client)
            }
        }
        if !clients[client].stream.mayReceive {
            return setDeadline(client, min(loop.now + Limits.lingerSilenceMilliseconds, clients[client].lingersUntil))
        }
        if loop.now >= clients[client].lingersUntil { return closeClient(client) }
        resumeLater(client)
    }
}
