import Shared
import Testing

@testable import serverpyctl

/// What becomes of a reload, whatever happens to it.
@Suite struct ChangeTests {
    private static func reload(newPorts: Bool = false) -> Reload {
        var reload = Reload(
            connection: nil, file: ConfigurationFile(path: "c.json", bytes: []), configuration: Configuration(),
            difference: ConfigurationDifference(from: Configuration(), to: Configuration()))
        reload.requests = newPorts ? Descriptor.standardError : .none
        return reload
    }

    private static func name(_ command: Change.Command) -> String {
        switch command {
        case .nothing: "nothing"
        case .use: "use"
        case .complete: "complete"
        case .abandon(_, let reason, let givesBack): "abandon \(reason)\(givesBack ? ", give back" : "")"
        case .rolledBack: "rolledBack"
        case .notRolledBack(let reason): "notRolledBack \(reason)"
        case .forget(_, let isInForce): "forget\(isInForce ? " in force" : "")"
        }
    }

    private static func name(_ change: Change) -> String {
        switch change {
        case .none: "none"
        case .testing: "testing"
        case .reloading: "reloading"
        case .emptying: "emptying"
        case .rollingBack: "rollingBack"
        case .replacing: "replacing"
        }
    }

    private static let events: [Change.Event] = [
        .applied(snapshot: "1.2"), .refused("no"), .overdue("late"), .discoverydEnded, .emptied, .stopped,
    ]

    /// For each state what each of the events above leads to.
    private static let table: [(Change, [(state: String, command: String)])] = [
        (
            .reloading(reload(), since: 5),
            [
                ("none", "use"), ("rollingBack", "abandon no, give back"), ("rollingBack", "abandon late, give back"),
                ("none", "abandon discoveryd ended meanwhile"), ("reloading", "nothing"), ("none", "forget"),
            ]
        ),
        (
            .reloading(reload(newPorts: true), since: 5),
            [
                ("emptying", "use"), ("rollingBack", "abandon no, give back"),
                ("rollingBack", "abandon late, give back"), ("none", "abandon discoveryd ended meanwhile"),
                ("reloading", "nothing"), ("none", "forget"),
            ]
        ),
        (
            .emptying(reload(newPorts: true)),
            [
                ("emptying", "nothing"), ("emptying", "nothing"), ("emptying", "nothing"), ("emptying", "nothing"),
                ("none", "complete"), ("none", "forget in force"),
            ]
        ),
        (
            .rollingBack(since: 5),
            [
                ("none", "rolledBack"), ("none", "notRolledBack no"), ("none", "notRolledBack late"),
                ("none", "rolledBack"), ("rollingBack", "nothing"), ("none", "nothing"),
            ]
        ),
        (.none, [(state: String, command: String)](repeating: ("none", "nothing"), count: 6)),
        (
            .replacing(Replacement(connection: nil, includesDiscoveryd: true, left: [])),
            [(state: String, command: String)](repeating: ("replacing", "nothing"), count: 6)
        ),
        (
            .testing(SelfTest(connection: nil, left: [])),
            [(state: String, command: String)](repeating: ("testing", "nothing"), count: 6)
        ),
    ]

    @Test func everyStateKnowsWhatEachEventMeans() {
        for (change, expected) in Self.table {
            for (event, wanted) in zip(Self.events, expected) {
                var state = change
                let command = state.receive(event, now: 100)
                #expect(Self.name(state) == wanted.state, "\(Self.name(change)), \(event)")
                #expect(Self.name(command) == wanted.command, "\(Self.name(change)), \(event)")
            }
        }
    }

    @Test func theWaitOfARollbackIsItsOwn() {
        var change = Change.reloading(Self.reload(), since: 5)
        #expect(change.wait?.since == 5 && change.wait?.reload != nil)
        _ = change.receive(.refused("no"), now: 100)
        #expect(change.wait?.since == 100 && change.wait?.reload == nil)
        _ = change.receive(.applied(snapshot: "1.3"), now: 101)
        #expect(change.wait == nil && change.isNone)
    }

    @Test func theEndOfAReplacementEndsNothingElse() {
        var change = Change.reloading(Self.reload(), since: 5)
        change.replacement = nil
        change.test = nil
        #expect(!change.isNone)
        change = .replacing(Replacement(connection: nil, includesDiscoveryd: true, left: []))
        change.replacement?.done = 3
        #expect(change.replacement?.done == 3)
        change.replacement = nil
        #expect(change.isNone)
    }
}
