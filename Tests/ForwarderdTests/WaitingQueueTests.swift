import Shared
import Testing

@testable import forwarderd

@Suite struct WaitingQueueTests {
    @Test func requestsAreServedInTheOrderOfTheirComingAndMayLeave() {
        var queue = WaitingQueue()
        queue.capacity = 100
        let entries = (0..<50).map { Slab<Exchange>.Index($0) }
        for entry in entries { queue.append(entry) }
        for entry in entries where entry.rawValue % 3 == 0 { queue.remove(entry) }
        var order: [Int32] = []
        while let first = queue.entry(0) {
            order.append(first.rawValue)
            queue.remove(first)
        }
        #expect(order == (0..<50).filter { $0 % 3 != 0 })
        #expect(queue.isEmpty && queue.count == 0)
    }

    @Test func itIsFullAtItsCapacityAndHasRoomAgainWhenOneLeaves() {
        var queue = WaitingQueue()
        queue.capacity = 2
        queue.append(Slab<Exchange>.Index(0))
        #expect(!queue.isFull)
        queue.append(Slab<Exchange>.Index(1))
        #expect(queue.isFull)
        queue.remove(Slab<Exchange>.Index(7))
        #expect(queue.isFull, "one that does not wait leaves nothing")
        queue.remove(Slab<Exchange>.Index(0))
        #expect(!queue.isFull && queue.entry(0) == Slab<Exchange>.Index(1))
    }

    /// The queue is used for months: it must not grow with what has passed through it.
    @Test func itAgreesWithAPlainListOverRandomUse() {
        var random = SplitMix(seed: 5)
        var (queue, list) = (WaitingQueue(), [Slab<Exchange>.Index]())
        for number in 0..<20_000 {
            if random.next() % 2 == 0 || list.isEmpty {
                queue.append(Slab<Exchange>.Index(number))
                list.append(Slab<Exchange>.Index(number))
            } else {
                let index = random.next() % 3 == 0 ? Int(random.next() % UInt64(list.count)) : 0
                queue.remove(list.remove(at: index))
            }
            #expect(queue.count == list.count && queue.entry(0) == list.first)
        }
        #expect((0..<list.count).allSatisfy { queue.entry($0) == list[$0] } && queue.entry(list.count) == nil)
    }
}
