import Shared

/// The last polls of one instance: a ring of packets in chunks that live in a common arena. Grows as it fills, forgets whole
/// chunks.
struct History: Sendable {
    /// Its chunks in the arena, oldest first; a few places at the front may be free already.
    private var chunks = ChunkList()
    private var first: UInt32 = 0
    /// The sequence number of the oldest packet kept; it and `endSequence` only grow.
    private(set) var startSequence: UInt64 = 0
    private(set) var endSequence: UInt64 = 0
    /// Packets kept; a smaller one takes effect with the next packet.
    var limit: Int {
        get { Int(storedLimit) }
        set { storedLimit = UInt32(clamping: newValue) }
    }
    private var storedLimit: UInt32

    init(limit: Int) { storedLimit = UInt32(clamping: limit) }

    var count: Int { Int(endSequence - startSequence) }

    /// Adds a poll that began at `wall` on the wall clock and at `monotonic` on the other, milliseconds both. Within a chunk the
    /// steps are the monotonic clock's: a wall clock that is set begins a new chunk.
    mutating func append(wall: UInt64, monotonic: UInt64, outcome: PollOutcome, in arena: inout HistoryArena) {
        let offset = chunks.last.flatMap { arena.offset(in: $0, wall: wall, monotonic: monotonic) }
        if let offset, let last = chunks.last {
            arena.append(Packet(offsetMilliseconds: offset, outcome), to: last)
        } else {
            let chunk = arena.allocate(wall: wall, monotonic: monotonic, sequence: endSequence)
            arena.append(Packet(offsetMilliseconds: 0, outcome), to: chunk)
            chunks.append(chunk)
        }
        endSequence += 1
        while let oldest = first < chunks.count ? chunks[Int(first)] : nil,
            count - arena.count(of: oldest) >= limit
        {
            startSequence += UInt64(arena.count(of: oldest))
            arena.free(oldest)
            first += 1
        }
        // The places of freed chunks are used again before the list grows.
        if first >= 8, Int(first) * 4 >= chunks.count {
            chunks.removeFirst(Int(first))
            first = 0
        }
    }

    /// The packet of a sequence number with its start on the wall clock; nil when it was overwritten or is not there yet.
    /// At most `limit` packets are shown, though a chunk more may be kept.
    func packet(_ sequence: UInt64, in arena: borrowing HistoryArena) -> (startedAt: UInt64, PollOutcome)? {
        guard sequence >= firstShown, sequence < endSequence, first < chunks.count else { return nil }
        var low = Int(first)
        var high = chunks.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if arena.firstSequence(of: chunks[middle]) <= sequence { low = middle } else { high = middle - 1 }
        }
        let chunk = chunks[low]
        let packet = arena.packet(Int(sequence - arena.firstSequence(of: chunk)), of: chunk)
        return (arena.baseWall(of: chunk) &+ packet.offsetMilliseconds, packet.outcome)
    }

    var firstShown: UInt64 { max(startSequence, endSequence > UInt64(limit) ? endSequence - UInt64(limit) : 0) }

    /// The instance is gone: its chunks are free for others.
    mutating func clear(in arena: inout HistoryArena) {
        for place in Int(first)..<chunks.count { arena.free(chunks[place]) }
        self = History(limit: limit)
    }
}

/// Numbers of chunks: one needs no memory elsewhere, which is what most instances of a large configuration have for long.
private struct ChunkList: Sendable {
    private var single: UInt32?
    private var many: [UInt32] = []

    var count: Int { many.isEmpty ? single == nil ? 0 : 1 : many.count }
    var last: UInt32? { many.last ?? single }
    subscript(_ place: Int) -> UInt32 { many.isEmpty ? single ?? 0 : many[place] }

    mutating func append(_ chunk: UInt32) {
        if !many.isEmpty {
            many.append(chunk)
        } else if let first = single {
            many = [first, chunk]
            single = nil
        } else {
            single = chunk
        }
    }

    mutating func removeFirst(_ count: Int) {
        if many.isEmpty {
            if count > 0 { single = nil }
        } else {
            many.removeFirst(count)
        }
    }
}
