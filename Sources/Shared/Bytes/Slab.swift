import Glibc

/// A fixed number of places for values of one type. A place is named by its index and a generation that changes each
/// time the place is freed, so that a late event for a former tenant is recognised and dropped.
///
/// A handle: copies name the same places, and the places live as long as the process. Memory is reserved at once and
/// touched as it is used.
@safe
public struct Slab<Element: ~Copyable>: Copyable {
    @usableFromInline
    struct Header {
        var freeHead: Int32 = -1
        /// Places at and above have never been used.
        @usableFromInline var highWater = 0
        var count = 0
    }

    @usableFromInline let places: UnsafeMutablePointer<Element>
    @usableFromInline let generations: UnsafeMutablePointer<UInt32>
    @usableFromInline let header: UnsafeMutablePointer<Header>
    private let next: UnsafeMutablePointer<Int32>
    public let capacity: Int

    public init(capacity: Int) {
        precondition(capacity > 0 && capacity < 1 << 24)
        self.capacity = capacity
        unsafe places = .allocate(capacity: capacity)
        // Zeroed without being touched.
        guard let zeroed = unsafe calloc(capacity, MemoryLayout<UInt32>.stride) else {
            preconditionFailure("out of memory")
        }
        unsafe generations = zeroed.bindMemory(to: UInt32.self, capacity: capacity)
        unsafe next = .allocate(capacity: capacity)
        unsafe header = .allocate(capacity: 1)
        unsafe header.initialize(to: Header())
    }

    /// Places in use.
    public var count: Int { unsafe header.pointee.count }
    public var isFull: Bool { count == capacity }

    /// Puts a value in a free place; the slab must not be full.
    public func insert(_ value: consuming Element) -> Int {
        precondition(count < capacity)
        let index: Int
        if unsafe header.pointee.freeHead >= 0 {
            index = unsafe Int(header.pointee.freeHead)
            unsafe header.pointee.freeHead = next[index]
        } else {
            index = unsafe header.pointee.highWater
            unsafe header.pointee.highWater &+= 1
        }
        // Odd generations are in use.
        unsafe generations[index] &+= 1
        unsafe (places + index).initialize(to: value)
        unsafe header.pointee.count &+= 1
        return index
    }

    /// Takes the value out and frees the place.
    public func remove(_ index: Int) -> Element {
        precondition(isInUse(index))
        unsafe generations[index] &+= 1
        unsafe next[index] = header.pointee.freeHead
        unsafe header.pointee.freeHead = Int32(truncatingIfNeeded: index)
        unsafe header.pointee.count &-= 1
        return unsafe (places + index).move()
    }

    /// Places from 0 up to here have been used at some time.
    public var highWater: Int { unsafe header.pointee.highWater }

    @inlinable public func isInUse(_ index: Int) -> Bool {
        guard index >= 0, index < capacity else { return false }
        return unsafe generations[index] & 1 == 1
    }

    /// The generation of the value in a place.
    @inlinable public func generation(_ index: Int) -> UInt32 {
        precondition(index >= 0 && index < capacity)
        return unsafe generations[index]
    }

    /// Whether the place still holds the value that had this generation.
    @inlinable public func holds(_ index: Int, _ generation: UInt32) -> Bool {
        // Even ones are of free places, which hold nothing, whoever asks.
        guard index >= 0, index < capacity, generation & 1 == 1 else { return false }
        return unsafe generations[index] == generation
    }

    @inlinable public subscript(index: Int) -> Element {
        @inline(__always) unsafeAddress {
            precondition(isInUse(index))
            return unsafe UnsafePointer(places + index)
        }
        @inline(__always) nonmutating unsafeMutableAddress {
            precondition(isInUse(index))
            return unsafe places + index
        }
    }
}
