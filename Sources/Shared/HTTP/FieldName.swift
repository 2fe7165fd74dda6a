/// The fields that a forwarder or a prober must know; all others are `other` and pass through.
public enum FieldName: UInt8, Sendable {
    case other
    case host, contentLength, transferEncoding, connection, keepAlive, proxyConnection, te, trailer, upgrade
    case proxyAuthenticate, proxyAuthorization, via, forwarded, xForwardedFor, xForwardedProto, xForwardedHost
    case xRequestID, expect, date, maxForwards, http2Settings

    /// The name that a range spells, case ignored. Length first, so that most fields cost one comparison.
    @inline(__always)
    static func classify(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> FieldName {
        @inline(__always) func spells(_ name: StaticString) -> Bool {
            bytes.equalsIgnoringCase(name, at: start, count: count)
        }
        switch count {
        case 2: return spells("te") ? .te : .other
        case 3: return spells("via") ? .via : .other
        case 4: return spells("host") ? .host : spells("date") ? .date : .other
        case 6: return spells("expect") ? .expect : .other
        case 7: return spells("upgrade") ? .upgrade : spells("trailer") ? .trailer : .other
        case 9: return spells("forwarded") ? .forwarded : .other
        case 10: return spells("connection") ? .connection : spells("keep-alive") ? .keepAlive : .other
        case 12: return spells("x-request-id") ? .xRequestID : spells("max-forwards") ? .maxForwards : .other
        case 14: return spells("content-length") ? .contentLength : spells("http2-settings") ? .http2Settings : .other
        case 15: return spells("x-forwarded-for") ? .xForwardedFor : .other
        case 16:
            return spells("proxy-connection") ? .proxyConnection : spells("x-forwarded-host") ? .xForwardedHost : .other
        case 17:
            return spells("transfer-encoding")
                ? .transferEncoding : spells("x-forwarded-proto") ? .xForwardedProto : .other
        case 18: return spells("proxy-authenticate") ? .proxyAuthenticate : .other
        case 19: return spells("proxy-authorization") ? .proxyAuthorization : .other
        default: return .other
        }
    }
}

/// One field line: where its parts are in the head's bytes.
public struct FieldLine: Sendable {
    public let nameStart: Int32
    public let nameCount: Int32
    public let valueStart: Int32
    public let valueCount: Int32
    public let name: FieldName
}
