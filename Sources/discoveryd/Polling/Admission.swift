import Shared

/// Whether one more poll may begin. At most so many may be young at a time; those that have been under way for longer hang on
/// something and no longer count, or a few hundred instances that do not answer would delay all others.
struct Admission: Sendable {
    typealias Ticket = UInt64

    private let limit: Int
    private let youthMilliseconds: UInt64
    /// Those begun lately, in their order; `first` is the ticket of the oldest.
    private var begun: [(at: UInt64, hasEnded: Bool)] = []
    private var start = 0
    private var first: Ticket = 1
    private(set) var young = 0

    init(limit: Int = Limits.pollsInFlight, youthMilliseconds: UInt64 = Limits.pollYouthMilliseconds) {
        self.limit = limit
        self.youthMilliseconds = youthMilliseconds
    }

    mutating func admits(now: UInt64) -> Bool {
        if young < limit { return true }
        while start < begun.count, now - begun[start].at >= youthMilliseconds { forgetOldest() }
        return young < limit
    }

    /// When the oldest young one will no longer count; nil: there is none.
    var nextAging: UInt64? { start < begun.count ? begun[start].at + youthMilliseconds : nil }

    mutating func begin(now: UInt64) -> Ticket {
        begun.append((now, false))
        young += 1
        return first + UInt64(begun.count - start) - 1
    }

    mutating func end(_ ticket: Ticket) {
        guard ticket >= first else { return }
        let index = start + Int(ticket - first)
        guard index < begun.count, !begun[index].hasEnded else { return }
        begun[index].hasEnded = true
        young -= 1
        while start < begun.count, begun[start].hasEnded { forgetOldest() }
    }

    private mutating func forgetOldest() {
        if !begun[start].hasEnded { young -= 1 }
        start += 1
        first += 1
        if start >= 1024, start * 2 >= begun.count {
            begun.removeFirst(start)
            start = 0
        } else if start == begun.count {
            begun.removeAll(keepingCapacity: true)
            start = 0
        }
    }
}
