import Shared

/// A response that this forwarder makes itself. Its JSON body has the original program's words, the cause, whether the request was sent to
/// an instance, and the request's id; `Proxy-Status` (RFC 9209) says the same.
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

    static func badRequest(_ reason: String) -> OwnAnswer { badRequest(HTTPFault(400, reason)) }

    static func badRequest(_ fault: HTTPFault, wasSent: Bool = false) -> OwnAnswer {
        OwnAnswer(fault.status, "Bad request: \(fault.reason)", error: "http_request_error", wasSent: wasSent)
    }

    /// No instance is left to try.
    static func unavailable(after fault: InstanceFault?, wasSent: Bool) -> OwnAnswer {
        if let fault { return failed(fault, wasSent: wasSent) }
        return OwnAnswer(
            503, failureWords, error: "destination_unavailable", cause: "no instance is available", wasSent: wasSent)
    }

    /// No instance has room.
    static func full(_ cause: String, wasSent: Bool = false) -> OwnAnswer {
        OwnAnswer(503, failureWords, error: "connection_limit_reached", cause: cause, wasSent: wasSent)
    }

    static func failed(_ fault: InstanceFault, wasSent: Bool) -> OwnAnswer {
        // An exhausted resource of this machine is no failure of an instance.
        if fault.isOurOwn {
            return full("no further connection to an instance is possible here: \(fault.words)", wasSent: wasSent)
        }
        return OwnAnswer(fault.status, failureWords, error: fault.proxyError, cause: fault.words, wasSent: wasSent)
    }

    /// The body in JSON.
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

extension OwnAnswer {
    /// Writes the whole response. `keepsClient`: the connection stays open behind it.
    func write(
        requestID: String, isHead: Bool, keepsClient: Bool, clientIsHTTP10: Bool, identity: Identity,
        to out: inout Buffer
    ) {
        let body = body(requestID: requestID)
        out.append("HTTP/1.1 ")
        out.append(decimal: UInt64(status))
        out.append(" ")
        out.append(ReasonPhrase.of(status))
        out.append("\r\nDate: ")
        out.append(identity.date)
        out.append("\r\nContent-Type: application/json\r\nContent-Length: ")
        out.append(decimal: UInt64(body.count))
        if let error {
            out.append("\r\nProxy-Status: serverpy; error=")
            out.append(error)
            if !cause.isEmpty {
                out.append("; details=\"")
                // An sf-string (RFC 8941 3.3.3): printable ASCII without quotes.
                out.append(
                    cause.utf8.prefix(200).map { $0 < 0x20 || $0 > 0x7e || $0 == 0x22 || $0 == 0x5c ? 0x3f : $0 })
                out.append("\"")
            }
            out.append(wasSent ? "; sent=?1" : "; sent=?0")
        }
        if status == 503 { out.append("\r\nRetry-After: 1") }
        if !keepsClient {
            out.append("\r\nConnection: close")
        } else if clientIsHTTP10 {
            out.append("\r\nConnection: keep-alive")
        }
        out.append("\r\n\r\n")
        if !isHead { out.append(body) }
    }
}
