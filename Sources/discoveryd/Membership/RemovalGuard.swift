import Shared

/// What is believed of a name's addresses. An answer in which more than half of them are gone at once is more likely a fault of the name
/// service than the truth: they are held, polled as before, until the third such answer in a row or until their polls fail. A single
/// address that has become another one is believed at once.
struct RemovalGuard {
    /// In the order of the answers; what is held stands behind.
    private(set) var believed: [SocketAddress] = []
    /// What the last answer did not have.
    private(set) var held: [SocketAddress] = []
    /// What was believed before it began to hold.
    private(set) var standing: [SocketAddress] = []
    private var answersInRow = 0

    /// Returns whether it holds something that it did not hold before.
    mutating func receive(_ answer: [SocketAddress]) -> Bool {
        let present = Set(answer)
        let lost = believed.filter { !present.contains($0) }
        // Measured by what was there before it began to hold anything: what comes in the meantime makes the loss no smaller.
        let before = held.isEmpty ? believed : standing.filter { believed.contains($0) }
        let gone = before.count { !present.contains($0) }
        let isMassive = gone * 2 > before.count && (before.count > 1 || answer.isEmpty)
        answersInRow = isMassive ? answersInRow + 1 : 0
        guard isMassive, answersInRow < Limits.lookUpsBelieved else {
            believed = answer
            held = []
            answersInRow = 0
            return false
        }
        let wasHolding = !held.isEmpty
        if !wasHolding { standing = believed }
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
