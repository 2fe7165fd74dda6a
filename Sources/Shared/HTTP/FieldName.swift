/// The fields that a forwarder or a prober must know; all others are `other` and pass through.
public enum FieldName: UInt8, Sendable {
    case other
    case host, contentLength, transferEncoding, connection, keepAlive, proxyConnection, te, trailer, upgrade
    case proxyAuthenticate, proxyAuthorization, via, forwarded, xForwardedFor, xForwardedProto, xForwardedHost
    case xRequestID, expect, date, maxForwards, http2Settings
    /// What else speaks of whoever is asked for: passed on from a trusted sender only (`isVouched`).
    case vouched

    /// What is another spelling of a name that decides here (`isDisguised`): it ends here, whoever has sent it.
    case disguised

    /// The name that a range spells, case ignored.
    @inline(__always)
    static func classify(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> FieldName {
        let name = known(bytes, start, count)
        guard name == .other else { return name }
        if isDisguised(bytes, start, count) { return .disguised }
        return isVouched(bytes, start, count) ? .vouched : .other
    }

    /// Whether a name becomes one of those that are written or judged here when `_` and other signs are taken for `-`, as servers do
    /// that turn fields into variables (RFC 3875 4.1.18): beside the real one it would say something else.
    private static func isDisguised(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Bool {
        switch bytes[start] | 0x20 {
        case 0x63, 0x66, 0x68, 0x74, 0x78: break
        default: return false
        }
        // The lengths of the names below.
        switch count {
        case 12, 14, 15, 16, 17: break
        default: return false
        }
        // The most frequent one, as it is written everywhere.
        if bytes.equalsIgnoringCase("content-type", at: start, count: count) { return false }
        guard bytes.end(of: Grammar.plainName, from: start) < start &+ count else { return false }
        for name: StaticString in [
            "content-length", "transfer-encoding", "x-request-id", "x-forwarded-for", "x-forwarded-proto",
            "x-forwarded-host", "content-type",
        ] where count == name.utf8CodeUnitCount {
            var index = start
            let isSame = name.allBytes { expected in
                let byte = bytes[index]
                index &+= 1
                return expected == 0x2d ? byte == 0x2d || !Grammar.plainName.contains(byte) : byte | 0x20 == expected
            }
            if isSame { return true }
        }
        return false
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

    /// Whether a name is one of those by which proxies speak of the client or of what it asked for: X-Forwarded-* beside the
    /// three that are known by themselves, and their relatives. A server that reads one believes whoever has written it. `_`
    /// counts as `-`, as it does for servers that turn fields into variables (RFC 3875 4.1.18).
    private static func isVouched(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> Bool {
        @inline(__always) func spells(_ name: StaticString) -> Bool {
            count == name.utf8CodeUnitCount && begins(name, bytes, start)
        }
        switch bytes[start] | 0x20 {
        case 0x78:
            if count >= 11, begins("x-forwarded", bytes, start) { return true }
            switch count {
            case 6: return spells("x-host")
            case 8: return spells("x-scheme")
            case 9: return spells("x-real-ip") || spells("x-arr-ssl")
            case 11: return spells("x-client-ip") || spells("x-remote-ip")
            case 12: return spells("x-url-scheme")
            case 13: return spells("x-rewrite-url") || spells("x-remote-addr")
            case 14: return spells("x-original-url") || spells("x-proxyuser-ip")
            case 15: return spells("x-original-host")
            case 16: return spells("x-original-proto") || spells("x-originating-ip") || spells("x-azure-clientip")
            case 17: return spells("x-original-method")
            case 19: return spells("x-cluster-client-ip")
            case 20: return spells("x-http-host-override")
            case 24: return spells("x-original-forwarded-for") || spells("x-envoy-external-address")
            default: return false
            }
        case 0x63:
            return spells("client-ip") || spells("client-cert") || spells("client-cert-chain")
                || count >= 16 && begins("cf-connecting-ip", bytes, start)
        case 0x66:
            return spells("front-end-https") || spells("fastly-client-ip") || spells("fly-client-ip")
                || spells("forwarded-for") || spells("forwarded-host") || spells("forwarded-proto")
        case 0x74: return count == 14 && spells("true-client-ip")
        case 0x77: return count == 18 && spells("wl-proxy-client-ip")
        // What CGI would make of it decides where programs send their own requests (httpoxy, CVE-2016-5385).
        case 0x70: return count == 5 && spells("proxy") || spells("proxy-client-ip")
        default: return false
        }
    }

    /// Whether `name`, in lower case, stands at `start`, which has room for it.
    private static func begins(_ name: StaticString, _ bytes: Span<UInt8>, _ start: Int) -> Bool {
        var index = start
        return name.allBytes { expected in
            let byte = bytes[index]
            index &+= 1
            return byte | 0x20 == expected || byte == 0x5f && expected == 0x2d
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
