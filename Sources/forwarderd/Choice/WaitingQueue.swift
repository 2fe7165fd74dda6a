import Shared

/// Requests of one service that wait for an instance with room, first come first served. An exchange leaves the queue before its place is
/// free for another one.
struct WaitingQueue {
    private var entries: [Slab<Exchange>.Index] = []
    private var head = 0
    var capacity = 0

    var count: Int { entries.count - head }
    var isFull: Bool { count >= capacity }
    var isEmpty: Bool { head == entries.count }
    /// In the order of waiting.
    func entry(_ index: Int) -> Slab<Exchange>.Index? { index < count ? entries[head + index] : nil }

    mutating func append(_ exchange: Slab<Exchange>.Index) { entries.append(exchange) }

    /// Removes an exchange; nothing happens if it is not in the queue.
    mutating func remove(_ exchange: Slab<Exchange>.Index) {
        guard let index = entries[head...].firstIndex(of: exchange) else { return }
        if index > head {
            entries.remove(at: index)
            return
        }
        head += 1
        // Places that were left are dropped when they are half of all.
        if head * 2 >= entries.count {
            entries.removeFirst(head)
            head = 0
        }
    }
}
