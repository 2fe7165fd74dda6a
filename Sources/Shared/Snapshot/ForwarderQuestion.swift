/// What discoveryd asks its forwarders: `ask`, answered with `told`.
public struct ForwarderQuestion: Equatable, Sendable {
    /// The number that the answer carries.
    public let id: UInt64
    public let explain: Explain

    /// Where a request would go now, and why.
    public struct Explain: Equatable, Sendable {
        public var method: String
        /// Path and query.
        public var path: String
        /// `Name: value` each; a Host among them replaces the default one.
        public var headers: [String]

        public init(method: String, path: String, headers: [String] = []) {
            self.method = method
            self.path = path
            self.headers = headers
        }

        /// As an operator's command or an `ask` carries it; nil without a path.
        public init?(_ message: Document.Value) {
            guard let path = message["path"]?.string else { return nil }
            self.init(
                method: message["method"]?.string ?? "GET", path: path,
                headers: message["headers"]?.elements.compactMap(\.string) ?? [])
        }

        /// The request's head on the wire.
        public var head: [UInt8] {
            let hasHost = headers.contains { $0.lowercased().hasPrefix("host:") }
            let lines = (hasHost ? [] : ["Host: localhost"]) + headers
            return Array("\(method) \(path) HTTP/1.1\r\n\(lines.map { $0 + "\r\n" }.joined())\r\n".utf8)
        }

        public func write(to writer: inout JSONWriter) {
            writer.field("method", method)
            writer.field("path", path)
            writer.key("headers")
            writer.beginArray()
            for header in headers { writer.value(header) }
            writer.endArray()
        }
    }

    public init(id: UInt64, _ explain: Explain) {
        self.id = id
        self.explain = explain
    }

    /// Nil for what a later protocol asks.
    public init?(_ message: Document.Value) {
        guard message["question"]?.string == "explain", let explain = Explain(message) else { return nil }
        self.init(id: message["id"]?.unsigned ?? 0, explain)
    }

    public var line: [UInt8] {
        SnapshotLines.line("ask") {
            $0.field("id", id)
            $0.field("question", "explain")
            explain.write(to: &$0)
        }
    }
}
