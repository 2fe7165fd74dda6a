import Shared

/// What chance decides in a choice. Requests throw real dice; `explain` runs the same choice with dice that show every outcome.
protocol Dice {
    /// These dice show every outcome instead of one.
    static var showsAll: Bool { get }
    /// `slot` is better than all before it.
    mutating func lead(_ slot: Int32)
    /// `slot` is as good as the best before it. True: it takes the place, which happens in `weight` of `total` cases.
    mutating func tie(_ slot: Int32, weight: UInt64, of total: UInt64) -> Bool
    /// Slow start: whether an instance that gets `percent` of its requests gets this one.
    mutating func welcomes(percent: UInt64) -> Bool
    /// A number from 0 up to `count`.
    mutating func number(below count: UInt64) -> UInt64
}

extension SplitMix: Dice {
    static var showsAll: Bool { false }

    @inline(__always) mutating func lead(_: Int32) {}

    @inline(__always) mutating func tie(_: Int32, weight: UInt64, of total: UInt64) -> Bool { next() % total < weight }

    @inline(__always) mutating func welcomes(percent: UInt64) -> Bool { next() % 100 < percent }

    @inline(__always) mutating func number(below count: UInt64) -> UInt64 { next() % count }
}

/// Collects all instances that chance could have picked.
struct AllOutcomes: Dice {
    /// The contender to pick, if it is one.
    let preferred: Int32?
    let welcomesNewcomers: Bool
    private(set) var contenders: [Int32] = []

    init(preferred: Int32? = nil, welcomesNewcomers: Bool = true) {
        self.preferred = preferred
        self.welcomesNewcomers = welcomesNewcomers
    }

    static var showsAll: Bool { true }

    mutating func lead(_ slot: Int32) { contenders = [slot] }

    mutating func tie(_ slot: Int32, weight: UInt64, of total: UInt64) -> Bool {
        contenders.append(slot)
        return slot == preferred
    }

    mutating func welcomes(percent: UInt64) -> Bool { welcomesNewcomers }

    mutating func number(below count: UInt64) -> UInt64 { 0 }
}
