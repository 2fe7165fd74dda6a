import Shared

/// An answer of the HTTP API: a head and a body that may be too large to build at once.
struct APIAnswer {
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

    static func json(_ status: UInt16, _ build: (inout JSONWriter) -> Void) -> APIAnswer {
        var writer = JSONWriter()
        writer.beginObject()
        build(&writer)
        writer.endObject()
        writer.endLine()
        return APIAnswer(status: status, body: .bytes(writer.bytes))
    }
}
