/// Timers by the thousand at constant cost: a hierarchical timing wheel (Varghese and Lauck, 1987) of six levels with 64
/// slots of 1 ms, 64 ms, 4 s, ... Each level has a bitmap of its occupied slots, so that empty time is skipped and the next
/// expiry is found without looking at timers. Nodes come from an array with a free list; nothing is allocated per timer
/// once the array has grown.
public struct TimerWheel: Sendable {
    /// Names one scheduled timer until it fires or is cancelled; later it names nothing, though its place be used again.
    public struct ID: Equatable, Sendable {
        var index: Int32
        var generation: UInt32 = 0
        /// No timer.
        public static let none = ID(index: -1)
        /// Not `none`; whether it has fired meanwhile only the wheel knows.
        public var isScheduled: Bool { index >= 0 }
    }

    private struct Node {
        var deadline: UInt64
        var token: Token
        var next: Int32
        var previous: Int32
        /// The list that the node is in; -1 when free.
        var list: Int32
        /// Counts the timers that have had this place.
        var generation: UInt32
    }

    private static let levels = 6
    /// Farther deadlines wait in the last slot and are placed anew when it comes up.
    private static let horizon: UInt64 = 1 << 36
    private static let expiredList = Int32(levels * 64)

    private var nodes: [Node] = []
    private var freeHead: Int32 = -1
    private var heads: [Int32]
    private var occupied: [UInt64]
    /// The last millisecond whose timers have been collected.
    public private(set) var current: UInt64
    /// Timers that are scheduled.
    public private(set) var count = 0

    public init(now: UInt64) {
        current = now
        heads = [Int32](repeating: -1, count: Self.levels * 64 + 1)
        occupied = [UInt64](repeating: 0, count: Self.levels)
    }

    /// Schedules `token` for `deadline` (milliseconds of the loop's clock); the past means the next millisecond.
    public mutating func schedule(_ token: Token, at deadline: UInt64) -> ID {
        let index: Int32
        if freeHead >= 0 {
            index = freeHead
            freeHead = nodes[Int(index)].next
            nodes[Int(index)].deadline = deadline
            nodes[Int(index)].token = token
            nodes[Int(index)].generation &+= 1
        } else {
            index = Int32(nodes.count)
            nodes.append(Node(deadline: deadline, token: token, next: -1, previous: -1, list: -1, generation: 0))
        }
        place(index)
        count += 1
        return ID(index: index, generation: nodes[Int(index)].generation)
    }

    private func isCurrent(_ id: ID) -> Bool {
        id.index >= 0 && nodes[Int(id.index)].generation == id.generation && nodes[Int(id.index)].list >= 0
    }

    /// Removes a timer; `id` becomes `.none`. Nothing happens if it is none already, or has fired.
    public mutating func cancel(_ id: inout ID) {
        defer { id = .none }
        guard isCurrent(id) else { return }
        unlink(id.index)
        release(id.index)
    }

    /// Moves a timer to another deadline. Nothing happens if it is none, or has fired.
    public mutating func reschedule(_ id: ID, at deadline: UInt64) {
        guard isCurrent(id) else { return }
        unlink(id.index)
        nodes[Int(id.index)].deadline = deadline
        place(id.index)
    }

    /// Collects all timers due at `now`; take them with `nextExpired`.
    public mutating func advance(to now: UInt64) {
        while current < now {
            let next = nextOccupied(limit: now)
            current = next
            if next & 63 == 0 { cascade() }
            let slot = Int(next & 63)
            if occupied[0] >> UInt64(slot) & 1 == 1 {
                occupied[0] &= ~(1 << UInt64(slot))
                var index = heads[slot]
                heads[slot] = -1
                while index >= 0 {
                    let following = nodes[Int(index)].next
                    // A deadline clamped to the horizon, or placed in the past, is looked at again.
                    if nodes[Int(index)].deadline > current { place(index) } else { push(index, Self.expiredList) }
                    index = following
                }
            }
        }
    }

