import Shared

/// The answer to a request: a head and a body that may be too large to build at once.
struct HTTPAnswer {
    enum Body {
        case bytes([UInt8])
        case pieces(AnswerCursor)
        /// The forwarders are asked first.
        case later(ForwarderQuestion.Explain)
    }

    var status: UInt16
    var contentType: StaticString = "application/json"
    var headers: [(name: String, value: String)] = []
    var body: Body

    static func json(_ status: UInt16, _ build: (inout JSONWriter) -> Void) -> HTTPAnswer {
        var writer = JSONWriter()
        writer.beginObject()
        build(&writer)
        writer.endObject()
        writer.endLine()
        return HTTPAnswer(status: status, body: .bytes(writer.bytes))
    }

    /// The head's bytes. `isChunked`: the body comes in pieces of its own length; `closes`: the connection ends with it.
    func head(isChunked: Bool, closes: Bool) -> [UInt8] {
        var out: [UInt8] = []
        func line(_ text: String) { out.append(contentsOf: text.utf8) }
        line("HTTP/1.1 \(status) \(ReasonPhrase.of(status))\r\n")
        line("Date: \(Timestamp(wallMilliseconds: Clock.wallMilliseconds()).httpDate)\r\n")
        line("Server: serverpy/\(Version.current)\r\nContent-Type: \(contentType)\r\nCache-Control: no-store\r\n")
        for (name, value) in headers { line("\(name): \(value)\r\n") }
        switch body {
        // RFC 9110 15.4.5: no content, and no length that would be another's.
        case .bytes where status == 304: break
        case .bytes(let bytes): line("Content-Length: \(bytes.count)\r\n")
        case .pieces, .later: if isChunked { line("Transfer-Encoding: chunked\r\n") }
        }
        if closes { line("Connection: close\r\n") }
        line("\r\n")
        return out
    }
}
