import Shared

/// The addresses of a name over its look-ups, with the mass-removal guard: an answer in which more than half of them are gone
/// at once is more likely a fault of the name service than the truth. They are kept, polled as before, until as many look-ups
/// in a row say the same; forwarders get only those that answer their polls anyway. Pure.
struct NameAddresses {
    private(set) var addresses: [SocketAddress] = []
    /// How many addresses are kept against the last answer, and how many answers in a row have lacked them.
    private(set) var kept = 0
    private var answersInRow = 0

    enum Judgement: Equatable {
        case believed
        /// So many of so many are kept against the answer.
        case doubted(Int, of: Int)
    }

    /// A look-up's answer; an empty one, which is a failed look-up, changes nothing.
    mutating func take(_ answer: [SocketAddress]) -> Judgement {
        guard !answer.isEmpty else { return .believed }
        let lost = addresses.filter { !answer.contains($0) }
        answersInRow += 1
        guard addresses.count > 1, lost.count * 2 > addresses.count, answersInRow < Limits.lookUpsBelieved else {
            addresses = answer
            kept = 0
            answersInRow = 0
            return .believed
        }
        let known = addresses.count
        addresses = Array((answer.filter { !addresses.contains($0) } + addresses).prefix(Limits.addressesPerName))
        kept = lost.count
        return .doubted(lost.count, of: known)
    }
}
