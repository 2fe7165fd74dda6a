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

    /// Whether the range spells `text` when ASCII letters are compared without case. Letters of `text` are in lower case; the only other
    /// signs in it are those below 0x40: digits, `-`, `/`, `:` and the like.
    @inlinable @inline(__always)
    public func equalsIgnoringCase(_ text: StaticString, at offset: Int, count length: Int) -> Bool {
        guard length == text.utf8CodeUnitCount else { return false }
        precondition(offset >= 0 && offset &+ length <= count)
        return unsafe withUnsafeBufferPointer { bytes in
            guard length >= 8 else {
                for index in 0..<length {
                    let byte = unsafe bytes[offset &+ index]
                    let lower = byte &- 0x41 < 26 ? byte | 0x20 : byte
                    if unsafe lower != text.utf8Start[index] { return false }
                }
                return true
            }
            let start = unsafe UnsafeRawPointer(bytes.baseAddress.unsafelyUnwrapped) + offset
            var index = 0
            while true {
                let word = unsafe start.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                let wanted = unsafe UnsafeRawPointer(text.utf8Start).loadUnaligned(
                    fromByteOffset: index, as: UInt64.self)
                // A byte may differ in 0x20 where `text` has a letter, which only letters say with 0x40.
                if (word ^ wanted) & ~((wanted & 0x4040_4040_4040_4040) >> 1) != 0 { return false }
                if index == length &- 8 { return true }
                // The last eight bytes may have been compared in part.
                index = min(index &+ 8, length &- 8)
            }
        }
    }

    /// Where the bytes from `offset` on stop to be in `set`; the end of the bytes, if they do not.
    @inlinable @inline(__always)
    func end(of set: ASCIISet, from offset: Int) -> Int {
        precondition(offset >= 0)
        return unsafe withUnsafeBufferPointer { bytes in
            var index = offset
            while index < bytes.count, unsafe set.contains(bytes[index]) { index &+= 1 }
            return index
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
