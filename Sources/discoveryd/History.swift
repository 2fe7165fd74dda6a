import Shared

/// The last polls of one instance: a ring of packets in chunks of 64, each chunk with its base time, so that a packet is
/// 8 bytes. Grows as it fills, forgets whole chunks.
struct History: Sendable {
    static let chunkPackets = 64

    private struct Chunk: Sendable {
        var baseMilliseconds: UInt64
        var firstSequence: UInt64
        var packets: [UInt64]
    }

    private var chunks: [Chunk] = []
    /// Packets kept; a smaller one takes effect with the next packet.
    var limit: Int
    /// The sequence number of the oldest packet kept; it and `endSequence` only grow.
    private(set) var startSequence: UInt64 = 0
    private(set) var endSequence: UInt64 = 0

    init(limit: Int) { self.limit = limit }

    var count: Int { Int(endSequence - startSequence) }

    /// Adds a poll that began at a wall-clock time.
    mutating func append(startedAt wall: UInt64, _ result: PollResult) {
        let needsChunk =
            if let last = chunks.last {
                last.packets.count == Self.chunkPackets || wall < last.baseMilliseconds
                    || wall - last.baseMilliseconds > UInt64(UInt32.max)
            } else {
                true
            }
        if needsChunk { chunks.append(Chunk(baseMilliseconds: wall, firstSequence: endSequence, packets: [])) }
        let last = chunks.count - 1
        let offset = UInt32(truncatingIfNeeded: wall - chunks[last].baseMilliseconds)
        chunks[last].packets.append(Packet(offsetMilliseconds: offset, result).rawValue)
        endSequence += 1
        while let first = chunks.first, count - first.packets.count >= limit {
            startSequence += UInt64(first.packets.count)
            chunks.removeFirst()
        }
    }

    /// The packet of a sequence number with its start on the wall clock; nil when it was overwritten or is not there yet.
    /// At most `limit` packets are shown, though up to 63 more may be kept.
    func packet(_ sequence: UInt64) -> (startedAt: UInt64, Packet)? {
        guard sequence >= firstShown, sequence < endSequence else { return nil }
        var low = 0
        var high = chunks.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if chunks[middle].firstSequence <= sequence { low = middle } else { high = middle - 1 }
        }
        let packet = Packet(rawValue: chunks[low].packets[Int(sequence - chunks[low].firstSequence)])
        return (chunks[low].baseMilliseconds + packet.offsetMilliseconds, packet)
    }

    var firstShown: UInt64 { max(startSequence, endSequence > UInt64(limit) ? endSequence - UInt64(limit) : 0) }
}
