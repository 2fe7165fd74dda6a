import Shared
import Testing

@testable import forwarderd

/// A name with several addresses: each is tried, judged and left alone by itself.
@Suite struct AddressEvidenceTests {
    private let addresses = (1...3).map { SocketAddress(ipv4: 0x0a00_0000 + UInt32($0), port: 80) }
    private var random = SplitMix(seed: 1)

    @Test func requestsGoToAllInTurn() {
        var evidence = AddressEvidence()
        let first = (0..<6).map { _ in evidence.next(addresses, tried: [], now: 0) }
        #expect(Set(first.prefix(3)) == Set(addresses) && first.prefix(3) == first.suffix(3))
    }

    @Test func aTriedAddressIsNotTriedAgain() {
        var evidence = AddressEvidence()
        #expect(evidence.next(addresses, tried: [addresses[0], addresses[2]], now: 0) == addresses[1])
        #expect(evidence.next(addresses, tried: addresses, now: 0) == nil)
        #expect(evidence.next([addresses[0]], tried: [addresses[0]], now: 0) == nil)
        #expect(evidence.next([], tried: [], now: 0) == nil)
    }

    @Test mutating func aRefusingAddressIsAvoidedForAWhile() {
        var evidence = AddressEvidence()
        var span: UInt64?
        for _ in 0..<20 where span == nil {
            if case .avoided(let time) = evidence.failed(addresses[1], of: addresses, now: 1000, random: &random) {
                span = time
            }
        }
        let time = span ?? 0
        #expect(time > 0)
        for _ in 0..<9 { #expect(evidence.next(addresses, tried: [], now: 1000 + time - 1) != addresses[1]) }
        #expect((0..<3).contains { _ in evidence.next(addresses, tried: [], now: 1000 + time) == addresses[1] })
        // What is avoided is still better than nothing.
        #expect(evidence.next(addresses, tried: [addresses[0], addresses[2]], now: 1000) == addresses[1])
    }

    @Test mutating func whenAllAreAvoidedItIsTheInstanceThatFails() {
        var evidence = AddressEvidence()
        var outcomes: [AddressEvidence.Outcome] = []
        for address in addresses {
            for _ in 0..<5 { outcomes.append(evidence.failed(address, of: addresses, now: 0, random: &random)) }
        }
        #expect(outcomes.last == .allAvoided)
        #expect(!outcomes.prefix(10).contains(.allAvoided))
    }

    @Test mutating func atMostHalfOfTheAddressesAreAvoidedFor5xx() {
        var evidence = AddressEvidence()
        for address in addresses {
            for _ in 0..<50 {
                _ = evidence.weakened(address, .serverError, of: addresses, now: 0, random: &random)
            }
        }
        let served = Set((0..<6).compactMap { _ in evidence.next(addresses, tried: [], now: 1) })
        #expect(served.count == 2)
    }

    @Test mutating func evidenceIsForgottenWithItsAddress() {
        var evidence = AddressEvidence()
        for _ in 0..<5 { _ = evidence.failed(addresses[0], of: addresses, now: 0, random: &random) }
        evidence.keep([addresses[1], addresses[2]])
        evidence.keep(addresses)
        #expect(Set((0..<3).compactMap { _ in evidence.next(addresses, tried: [], now: 1) }) == Set(addresses))
    }

    /// Of an instance with one address nothing is kept here: its evidence is the instance's.
    @Test mutating func noEvidenceIsKeptForASingleAddress() {
        var evidence = AddressEvidence()
        let one = [addresses[0]]
        for _ in 0..<20 { #expect(evidence.failed(one[0], of: one, now: 0, random: &random) == .nothing) }
        #expect(evidence.answeredAt(one[0], of: one) == nil)
    }
}
