import Shared
import Testing

@testable import forwarderd

/// An exchange without sockets: every stage with every event.
@Suite struct ExchangeTests {
    static func make(
        isIdempotent: Bool = true, framing: BodyFraming = .none, withholdsBody: Bool = false, isHTTP10: Bool = false
    ) -> Exchange {
        var exchange = Exchange(
            isIdempotent: isIdempotent, framing, withholdsBody: withholdsBody, isHTTP10: isHTTP10)
        var buffer = Buffer(capacity: Limits.requestBufferBytes)
        buffer.append("head")
        exchange.request.begin(&buffer, host: nil)
        exchange.place.instance = Slab<InstanceSlot>.Index(3)
        return exchange
    }

    private static let ways: [Stage: [Exchange.Event]] = [
        .begun: [], .queued: [.noRoom], .connecting: [.connecting], .sending: [.connected],
        .awaitingHead: [.connected, .handedOver], .relaying: [.connected, .handedOver, .forwarding],
        .flushing: [.connected, .handedOver, .forwarding, .complete], .tunnel: [.connected, .handedOver, .switched],
        .ended: [.connected, .handedOver, .forwarding, .complete, .taken],
    ]

    /// An exchange that has come to a stage.
    static func make(in stage: Stage) -> Exchange {
        var exchange = make()
        for event in ways[stage] ?? [] {
            if case .forwarding = event { exchange.begin(.length(9)) }
            _ = exchange.receive(event)
        }
        return exchange
    }

    private static let events: [(name: String, event: Exchange.Event)] = [
        ("refused", .refused(OwnAnswer(404, "x", error: nil))), ("chosen", .chosen), ("noRoom", .noRoom),
        ("connecting", .connecting), ("connected", .connected), ("handedOver", .handedOver),
        ("forwarding", .forwarding),
        ("switched", .switched), ("complete", .complete), ("taken", .taken),
        ("failed", .failed(RetryLaw.Failure(fault: .connect(.connectionRefused)))), ("brokenOff", .brokenOff),
        ("starved", .starved), ("tunnelOver", .tunnelOver), ("overdue", .overdue), ("untaken", .untaken),
        ("crowdedOut", .crowdedOut),
        ("clientGone", .clientGone), ("stopped", .stopped),
    ]

    /// What an event leads to, by stage: the next stage and the action. Every pair that is not here changes nothing and asks for nothing.
    private static let table: [Stage: [String: (Stage, String)]] = [
        .begun: [
            "refused": (.begun, "answer"), "chosen": (.begun, "connect"), "noRoom": (.queued, "enqueue"),
            "connecting": (.connecting, "wait"), "connected": (.sending, "send"), "complete": (.flushing, "finish"),
            "failed": (.begun, "choose"), "starved": (.ended, "reset"), "clientGone": (.ended, "endWithClient"),
            "stopped": (.ended, "end"),
        ],
        .queued: [
            "refused": (.queued, "answer"), "chosen": (.begun, "connect"), "complete": (.flushing, "finish"),
            "overdue": (.queued, "refuseQueued"), "untaken": (.queued, "refuseQueued"),
            "crowdedOut": (.queued, "refuseHalfClosed"),
            "starved": (.ended, "reset"), "clientGone": (.ended, "endWithClient"), "stopped": (.ended, "end"),
        ],
        .connecting: [
            "refused": (.connecting, "answer"), "connected": (.sending, "send"), "complete": (.flushing, "finish"),
            "failed": (.begun, "choose"), "overdue": (.connecting, "fail"), "untaken": (.connecting, "fail"),
            "crowdedOut": (.connecting, "refuseHalfClosed"), "starved": (.ended, "reset"),
            "clientGone": (.ended, "endWithClient"), "stopped": (.ended, "end"),
        ],
        .sending: [
            "refused": (.sending, "answer"), "handedOver": (.awaitingHead, "wait"), "forwarding": (.relaying, "wait"),
            "switched": (.tunnel, "relayTunnel"), "complete": (.flushing, "finish"), "failed": (.begun, "choose"),
            "overdue": (.sending, "fail"), "untaken": (.sending, "fail"), "crowdedOut": (.sending, "refuseHalfClosed"),
            "starved": (.ended, "reset"),
            "clientGone": (.ended, "endWithClient"), "stopped": (.ended, "end"),
        ],
        .awaitingHead: [
            "refused": (.awaitingHead, "answer"), "forwarding": (.relaying, "wait"),
            "switched": (.tunnel, "relayTunnel"),
            "complete": (.flushing, "finish"), "failed": (.begun, "choose"), "overdue": (.awaitingHead, "fail"),
            "untaken": (.awaitingHead, "fail"),
            "crowdedOut": (.awaitingHead, "refuseHalfClosed"), "starved": (.ended, "reset"),
            "clientGone": (.ended, "endWithClient"), "stopped": (.ended, "end"),
        ],
        .relaying: [
            "refused": (.flushing, "finish"), "complete": (.flushing, "finish"), "failed": (.flushing, "finish"),
            "brokenOff": (.ended, "reset"), "overdue": (.relaying, "fail"), "untaken": (.ended, "reset"),
            "crowdedOut": (.ended, "endWithClient"),
            "starved": (.ended, "reset"), "clientGone": (.ended, "endWithClient"), "stopped": (.ended, "end"),
        ],
        .flushing: [
            "taken": (.ended, "end"), "overdue": (.ended, "endWithClient"), "untaken": (.ended, "reset"),
            "starved": (.ended, "reset"),
            "clientGone": (.ended, "endWithClient"), "stopped": (.ended, "end"),
        ],
        .tunnel: [
            "brokenOff": (.ended, "cutTunnel"), "tunnelOver": (.ended, "endWithClient"),
            "overdue": (.ended, "cutTunnel"), "untaken": (.ended, "cutTunnel"), "starved": (.ended, "cutTunnel"),
            "clientGone": (.ended, "cutTunnel"),
            "stopped": (.ended, "reset"),
        ],
        .ended: [:],
    ]

