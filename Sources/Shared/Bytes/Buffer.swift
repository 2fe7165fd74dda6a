import Glibc

/// A fixed piece of memory that bytes enter at one end and leave at the other: `[consumed | readable | free]`.
/// Leased from a `BufferPool`; `Buffer.none` is the absence of one (capacity 0), so that an idle connection holds nothing.
@safe
public struct Buffer: ~Copyable {
    @usableFromInline let base: UnsafeMutablePointer<UInt8>?
    /// Bytes of memory.
    public let capacity: Int
    @usableFromInline var start = 0
    @usableFromInline var end = 0

    /// No memory: nothing can be appended.
    public static var none: Buffer { unsafe Buffer(base: nil, capacity: 0) }

    @inlinable init(base: UnsafeMutablePointer<UInt8>?, capacity: Int) {
        unsafe self.base = unsafe base
        self.capacity = capacity
    }

    /// A buffer outside any pool.
    public init(capacity: Int) {
        precondition(capacity > 0)
        unsafe self.init(base: .allocate(capacity: capacity), capacity: capacity)
    }

    @inlinable deinit { unsafe base?.deallocate() }

    /// Gives up the memory without freeing it.
    consuming func takeMemory() -> UnsafeMutablePointer<UInt8>? {
        let memory = unsafe base
        discard self
        return unsafe memory
    }

    @inlinable public var isLeased: Bool { capacity > 0 }
    /// Readable bytes.
    @inlinable public var count: Int { end &- start }
    @inlinable public var isEmpty: Bool { end == start }
    /// Bytes that can be appended without `compact`.
    @inlinable public var free: Int { capacity &- end }
    /// Bytes that can be appended after `compact`.
    @inlinable public var room: Int { capacity &- count }

