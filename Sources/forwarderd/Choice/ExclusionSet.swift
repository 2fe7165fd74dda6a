import Shared

/// The instances that failed a request. It is not sent to them again.
struct ExclusionSet {
    private var slots = InlineArray<8, Int32>(repeating: -1)
    /// `Limits.instancesTriedPerRequest` is not higher: a request that excludes no more would be tried for ever.
    static let capacity = 8
    private(set) var count = 0

    mutating func insert(_ slot: Int) {
        precondition(Limits.instancesTriedPerRequest <= Self.capacity)
        if count < Self.capacity {
            slots[count] = Int32(truncatingIfNeeded: slot)
            count &+= 1
        }
    }

    @inline(__always)
    func contains(_ slot: Int32) -> Bool {
        var index = 0
        while index < count {
            if slots[index] == slot { return true }
            index &+= 1
        }
        return false
    }
}
