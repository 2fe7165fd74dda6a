import Shared
import Testing

@testable import forwarderd

/// A client connection without a socket: every phase with every event.
@Suite struct ClientTests {
    private func make(in phase: Client.Phase) -> Client {
        var client = Client(.none, address: .loopback(port: 1))
        switch phase {
        case .idle: break
        case .head: _ = client.receive(.headIncomplete)
        case .serving: _ = client.receive(.begun)
        case .lingering:
            _ = client.receive(.begun)
            _ = client.receive(.finishedWithRest)
        }
        return client
    }

    /// What an event leads to, by phase. Every pair that is not here changes nothing and asks for nothing.
    private let table: [Client.Phase: [Client.Event: (Client.Phase, Client.Action)]] = [
        .idle: [
            .begun: (.serving, .nothing), .headIncomplete: (.head, .awaitHead), .drained: (.idle, .rest),
            .overdue: (.idle, .close), .gone: (.idle, .close),
        ],
        .head: [
            .begun: (.serving, .nothing), .drained: (.idle, .rest), .overdue: (.head, .refuseSlowHead),
            .gone: (.head, .close),
        ],
        .serving: [
            .begun: (.serving, .nothing), .finished: (.idle, .awaitRequest), .finishedWithRest: (.lingering, .linger),
            .finishedForGood: (.serving, .close), .overdue: (.serving, .expireExchange), .gone: (.serving, .close),
        ],
        .lingering: [.overdue: (.lingering, .close), .gone: (.lingering, .close)],
    ]

    @Test(arguments: Client.Phase.allCases) func everyPhaseKnowsWhatEachEventMeans(_ phase: Client.Phase) {
        for event in Client.Event.allCases {
            var client = make(in: phase)
            let reached = client.phase
            expect(reached == phase)
            let action = client.receive(event)
            let (next, expected) = table[phase]?[event] ?? (phase, .nothing)
            let now = client.phase
            expect(now == next && action == expected, "\(phase) \(event): \(now) \(action)")
        }
    }

    @Test func aConnectionThatOwesItsProxyHeaderIsClosedWithoutAResponse() {
        var client = make(in: .head)
        client.awaitsProxyHeader = true
        expect(client.receive(.overdue) == .close)
    }

    @Test func onlyAConnectionThatWasAnsweredCountsAsUsed() {
        var client = make(in: .serving)
        expect(!client.hasServed)
        _ = client.receive(.finished)
        expect(client.hasServed)
    }

    @Test func severalExchangesOfOneConnectionAreAllKnown() {
        var list = ExchangeList()
        let all = (0..<5).map { Slab<Exchange>.Index($0) }
        for one in all { list.add(one) }
        expect(Set(list.all) == Set(all) && list.count == 5)
        list.remove(all[0])
        list.remove(all[3])
        expect(Set(list.all) == Set([all[1], all[2], all[4]]) && list.first != nil)
        for one in all { list.remove(one) }
        expect(list.isEmpty && list.first == nil && list.all.isEmpty)
    }
}
