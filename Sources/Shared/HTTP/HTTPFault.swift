/// Why a message was refused: the status that the sender of a request gets, and words for the log and the answer.
public struct HTTPFault: Error, Equatable, Sendable {
    public let status: UInt16
    public let reason: String

    public init(_ status: UInt16, _ reason: String) {
        self.status = status
        self.reason = reason
    }
}

/// Reason phrases of the statuses that this system makes itself (RFC 9110 15, RFC 6585).
public enum ReasonPhrase {
    public static func of(_ status: UInt16) -> StaticString {
        switch status {
        case 200: "OK"
        case 304: "Not Modified"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        case 508: "Loop Detected"
        default: "Unknown"
        }
    }
}