    /// `endWithClient(…)` is `endWithClient`.
    static func name(_ action: Exchange.Action) -> String { String("\(action)".prefix { $0 != "(" }) }

    @Test(arguments: Stage.allCases) func everyStageKnowsWhatEachEventMeans(_ stage: Stage) {
        for (name, event) in Self.events {
            var exchange = Self.make(in: stage)
            let reached = exchange.stage
            expect(reached == stage)
            let action = Self.name(exchange.receive(event))
            let expected = Self.table[stage]?[name] ?? (stage, "wait")
            let next = exchange.stage
            expect(next == expected.0 && action == expected.1, "\(stage) \(name): \(next) \(action)")
        }
        expect(Self.table.values.flatMap(\.keys).allSatisfy { name in Self.events.contains { $0.name == name } })
    }

    // MARK: What depends on more than the stage

    @Test func aResponseOfWhichPartWasForwardedIsCutNotReplaced() {
        for fault in [InstanceFault.closed, .reset, .timeout, .malformed("x")] {
            var exchange = Self.make(in: .relaying)
            let action = exchange.receive(.failed(RetryLaw.Failure(fault: fault)))
            expect(Self.name(action) == "finish")
            expect(!exchange.keepsClient)
            expect(exchange.receive(.taken).outcome == .cut, "\(fault)")
        }
    }

    /// The end of the connection would tell an HTTP/1.0 client that the response is whole.
    @Test func aCutResponseThatEndsWithItsConnectionIsReset() {
        for event in [Exchange.Event.failed(RetryLaw.Failure(fault: .closed)), .stopped, .starved] {
            var exchange = Self.make(isHTTP10: true)
            _ = exchange.receive(.connected)
            exchange.begin(.chunked)
            _ = exchange.receive(.forwarding)
            expect(Self.name(exchange.receive(event)) == "reset", "\(event)")
        }
    }

    @Test func aCutIsCountedAsACutEvenIfTheClientDoesNotTakeTheRest() {
        for event in [Exchange.Event.clientGone, .overdue] {
            var exchange = Self.make(in: .relaying)
            _ = exchange.receive(.failed(RetryLaw.Failure(fault: .closed)))
            expect(!exchange.keepsConnection)
            expect(exchange.receive(event).outcome == .cut, "\(event)")
        }
    }

    /// It waits for the client, not for the instance, and only a reset shows that something is missing.
    @Test func aResponseThatTheClientDoesNotTakeIsItsOwnFault() {
        for stage in [Stage.relaying, .flushing] {
            var exchange = Self.make(in: stage)
            let action = exchange.receive(.untaken)
            expect(Self.name(action) == "reset" && action.outcome == .clientGone, "\(stage)")
        }
        var cut = Self.make(in: .relaying)
        _ = cut.receive(.failed(RetryLaw.Failure(fault: .closed)))
        expect(cut.receive(.untaken).outcome == .cut)
    }

    @Test func aSlowBodyIsTheClientsFaultAndASilentInstanceIsTheInstances() {
        for (isDrained, withholds, expected) in [
            (true, false, "refuseSlowBody"), (false, false, "fail"), (true, true, "fail"),
        ] {
            var exchange = Self.make(framing: .length(5), withholdsBody: withholds)
            _ = exchange.receive(.connected)
            if isDrained { exchange.request.noteSent(4) }
            expect(Self.name(exchange.receive(.overdue)) == expected, "\(isDrained) \(withholds)")
        }
    }

    @Test func anEarlyResponseClosesTheClientsConnectionBehindIt() {
        var exchange = Self.make(framing: .length(5))
        _ = exchange.receive(.connected)
        _ = exchange.receive(.complete)
        expect(!exchange.keepsClient)
        var whole = Self.make()
        _ = whole.receive(.connected)
        _ = whole.receive(.complete)
        expect(whole.keepsClient)
    }

    @Test func retriesGoWhereTheRetryLawSays() {
        for (failure, sent, expected) in [
            (RetryLaw.Failure(fault: .closed, isReused: true), true, "reconnect"),
            (RetryLaw.Failure(fault: .connectTimeout), false, "choose"),
            (RetryLaw.Failure(fault: .reset), true, "choose"), (RetryLaw.Failure(fault: .timeout), true, "answer"),
        ] {
            var exchange = Self.make()
            exchange.law.begin()
            _ = exchange.receive(.connected)
            if sent { exchange.law.noteSent() }
            let action = exchange.receive(.failed(failure))
            expect("\(action)".hasPrefix(expected), "\(action)")
        }
    }
}
