import Shared

/// An answer that this forwarder makes itself: the original's words in a JSON body, the cause in `Proxy-Status` (RFC 9209),
/// whether the request was sent to an instance, and the request's id.
struct OwnAnswer {
    static let failureWords = "An error occurred while processing your request"

    let status: UInt16
    let words: String
    /// An error type of RFC 9209 2.3; nil when nothing went wrong.
    let error: StaticString?
    let cause: String
    let wasSent: Bool

    init(_ status: UInt16, _ words: String, error: StaticString?, cause: String = "", wasSent: Bool = false) {
        self.status = status
        self.words = words
        self.error = error
        self.cause = cause
        self.wasSent = wasSent
    }

    /// No instance is left to try.
    static func unavailable(after fault: UpstreamFault?, wasSent: Bool) -> OwnAnswer {
        if let fault { return failed(fault, wasSent: wasSent) }
        return OwnAnswer(
            503, failureWords, error: "destination_unavailable", cause: "no instance is available", wasSent: wasSent)
    }

    /// No instance has room.
    static func full(_ cause: String, wasSent: Bool = false) -> OwnAnswer {
        OwnAnswer(503, failureWords, error: "connection_limit_reached", cause: cause, wasSent: wasSent)
    }

    static func failed(_ fault: UpstreamFault, wasSent: Bool) -> OwnAnswer {
        // What we ourselves have no more of is no instance's failure.
        if fault.isOurOwn {
            return full("no further connection to an instance is possible here: \(fault.words)", wasSent: wasSent)
        }
        return OwnAnswer(fault.status, failureWords, error: fault.proxyError, cause: fault.words, wasSent: wasSent)
    }

    /// The answer's body.
    func body(requestID: String) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("status", words)
        if !cause.isEmpty { writer.field("cause", cause) }
        if error != nil {
            writer.field("sent", wasSent)
            writer.field("request_id", requestID)
        }
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }
}

extension Forwarder {
    /// Answers the client here, whatever was being done for it.
    mutating func answer(_ slot: Int, _ own: OwnAnswer) {
        abandonExchange(slot)
        downstreams[slot].exchange.tally.isOwn = true
        downstreams[slot].exchange.tally.status = own.status
        requestBuffers.giveBack(from: &downstreams[slot].request)
        downstreams[slot].state = .exchange
        // The rest of a body is not read as the next request.
        if !downstreams[slot].requestIsComplete || isDraining { downstreams[slot].exchange.keepsClient = false }
        refreshDate()
        let body = own.body(requestID: downstreams[slot].requestID.text)
        outgoing.removeAll()
        outgoing.append("HTTP/1.1 ")
        outgoing.append(decimal: UInt64(own.status))
        outgoing.append(" ")
        outgoing.append(ReasonPhrase.of(own.status))
        outgoing.append("\r\nDate: ")
        outgoing.append(date)
        outgoing.append("\r\nContent-Type: application/json\r\nContent-Length: ")
        outgoing.append(decimal: UInt64(body.count))
        if let error = own.error {
            outgoing.append("\r\nProxy-Status: serverpy; error=")
            outgoing.append(error)
            if !own.cause.isEmpty {
                outgoing.append("; details=\"")
                // An sf-string (RFC 8941 3.3.3): printable ASCII without quotes.
                outgoing.append(
                    own.cause.utf8.prefix(200).map { $0 < 0x20 || $0 > 0x7e || $0 == 0x22 || $0 == 0x5c ? 0x3f : $0 })
                outgoing.append("\"")
            }
            outgoing.append(own.wasSent ? "; sent=?1" : "; sent=?0")
        }
        if own.status == 503 { outgoing.append("\r\nRetry-After: 1") }
        if !downstreams[slot].exchange.keepsClient {
            outgoing.append("\r\nConnection: close")
        } else if downstreams[slot].exchange.clientIsHTTP10 {
            outgoing.append("\r\nConnection: keep-alive")
        }
        outgoing.append("\r\n\r\n")
        if !downstreams[slot].exchange.isHead { outgoing.append(body) }
        downstreams[slot].hasResponseHead = true
        if let record = downstreams[slot].record {
            record.status = own.status
            if own.error != nil { record.cause = own.cause.isEmpty ? own.words : own.cause }
        }
        guard sendOutgoing(slot, Span()) else { return }
        finishAnswer(slot)
        serveIfMore(slot)
    }
}
