import Shared

/// What this forwarder adds to messages.
struct Identity {
    /// The pseudonym in Via (RFC 9110 7.6.3).
    let via: [UInt8]

    init(name: String) {
        let name = name.utf8.filter(Grammar.isToken).prefix(64)
        via = name.isEmpty ? Array("serverpy".utf8) : Array(name)
    }
}

/// Writes the canonical request for an instance from what was understood of the client's: nothing else of the client's
/// bytes gets through.
enum ForwardedRequest {
    /// Appends the head and returns where the value of Host stands. `out` has room for a head of the largest size and what is
    /// added. `skipping`: bytes of the path that are left out (`strip_prefix`). `upgrades`: its Upgrade goes on. `isTrusted`: what
    /// the sender says of those it speaks for is kept.
    @discardableResult
    static func write(
        _ head: RequestHead, _ bytes: Span<UInt8>, skipping: Int = 0, upgrades: Bool = false, isTrusted: Bool = false,
        peer: [UInt8], requestID: (UInt64, UInt64), identity: Identity, authority: [UInt8], to out: inout Buffer
    ) -> (start: Int, count: Int) {
        out.append(bytes.extracting(head.methodStart..<head.methodStart &+ head.methodCount))
        out.append(UInt8(ascii: " "))
        let targetStart = head.targetStart &+ skipping
        let targetCount = head.targetCount &- skipping
        if targetCount == 0 || bytes[targetStart] != 0x2f {
            // `*`, or an absolute target without a path: the origin form needs one (RFC 9112 3.2.1).
            // OPTIONS of a whole server keeps its asterisk (3.2.4).
            let isServerWide = head.form == .asterisk || head.method == .options && targetCount == 0 && skipping == 0
            out.append(isServerWide ? UInt8(ascii: "*") : UInt8(ascii: "/"))
        }
        out.append(bytes.extracting(targetStart..<targetStart &+ targetCount))
        out.append(" HTTP/1.1\r\nHost: ")
        let hostStart = out.count
        writeHost(head, bytes, authority, &out)
        let hostCount = out.count &- hostStart
        out.append("\r\n")
        writeFields(head, bytes, &out)
        if upgrades {
            out.append("Connection: Upgrade\r\n")
            writeLine(head.fields.lines[head.fields.upgradeIndex], bytes, &out)
        } else if head.fields.teTrailers {
            out.append("TE: trailers\r\nConnection: TE\r\n")
        }
        out.append(head.minorVersion == 0 ? "Via: 1.0 " : "Via: 1.1 ")
        out.append(identity.via)
        writeForwarded(
            head, bytes, peer: peer, host: (hostStart, hostCount), isTrusted: isTrusted && head.fields.hasForwarded,
            &out)
        if !head.fields.hasRequestID {
            out.append("X-Request-Id: ")
            out.append(hexadecimal16: requestID.0)
            out.append(hexadecimal16: requestID.1)
            out.append("\r\n")
        }
        if head.fields.hasTransferEncoding { out.append("Transfer-Encoding: chunked\r\n") }
        out.append("\r\n")
        return (hostStart, hostCount)
    }

    /// An absolute target's authority replaces Host (RFC 9112 3.2.2); an HTTP/1.0 request may have neither.
    private static func writeHost(_ head: RequestHead, _ bytes: Span<UInt8>, _ authority: [UInt8], _ out: inout Buffer)
    {
        if head.authorityCount > 0 {
            out.append(bytes.extracting(head.authorityStart..<head.authorityStart &+ head.authorityCount))
        } else if head.fields.hasHost {
            let line = head.fields.lines[head.fields.hostIndex]
            out.append(bytes.extracting(Int(line.valueStart)..<Int(line.valueStart) &+ Int(line.valueCount)))
        } else {
            out.append(authority)
        }
    }

