/// Why a message was refused: the status that the sender of a request gets, and words for the log and the answer.
public struct HTTPFault: Error, Equatable, Sendable {
    public let status: UInt16
    public let reason: String
    public let kind: Kind

    public init(_ status: UInt16, _ reason: String, _ kind: Kind = .other) {
        self.status = status
        self.reason = reason
        self.kind = kind
    }

    /// What is wrong with a response, as a number that history on disk can hold: values are never used again for something
    /// else, and stay below 1024.
    public enum Kind: UInt16, CaseIterable, Sendable {
        case other = 0
        case notHTTP, statusLine, statusNumber, headTooLarge, tooManyFields, bareCR, bareLF, controlByte, foldedLine
        case fieldName, severalHosts, contentLength, severalContentLengths, transferEncoding, severalTransferEncodings
        case bothLengths, transferEncodingInHTTP10, connectionOptions, unaskedUpgrade, endlessInterim

        public var words: String {
            switch self {
            case .other: "not understood"
            case .notHTTP: "not HTTP/1"
            case .statusLine: "bad status line"
            case .statusNumber: "status is not a number from 100 to 599"
            case .headTooLarge: "head larger than `limits.head_size`"
            case .tooManyFields: "more fields than `limits.header_count`"
            case .bareCR: "bare CR"
            case .bareLF: "bare LF"
            case .controlByte: "control byte"
            case .foldedLine: "folded field line (obs-fold)"
            case .fieldName: "bad field name"
            case .severalHosts: "more than one Host"
            case .contentLength: "bad Content-Length"
            case .severalContentLengths: "more than one Content-Length"
            case .transferEncoding: "Transfer-Encoding other than chunked"
            case .severalTransferEncodings: "more than one Transfer-Encoding"
            case .bothLengths: "both Content-Length and Transfer-Encoding"
            case .transferEncodingInHTTP10: "Transfer-Encoding in HTTP/1.0"
            case .connectionOptions: "bad Connection field"
            case .unaskedUpgrade: "101 without an upgrade"
            case .endlessInterim: "interim answers without end"
            }
        }
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
