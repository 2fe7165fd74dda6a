/// The fields that a forwarder or a prober must know; all others are `other` and pass through.
public enum FieldName: UInt8, Sendable {
    case other
    case host, contentLength, transferEncoding, connection, keepAlive, proxyConnection, te, trailer, upgrade
    case proxyAuthenticate, proxyAuthorization, via, forwarded, xForwardedFor, xForwardedProto, xForwardedHost
    case xRequestID, expect, date, maxForwards, http2Settings
    /// What else speaks of whoever is asked for: passed on from a trusted sender only (`isVouched`).
    case vouched

    /// The name that a range spells, case ignored.
    @inline(__always)
    static func classify(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> FieldName {
        let name = known(bytes, start, count)
        // The names looked for there begin with X, T or F.
        guard name == .other, count > 7 else { return name }
        switch bytes[start] | 0x20 {
        case 0x78, 0x74, 0x66: return isVouched(bytes, start, count) ? .vouched : .other
        default: return .other
        }
    }

    /// Length first, so that most fields cost one comparison.
    @inline(__always)
    private static func known(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> FieldName {
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

    /// Whether a name is one of those by which proxies speak of the client: X-Forwarded-* beside the three that are known by
    /// themselves, and their relatives. A server that reads one believes whoever has written it.
    private static func isVouched(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Bool {
        if count > 12, bytes.equalsIgnoringCase("x-forwarded-", at: start, count: 12) { return true }
        let names: [StaticString] = [
            "x-real-ip", "x-client-ip", "true-client-ip", "x-cluster-client-ip", "x-original-forwarded-for",
            "x-original-host", "x-url-scheme", "x-scheme", "front-end-https",
        ]
        for name in names where bytes.equalsIgnoringCase(name, at: start, count: count) { return true }
        return false
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
