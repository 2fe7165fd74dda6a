import Shared
import Testing

@testable import discoveryd

@Suite struct NameAddressesTests {
    private func addresses(_ last: [Int]) -> [SocketAddress] {
        last.compactMap { SocketAddress(literal: "10.0.0.\($0)", port: 0) }
    }

    @Test func aFewThatGoOrComeAreBelievedAtOnce() {
        var name = NameAddresses()
        #expect(name.take(addresses([1, 2, 3, 4])) == .believed)
        #expect(name.take(addresses([1, 2])) == .believed)
        #expect(name.addresses == addresses([1, 2]))
        #expect(name.take(addresses([1, 2, 5, 6])) == .believed)
        #expect(name.take([]) == .believed)
        #expect(name.addresses == addresses([1, 2, 5, 6]))
    }

    @Test func moreThanHalfGoneAtOnceAreKeptUntilThatIsSaidAgainAndAgain() {
        var name = NameAddresses()
        _ = name.take(addresses([1, 2, 3, 4]))
        for _ in 1..<Limits.lookUpsBelieved {
            #expect(name.take(addresses([1])) == .doubted(3, of: 4))
            #expect(Set(name.addresses) == Set(addresses([1, 2, 3, 4])) && name.kept == 3)
        }
        #expect(name.take(addresses([1])) == .believed)
        #expect(name.addresses == addresses([1]) && name.kept == 0)
    }

    @Test func oneGoodAnswerEndsTheDoubt() {
        var name = NameAddresses()
        _ = name.take(addresses([1, 2, 3]))
        #expect(name.take(addresses([9])) == .doubted(3, of: 3))
        #expect(name.take(addresses([1, 2, 3])) == .believed)
        #expect(name.kept == 0)
        // The count begins anew.
        #expect(name.take(addresses([9])) == .doubted(3, of: 3))
        #expect(name.take(addresses([9])) != .believed)
    }

    /// With a single address there is no majority to lose: a moved instance is polled at its new address at once.
    @Test func aSingleAddressMovesAtOnce() {
        var name = NameAddresses()
        _ = name.take(addresses([1]))
        #expect(name.take(addresses([2])) == .believed)
        #expect(name.addresses == addresses([2]))
    }
}