    /// The readable bytes.
    @inlinable public var bytes: Span<UInt8> {
        @_lifetime(borrow self)
        get {
            let span = unsafe Span(_unsafeStart: (base ?? Buffer.nowhere) + start, count: count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// The free bytes behind the readable ones; call `commit` after writing into them.
    @inlinable public var freeBytes: MutableSpan<UInt8> {
        @_lifetime(&self)
        mutating get {
            let memory = unsafe base ?? Buffer.nowhere
            let span = unsafe MutableSpan(_unsafeStart: memory + end, count: free)
            return unsafe _overrideLifetime(span, mutating: &self)
        }
    }

    /// Makes `count` bytes of the free ones readable.
    @inlinable public mutating func commit(_ count: Int) {
        precondition(count >= 0 && count <= free)
        end &+= count
    }

    /// Drops `count` bytes from the front.
    @inlinable public mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= self.count)
        start &+= count
        if start == end {
            start = 0
            end = 0
        }
    }

    @inlinable public mutating func removeAll() {
        start = 0
        end = 0
    }

    /// Moves the readable bytes to the front, so that `free` becomes `room`.
    public mutating func compact() {
        guard start > 0, let base = unsafe base else { return }
        unsafe memmove(base, base + start, count)
        end = count
        start = 0
    }

    /// Receives as much as fits. The result's count is already committed.
    @inlinable @inline(__always)
    public mutating func receive(from descriptor: Descriptor) -> IOResult {
        var span = freeBytes
        let result = descriptor.receive(into: &span)
        if let count = result.count { commit(count) }
        return result
    }

    // MARK: Appending. All of it traps beyond the capacity: callers check `free` first.

    @inlinable @inline(__always)
    public mutating func append(_ byte: UInt8) {
        precondition(end < capacity)
        unsafe base.unsafelyUnwrapped[end] = byte
        end &+= 1
    }

    @inlinable @inline(__always)
    public mutating func append(_ source: Span<UInt8>) {
        let count = source.count
        precondition(count <= free)
        guard count > 0 else { return }
        unsafe source.withUnsafeBufferPointer {
            _ = unsafe memcpy(base.unsafelyUnwrapped + end, $0.baseAddress.unsafelyUnwrapped, count)
        }
        end &+= count
    }

    @inlinable @inline(__always)
    public mutating func append(_ text: StaticString) {
        let count = text.utf8CodeUnitCount
        precondition(count <= free)
        unsafe memcpy(base.unsafelyUnwrapped + end, text.utf8Start, count)
        end &+= count
    }

    public mutating func append(_ bytes: [UInt8]) { append(bytes.span) }

    /// Replaces a range of the readable bytes; what is behind it moves. There must be room for what is added.
    public mutating func replace(_ offset: Int, _ length: Int, with bytes: [UInt8]) {
        precondition(offset >= 0 && length >= 0 && length <= count &- offset && bytes.count &- length <= free)
        let tail = count &- offset &- length
        unsafe memmove(
            base.unsafelyUnwrapped + start + offset + bytes.count, base.unsafelyUnwrapped + start + offset + length,
            tail)
        for index in bytes.indices { unsafe base.unsafelyUnwrapped[start &+ offset &+ index] = bytes[index] }
        end &+= bytes.count &- length
    }

    /// Repeats a range of the readable bytes at the end.
    public mutating func appendCopy(from offset: Int, count length: Int) {
        precondition(offset >= 0 && length >= 0 && length <= count &- offset && length <= free)
        guard length > 0 else { return }
        unsafe memcpy(base.unsafelyUnwrapped + end, base.unsafelyUnwrapped + start + offset, length)
        end &+= length
    }

    /// Sixteen lower-case hexadecimal digits.
    @inline(__always)
    public mutating func append(hexadecimal16 value: UInt64) {
        precondition(free >= 16)
        let high = Self.digits(UInt32(truncatingIfNeeded: value >> 32))
        let low = Self.digits(UInt32(truncatingIfNeeded: value))
        let place = unsafe UnsafeMutableRawPointer(base.unsafelyUnwrapped + end)
        unsafe place.storeBytes(of: high, as: UInt64.self)
        unsafe place.storeBytes(of: low, toByteOffset: 8, as: UInt64.self)
        end &+= 16
    }

    /// Eight hexadecimal digits in the order of memory, all at once: each nibble gets a byte, and those above 9 the distance
    /// from the digits to the letters.
    @inline(__always)
    private static func digits(_ value: UInt32) -> UInt64 {
        var nibbles = UInt64(value.byteSwapped)
        nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff
        nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff
        // The high nibble of each byte comes first.
        nibbles = (nibbles >> 4 | nibbles << 8) & 0x0f0f_0f0f_0f0f_0f0f
        let letters = ((nibbles &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
        return nibbles &+ 0x3030_3030_3030_3030 &+ letters &* 0x27
    }

    /// Decimal digits without leading zeros.
    public mutating func append(decimal value: UInt64) {
        var digits = 1
        var rest = value
        while rest >= 10 {
            rest /= 10
            digits &+= 1
        }
        precondition(digits <= free)
        var position = end &+ digits
        end = position
        rest = value
        repeat {
            position &-= 1
            unsafe base.unsafelyUnwrapped[position] = UInt8(truncatingIfNeeded: 0x30 &+ rest % 10)
            rest /= 10
        } while rest > 0
    }

    /// Lower-case hexadecimal digits without leading zeros.
    public mutating func append(hexadecimal value: UInt64) {
        let digits = max(1, (67 &- value.leadingZeroBitCount) / 4)
        precondition(digits <= free)
        for index in stride(from: digits &- 1, through: 0, by: -1) {
            let nibble = UInt8(truncatingIfNeeded: value >> UInt64(index &* 4)) & 15
            append(nibble < 10 ? 0x30 &+ nibble : 0x57 &+ nibble)
        }
    }

    /// Something to point at where there is no memory; never read or written.
    @usableFromInline nonisolated(unsafe) static let nowhere: UnsafeMutablePointer<UInt8> = .allocate(capacity: 16)
}
