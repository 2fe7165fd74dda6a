import Glibc

/// Buffers of one size, lent and taken back last in first out, so that the memory in use stays warm and small.
/// Bounded: beyond `limit` outstanding there is none, and the caller waits or refuses.
@safe
public struct BufferPool: ~Copyable {
    /// Bytes of each buffer.
    public let bufferBytes: Int
    /// Buffers lent at one time at most.
    public let limit: Int
    /// Free buffers kept for the next lease; more are given back to the system.
    private let keep: Int
    private var free: [UnsafeMutablePointer<UInt8>] = unsafe []
    public private(set) var lent = 0
    /// The most that were lent since `takePeak`.
    private var peak = 0

    public init(bufferBytes: Int, limit: Int, keep: Int) {
        precondition(bufferBytes > 0 && limit > 0 && keep >= 0)
        self.bufferBytes = bufferBytes
        self.limit = limit
        self.keep = keep
        unsafe free.reserveCapacity(keep)
    }

    deinit { unsafe free.forEach { unsafe $0.deallocate() } }

    /// An empty buffer, or `Buffer.none` when the limit is reached.
    public mutating func lease() -> Buffer {
        guard lent < limit else { return .none }
        lent &+= 1
        if lent > peak { peak = lent }
        if let memory = unsafe free.popLast() { return unsafe Buffer(base: memory, capacity: bufferBytes) }
        return unsafe Buffer(base: .allocate(capacity: bufferBytes), capacity: bufferBytes)
    }

    /// The most that were lent at one time since the last question.
    public mutating func takePeak() -> Int {
        defer { peak = lent }
        return peak
    }

    /// Takes a buffer back; `none` is accepted and ignored.
    public mutating func giveBack(_ buffer: consuming Buffer) {
        guard buffer.isLeased else { return }
        precondition(buffer.capacity == bufferBytes)
        lent &-= 1
        guard let memory = unsafe buffer.takeMemory() else { return }
        if unsafe free.count < keep {
            unsafe free.append(memory)
        } else {
            unsafe memory.deallocate()
        }
    }

    /// Takes the buffer out of `place`, leaving `none`.
    public mutating func giveBack(from place: inout Buffer) {
        var taken = Buffer.none
        swap(&taken, &place)
        giveBack(taken)
    }
}
