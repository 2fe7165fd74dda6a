import Glibc

/// A fixed number of places for values of one type. An index names a place, and a generation that changes each time the place is
/// freed names the value in it, so that a late event for a former value is recognised and dropped.
///
/// A handle: copies name the same places, and the places live as long as the process. Memory is reserved at once and
/// touched as it is used.
@safe
public struct Slab<Element: ~Copyable>: Copyable {
    @usableFromInline
    struct Header {
        @usableFromInline var freeHead: Int32 = -1
        /// Places at and above have never been used.
        @usableFromInline var highWater = 0
        @usableFromInline var count = 0
    }

    /// Names a place of a slab of this element type: an index of another slab's elements does not compile in its place.
    public struct Index: Equatable, Hashable, Sendable {
        public let rawValue: Int32
        @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }
        /// The place of this number, whether or not it holds a value.
        @inlinable public init(_ position: Int) { rawValue = Int32(truncatingIfNeeded: position) }
        /// From 0 up; small for as long as few places are in use.
        @inlinable public var position: Int { Int(rawValue) }
    }

    @usableFromInline let places: UnsafeMutablePointer<Element>
    @usableFromInline let generations: UnsafeMutablePointer<UInt32>
    @usableFromInline let header: UnsafeMutablePointer<Header>
    @usableFromInline let next: UnsafeMutablePointer<Int32>
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
    @inlinable public var count: Int { unsafe header.pointee.count }
    public var isFull: Bool { count == capacity }

    /// Puts a value in a free place; the slab must not be full.
    @inlinable @inline(__always)
    public func insert(_ value: consuming Element) -> Index {
        let index = take()
        unsafe (places + index).initialize(to: value)
        return Index(index)
    }

    /// Makes a value in a free place; the slab must not be full.
    @inlinable @inline(__always)
    public func insert(_ make: () -> Element) -> Index {
        let index = take()
        unsafe (places + index).initialize(to: make())
        return Index(index)
    }

    @usableFromInline
    func take() -> Int {
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
        unsafe header.pointee.count &+= 1
        return index
    }

    /// Takes the value out and frees the place.
    @inlinable
    public func remove(_ index: Index) -> Element {
        free(index)
        return unsafe (places + index.position).move()
    }

    /// Destroys the value and frees the place.
    @inlinable
    public func discard(_ index: Index) {
        free(index)
        unsafe (places + index.position).deinitialize(count: 1)
    }

    @usableFromInline
    func free(_ index: Index) {
        precondition(isInUse(index))
        let index = index.position
        unsafe generations[index] &+= 1
        unsafe next[index] = header.pointee.freeHead
        unsafe header.pointee.freeHead = Int32(truncatingIfNeeded: index)
        unsafe header.pointee.count &-= 1
    }

    /// One more than the highest place that has ever been used.
    public var highWater: Int { unsafe header.pointee.highWater }

    /// The place of this number, if it holds a value.
    @inlinable public func index(at position: Int) -> Index? {
        let index = Index(position)
        return position >= 0 && position < capacity && isInUse(index) ? index : nil
    }

    /// All places that hold values, lowest first. Values may be removed meanwhile; one that is added may be missed.
    public var indices: Indices { Indices(slab: self) }

    public struct Indices: Sequence, IteratorProtocol {
        let slab: Slab
        var position = 0

        public mutating func next() -> Index? {
            while position < slab.highWater {
                position += 1
                if let index = slab.index(at: position - 1) { return index }
            }
            return nil
        }
    }

    @inlinable public func isInUse(_ index: Index) -> Bool {
        let position = index.position
        guard position >= 0, position < capacity else { return false }
        return unsafe generations[position] & 1 == 1
    }

    /// The generation of the value in a place.
    @inlinable public func generation(_ index: Index) -> UInt32 {
        precondition(index.position >= 0 && index.position < capacity)
        return unsafe generations[index.position]
    }

    /// Whether the place still holds the value that had this generation.
    @inlinable public func holds(_ index: Index, _ generation: UInt32) -> Bool {
        let position = index.position
        // Even generations are of free places, which hold nothing, whoever asks.
        guard position >= 0, position < capacity, generation & 1 == 1 else { return false }
        return unsafe generations[position] == generation
    }

    /// The place that a token names, if it still holds the value that the token was made for.
    @inlinable @inline(__always)
    public func index(of token: Token) -> Index? {
        let index = Index(token.slot)
        return holds(index, token.generation) ? index : nil
    }

    /// A token for the value in a place, of the owner's kind `kind`.
    @inlinable @inline(__always)
    public func token(_ kind: UInt8, _ index: Index) -> Token {
        Token(kind: kind, slot: index.position, generation: generation(index))
    }

    @inlinable public subscript(index: Index) -> Element {
        @inline(__always) unsafeAddress {
            precondition(isInUse(index))
            return unsafe UnsafePointer(places + index.position)
        }
        @inline(__always) nonmutating unsafeMutableAddress {
            precondition(isInUse(index))
            return unsafe places + index.position
        }
    }
}
