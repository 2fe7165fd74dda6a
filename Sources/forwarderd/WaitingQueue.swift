/// Requests that wait for an instance with room, first come first served.
struct WaitingQueue {
    struct Entry: Equatable {
        let slot: Int
        let generation: UInt32
    }

    private var entries: [Entry] = []
    private var head = 0
    var capacity = 0

    var count: Int { entries.count - head }
    var isFull: Bool { count >= capacity }
    var isEmpty: Bool { head == entries.count }
    /// In the order of waiting.
    func entry(_ index: Int) -> Entry? { index < count ? entries[head + index] : nil }

    mutating func append(_ entry: Entry) { entries.append(entry) }

    /// Whoever goes on, or gives up waiting, leaves its place.
    mutating func remove(_ entry: Entry) {
        guard let index = entries[head...].firstIndex(of: entry) else { return }
        if index > head {
            entries.remove(at: index)
            return
        }
        head += 1
        // What has been left is dropped when it is half of the whole.
        if head * 2 >= entries.count {
            entries.removeFirst(head)
            head = 0
        }
    }
}