    private static func writeFields(_ head: RequestHead, _ bytes: Span<UInt8>, _ out: inout Buffer) {
        let hasNominated = !head.fields.nominated.isEmpty
        var run = FieldRun()
        var index = 0
        while index < head.fields.lines.count {
            let line = head.fields.lines[index]
            index &+= 1
            switch line.name {
            case .other, .expect, .date, .trailer:
                if hasNominated, head.fields.isNominated(line, in: bytes) { continue }
            case .contentLength, .via, .xRequestID:
                break
            case .maxForwards:
                if head.method == .trace || head.method == .options {
                    run.flush(bytes, &out)
                    writeDecremented(line, bytes, &out)
                    continue
                }
                if hasNominated, head.fields.isNominated(line, in: bytes) { continue }
            case .host, .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade, .proxyAuthenticate,
                .proxyAuthorization, .http2Settings, .forwarded, .xForwardedFor, .xForwardedProto, .xForwardedHost:
                continue
            }
            run.add(line, bytes, &out)
        }
        run.flush(bytes, &out)
    }

    @inline(__always)
    static func writeLine(_ line: FieldLine, _ bytes: Span<UInt8>, _ out: inout Buffer) {
        out.append(bytes.extracting(Int(line.nameStart)..<Int(line.nameStart) &+ Int(line.nameCount)))
        out.append(": ")
        out.append(bytes.extracting(Int(line.valueStart)..<Int(line.valueStart) &+ Int(line.valueCount)))
        out.append("\r\n")
    }

    /// Max-Forwards counts down at each intermediary (RFC 9110 7.6.2); what is no number is dropped.
    private static func writeDecremented(_ line: FieldLine, _ bytes: Span<UInt8>, _ out: inout Buffer) {
        var value: UInt64 = 0
        guard line.valueCount > 0 else { return }
        for index in Int(line.valueStart)..<Int(line.valueStart) &+ Int(line.valueCount) {
            let digit = bytes[index] &- 0x30
            guard digit <= 9 else { return }
            // Our own maximum.
            value = min(value &* 10 &+ UInt64(digit), UInt64(Int32.max))
        }
        out.append("Max-Forwards: ")
        out.append(decimal: value == 0 ? 0 : value &- 1)
        out.append("\r\n")
    }

    /// For whom this is asked: the client's address behind those that a trusted sender has named, and what it asked for.
    private static func writeForwarded(
        _ head: RequestHead, _ bytes: Span<UInt8>, peer: [UInt8], host: (start: Int, count: Int), isTrusted: Bool,
        _ out: inout Buffer
    ) {
        out.append("\r\nX-Forwarded-For: ")
        if isTrusted { writeList(.xForwardedFor, head, bytes, &out) }
        out.append(peer)
        out.append("\r\nX-Forwarded-Proto: ")
        if !isTrusted || !writeFirst(.xForwardedProto, head, bytes, &out) { out.append("http") }
        out.append("\r\nX-Forwarded-Host: ")
        if !isTrusted || !writeFirst(.xForwardedHost, head, bytes, &out) {
            out.appendCopy(from: host.start, count: host.count)
        }
        out.append("\r\nForwarded: ")
        if isTrusted { writeList(.forwarded, head, bytes, &out) }
        // An IPv6 address needs brackets and quotes there (RFC 7239 6).
        let isIPv6 = peer.contains(UInt8(ascii: ":"))
        out.append(isIPv6 ? "for=\"[" : "for=")
        out.append(peer)
        out.append(isIPv6 ? "]\";host=\"" : ";host=\"")
        out.appendCopy(from: host.start, count: host.count)
        out.append("\";proto=http\r\n")
    }

    /// All values of a field as one list, each with a comma behind it.
    private static func writeList(_ name: FieldName, _ head: RequestHead, _ bytes: Span<UInt8>, _ out: inout Buffer) {
        for line in head.fields.lines where line.name == name && line.valueCount > 0 {
            out.append(bytes.extracting(Int(line.valueStart)..<Int(line.valueStart) &+ Int(line.valueCount)))
            out.append(", ")
        }
    }

    /// The first value of a field. False: there is none.
    private static func writeFirst(
        _ name: FieldName, _ head: RequestHead, _ bytes: Span<UInt8>, _ out: inout Buffer
    ) -> Bool {
        for line in head.fields.lines where line.name == name && line.valueCount > 0 {
            out.append(bytes.extracting(Int(line.valueStart)..<Int(line.valueStart) &+ Int(line.valueCount)))
            return true
        }
        return false
    }
}
