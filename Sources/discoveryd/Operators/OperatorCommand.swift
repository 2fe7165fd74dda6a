import Shared

/// What an operator asks on discovery.sock: `{"type":"command","id":1,"command":"drain","service":"a","instance":"b"}`.
struct OperatorCommand: Sendable {
    enum Verb: Equatable, Sendable {
        /// Whether the instance is to be drained.
        case drain(Bool)
        /// Who still has requests at an instance that is being drained.
        case drained
        /// Where a request would go.
        case explain(ForwarderQuestion.Explain)
        /// Where the HTTP port is, and its token.
        case api
        /// Read the configuration anew, where no supervisor does it.
        case reload
        case unknown(String)
    }

    /// Which connection asks, and the number that the answer carries.
    let subscriber: Token
    let id: UInt64
    let verb: Verb
    let service: String
    let instance: String
    /// The snapshot that an earlier answer has named.
    let snapshot: SnapshotVersion?

    init(_ message: Document.Value, subscriber: Token) {
        self.subscriber = subscriber
        id = message["id"]?.unsigned ?? 0
        service = message["service"]?.string ?? ""
        instance = message["instance"]?.string ?? ""
        snapshot = message["snapshot"]?.string.flatMap(SnapshotVersion.init(text:))
        verb =
            switch message["command"]?.string {
            case "drain": .drain(true)
            case "undrain": .drain(false)
            case "drained": .drained
            case "api": .api
            case "reload": .reload
            case "explain":
                .explain(ForwarderQuestion.Explain(message) ?? ForwarderQuestion.Explain(method: "GET", path: "/"))
            case let other: .unknown(other ?? "")
            }
    }

    func answer(_ build: (inout JSONWriter) -> Void) -> [UInt8] {
        SnapshotLines.line("answer") {
            $0.field("id", id)
            $0.field("ok", true)
            build(&$0)
        }
    }

    func refusal(_ reason: String) -> [UInt8] {
        SnapshotLines.line("answer") {
            $0.field("id", id)
            $0.field("ok", false)
            $0.field("error", reason)
        }
    }
}

extension Registry {
    /// The instances that a command names, or what is wrong with its name: a line's name means all that it stands for, an address one.
    func find(_ command: OperatorCommand) -> (ids: [InstanceID], reason: String) {
        guard let members = members(of: command.service) else {
            let near = Text.nearest(command.service, serviceNames).map { "; did you mean `\($0)`?" } ?? ""
            return ([], "there is no service `\(Text.shown(command.service.utf8))`\(near)")
        }
        let found = find(service: command.service, nameOrAddress: command.instance)
        if !found.isEmpty { return (found, "") }
        let urls = members.prefix(1000).flatMap { id in
            [instances[id].url] + (isOneOfSeveral(id) ? instances[id].address.map { [$0.description] } ?? [] : [])
        }
        let near = Text.nearest(command.instance, urls).map { "; did you mean `\($0)`?" } ?? ""
        return (
            [],
            "the service `\(Text.shown(command.service.utf8))` has no instance `\(Text.shown(command.instance.utf8))`\(near)"
        )
    }
}
