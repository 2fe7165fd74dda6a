extension Span where Element == UInt8 {
    /// Eight bytes at `offset` as a little-endian word; traps unless all eight are inside.
    @inlinable @inline(__always)
    public func word(at offset: Int) -> UInt64 {
        precondition(offset >= 0 && offset <= count &- 8)
        return unsafe withUnsafeBufferPointer {
            unsafe UInt64(
                littleEndian: UnsafeRawPointer($0.baseAddress.unsafelyUnwrapped).loadUnaligned(
                    fromByteOffset: offset, as: UInt64.self))
        }
    }

    /// Whether the range spells `text` (lower case) when ASCII letters are compared without case.
    @inlinable @inline(__always)
    public func equalsIgnoringCase(_ text: StaticString, at offset: Int, count length: Int) -> Bool {
        guard length == text.utf8CodeUnitCount else { return false }
        precondition(offset >= 0 && offset &+ length <= count)
        return unsafe withUnsafeBufferPointer { bytes in
            for index in 0..<length {
                let byte = unsafe bytes[offset &+ index]
                let lower = byte &- 0x41 < 26 ? byte | 0x20 : byte
                if unsafe lower != text.utf8Start[index] { return false }
            }
            return true
        }
    }

    /// Whether `text` stands at `offset`, case and all.
    @inlinable @inline(__always)
    public func spells(_ text: StaticString, at offset: Int) -> Bool {
        guard offset >= 0, text.utf8CodeUnitCount <= count &- offset else { return false }
        for index in 0..<text.utf8CodeUnitCount {
            if unsafe text.utf8Start[index] != self[offset &+ index] { return false }
        }
        return true
    }

    /// Whether the range is byte for byte `other`.
    @inlinable
    public func equals(_ other: [UInt8], at offset: Int, count length: Int) -> Bool {
        guard length == other.count else { return false }
        for index in 0..<length where self[offset &+ index] != other[index] { return false }
        return true
    }

    /// The first place of `byte` at or after `offset`; nil when there is none.
    @inlinable
    public func firstIndex(of byte: UInt8, from offset: Int) -> Int? {
        var index = offset
        while index < count {
            if self[index] == byte { return index }
            index &+= 1
        }
        return nil
    }

    /// A copy of a range.
    public func array(_ offset: Int, _ length: Int) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(length)
        for index in offset..<offset + length { result.append(self[index]) }
        return result
    }
}

extension StaticString {
    /// Whether `body` holds for each byte of this text.
    func allBytes(_ body: (UInt8) -> Bool) -> Bool {
        withUTF8Buffer { unsafe $0.allSatisfy(body) }
    }

    /// Whether the bytes are this text's.
    func equals(_ bytes: ArraySlice<UInt8>) -> Bool {
        withUTF8Buffer { unsafe bytes.elementsEqual($0) }
    }
}
