/// What a registration stands for, packed into the 64 bits that epoll hands back: what kind of thing, which slot, and
/// which generation of that slot. An event whose generation is not the slot's is for a former tenant and dropped.
public struct Token: Equatable, Hashable, Sendable {
    public let rawValue: UInt64

    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// `slot` below 2^24.
    @inlinable public init(kind: UInt8, slot: Int = 0, generation: UInt32 = 0) {
        rawValue = UInt64(kind) << 56 | UInt64(truncatingIfNeeded: slot & 0xff_ffff) << 32 | UInt64(generation)
    }

    @inlinable public var kind: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 56) }
    @inlinable public var slot: Int { Int(truncatingIfNeeded: rawValue >> 32 & 0xff_ffff) }
    @inlinable public var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
}