    /// The next timer that has expired; its ID is free from now on.
    public mutating func nextExpired() -> Token? {
        let index = heads[Int(Self.expiredList)]
        guard index >= 0 else { return nil }
        let token = nodes[Int(index)].token
        unlink(index)
        release(index)
        return token
    }

    public var hasExpired: Bool { heads[Int(Self.expiredList)] >= 0 }

    /// Milliseconds until something may be due, at most `limit`. May be early (a cascade), never late.
    public func wait(now: UInt64, limit: UInt64) -> UInt64 {
        if hasExpired { return 0 }
        let target = now > UInt64.max - limit ? UInt64.max : now + limit
        let next = nextOccupied(limit: max(target, current + 1))
        return next > now ? min(next - now, limit) : 0
    }

    // MARK: Inside

    /// The first millisecond after `current`, at most `limit`, at which a slot comes up or a level turns.
    private func nextOccupied(limit: UInt64) -> UInt64 {
        var best = limit
        for level in 0..<Self.levels where occupied[level] != 0 {
            let shift = UInt64(level * 6)
            let position = (current >> shift) + 1
            let turn = position & 63
            let bits = occupied[level]
            let rotated = turn == 0 ? bits : bits >> turn | bits << (64 - turn)
            let slotTime = position + UInt64(rotated.trailingZeroBitCount)
            best = min(best, slotTime << shift)
        }
        return max(best, current + 1)
    }

    /// Places the timers of the higher levels' slots that begin now into lower ones.
    private mutating func cascade() {
        for level in stride(from: Self.levels - 1, through: 1, by: -1) {
            let shift = UInt64(level * 6)
            guard current & ((1 << shift) - 1) == 0 else { continue }
            let slot = Int(current >> shift & 63)
            guard occupied[level] >> UInt64(slot) & 1 == 1 else { continue }
            occupied[level] &= ~(1 << UInt64(slot))
            let list = level * 64 + slot
            var index = heads[list]
            heads[list] = -1
            while index >= 0 {
                let following = nodes[Int(index)].next
                if nodes[Int(index)].deadline <= current { push(index, Int32(current & 63)) } else { place(index) }
                index = following
            }
        }
    }

    private mutating func place(_ index: Int32) {
        let deadline = min(max(nodes[Int(index)].deadline, current + 1), current + Self.horizon - 1)
        var level = 0
        while level < Self.levels - 1 {
            let shift = UInt64(level * 6)
            if (deadline >> shift) - (current >> shift) < 64 { break }
            level += 1
        }
        let shift = UInt64(level * 6)
        var slotTime = deadline >> shift
        if slotTime - (current >> shift) >= 64 { slotTime = (current >> shift) + 63 }
        push(index, Int32(level * 64) + Int32(slotTime & 63))
    }

    private mutating func push(_ index: Int32, _ list: Int32) {
        let head = heads[Int(list)]
        nodes[Int(index)].next = head
        nodes[Int(index)].previous = -1
        nodes[Int(index)].list = list
        if head >= 0 { nodes[Int(head)].previous = index }
        heads[Int(list)] = index
        if list != Self.expiredList { occupied[Int(list) / 64] |= 1 << UInt64(list % 64) }
    }

    private mutating func unlink(_ index: Int32) {
        let node = nodes[Int(index)]
        precondition(node.list >= 0, "a timer that is not scheduled")
        if node.previous >= 0 { nodes[Int(node.previous)].next = node.next } else { heads[Int(node.list)] = node.next }
        if node.next >= 0 { nodes[Int(node.next)].previous = node.previous }
        if node.list != Self.expiredList, heads[Int(node.list)] < 0 {
            occupied[Int(node.list) / 64] &= ~(1 << UInt64(node.list % 64))
        }
        nodes[Int(index)].list = -1
    }

    private mutating func release(_ index: Int32) {
        nodes[Int(index)].next = freeHead
        nodes[Int(index)].list = -1
        freeHead = index
        count -= 1
    }
}
