import Shared

/// What is believed of a name's addresses. An answer in which more than half of them are gone at once is more likely a fault of the name
/// service than the truth: they are held, polled as before, until as many answers in a row say the same or their polls fail. A single
/// address that has become another one is believed at once.
struct RemovalGuard {
    /// In the order of the answers; what is held stands behind.
    private(set) var believed: [SocketAddress] = []
    /// What the last answer did not have.
    private(set) var held: [SocketAddress] = []
    private var answersInRow = 0

    /// Returns whether it holds something that it did not hold before.
    mutating func receive(_ answer: [SocketAddress]) -> Bool {
        let present = Set(answer)
        let lost = believed.filter { !present.contains($0) }
        let isMassive = lost.count * 2 > believed.count && (believed.count > 1 || answer.isEmpty)
        answersInRow = isMassive ? answersInRow + 1 : 0
        guard isMassive, answersInRow < Limits.lookUpsBelieved else {
            believed = answer
            held = []
            answersInRow = 0
            return false
        }
        let wasHolding = !held.isEmpty
        believed = answer + lost
        held = lost
        return !wasHolding
    }

    /// The poll of an address has failed. True: it was only held, and is gone now.
    mutating func failed(_ address: SocketAddress) -> Bool {
        guard let place = held.firstIndex(of: address) else { return false }
        held.remove(at: place)
        believed.removeAll { $0 == address }
        return true
    }
}
