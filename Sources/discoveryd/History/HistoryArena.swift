import Shared

/// Room for the packets of all instances: chunks of 32 packets, 7 bytes each, in pages that are made as they are needed and whose
/// chunks are used again. So a packet takes less than 8 bytes, whatever is around it, and memory does not fall to pieces while
/// thousands of rings grow at once.
struct HistoryArena: Sendable {
    static let chunkPackets = 32
    private static let packetWords = chunkPackets * Int(Packet.bits) / 64
    /// Before the packets: base time on the wall clock, on the monotonic clock, first sequence number and count.
    private static let headWords = 3
    private static let chunkWords = headWords + packetWords
    private static let chunksPerPage = 256

    private var pages: [[UInt64]] = []
    private var freeChunks: [UInt32] = []
    private var used: UInt32 = 0

    /// A set wall clock differs from the monotonic one by more than this.
    private static let driftMilliseconds: UInt64 = 1000

    @inline(__always)
    private func place(_ chunk: UInt32) -> (page: Int, word: Int) {
        (Int(chunk) / Self.chunksPerPage, Int(chunk) % Self.chunksPerPage * Self.chunkWords)
    }

    mutating func allocate(wall: UInt64, monotonic: UInt64, sequence: UInt64) -> UInt32 {
        let chunk: UInt32
        if let free = freeChunks.popLast() {
            chunk = free
        } else {
            chunk = used
            used += 1
            if Int(chunk) / Self.chunksPerPage == pages.count {
                pages.append([UInt64](repeating: 0, count: Self.chunksPerPage * Self.chunkWords))
            }
        }
        let (page, word) = place(chunk)
        pages[page][word] = wall
        pages[page][word + 1] = monotonic
        pages[page][word + 2] = sequence << 7
        return chunk
    }

    mutating func free(_ chunk: UInt32) { freeChunks.append(chunk) }

    func baseWall(of chunk: UInt32) -> UInt64 {
        let (page, word) = place(chunk)
        return pages[page][word]
    }

    func firstSequence(of chunk: UInt32) -> UInt64 {
        let (page, word) = place(chunk)
        return pages[page][word + 2] >> 7
    }

    func count(of chunk: UInt32) -> Int {
        let (page, word) = place(chunk)
        return Int(pages[page][word + 2] & 127)
    }

    /// Where in a chunk a poll of this time stands; nil when it needs a chunk of its own.
    func offset(in chunk: UInt32, wall: UInt64, monotonic: UInt64) -> UInt32? {
        let (page, word) = place(chunk)
        let (baseWall, base) = (pages[page][word], pages[page][word + 1])
        guard count(of: chunk) < Self.chunkPackets, monotonic >= base, wall >= baseWall else { return nil }
        let (step, wallStep) = (monotonic - base, wall - baseWall)
        guard step <= UInt64(UInt32.max), max(step, wallStep) - min(step, wallStep) <= Self.driftMilliseconds else {
            return nil
        }
        return UInt32(truncatingIfNeeded: step)
    }

    /// Puts a packet behind those of a chunk that is not full.
    mutating func append(_ packet: Packet, to chunk: UInt32) {
        let (page, word) = place(chunk)
        let index = UInt64(pages[page][word + 2] & 127)
        pages[page][word + 2] += 1
        let bit = index * Packet.bits
        let at = word + Self.headWords + Int(bit / 64)
        let shift = bit % 64
        let mask: UInt64 = 1 << Packet.bits - 1
        pages[page][at] = pages[page][at] & ~(mask << shift) | packet.rawValue << shift
        if shift + Packet.bits > 64 {
            let rest = 64 - shift
            pages[page][at + 1] = pages[page][at + 1] & ~(mask >> rest) | packet.rawValue >> rest
        }
    }

    func packet(_ index: Int, of chunk: UInt32) -> Packet {
        let (page, word) = place(chunk)
        let bit = UInt64(index) * Packet.bits
        let at = word + Self.headWords + Int(bit / 64)
        let shift = bit % 64
        var value = pages[page][at] >> shift
        if shift + Packet.bits > 64 { value |= pages[page][at + 1] << (64 - shift) }
        return Packet(rawValue: value)
    }

    /// Bytes taken from the system.
    var bytes: Int { pages.count * Self.chunksPerPage * Self.chunkWords * 8 }
}
