import Shared

/// Writes the canonical request for an instance from what was understood of the client's: nothing else of the client's
/// bytes gets through.
enum ForwardedRequest {
    /// Appends the head and returns where the value of Host stands. `out` has room for a head of the largest size and what is
    /// added. `skipping`: bytes of the path that are left out (`strip_prefix`). `upgrade`: the protocols that are offered to the
    /// instance. `isTrusted`: what the sender says of those it speaks for is kept; `believed`: what that is, if it says so.
    @discardableResult
    static func write(
        _ head: RequestHead, _ bytes: Span<UInt8>, skipping: Int = 0, upgrade: [UInt8] = [], isTrusted: Bool = false,
        believed: BelievedClient? = nil, peer: [UInt8], requestID: (UInt64, UInt64), identity: Identity,
        authority: [UInt8], to out: inout Buffer
    ) -> (start: Int, count: Int) {
        out.append(bytes.extracting(head.methodStart..<head.methodStart &+ head.methodCount))
        out.append(UInt8(ascii: " "))
        var targetStart = head.targetStart &+ skipping
        var targetCount = head.targetCount &- skipping
        // Behind a prefix that is taken away a path begins with exactly one slash: `//host/` would name another host.
        while skipping > 0, targetCount > 1, bytes[targetStart] == 0x2f, bytes[targetStart &+ 1] == 0x2f {
            targetStart &+= 1
            targetCount &-= 1
        }
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
        writeFields(head, bytes, isTrusted: isTrusted, &out)
        // A client of HTTP/1.0 could not be given any.
        let takesTrailers = head.fields.teTrailers && head.minorVersion >= 1
        if !upgrade.isEmpty {
            out.append(
                takesTrailers
                    ? "TE: trailers\r\nConnection: Upgrade, TE\r\nUpgrade: " : "Connection: Upgrade\r\nUpgrade: ")
            out.append(upgrade)
            out.append("\r\n")
        } else if takesTrailers {
            out.append("TE: trailers\r\nConnection: TE\r\n")
        }
        out.append(head.minorVersion == 0 ? "Via: 1.0 " : "Via: 1.1 ")
        out.append(identity.via)
        if let believed {
            let hasHost = head.authority != nil
            writeBelieved(believed, head, bytes, peer: peer, host: (hostStart, hasHost ? hostCount : 0), &out)
        } else {
            let hasHost = head.authority != nil
            writeForwarded(peer: peer, host: (hostStart, hasHost ? hostCount : 0), &out)
        }
        if head.fields.requestIDIndex < 0 {
            out.append("X-Request-Id: ")
            out.append(hexadecimal16: requestID.0)
            out.append(hexadecimal16: requestID.1)
            out.append("\r\n")
        }
        if head.fields.hasTransferEncoding { out.append("Transfer-Encoding: chunked\r\n") }
        out.append("\r\n")
        return (hostStart, hostCount)
    }

    /// An HTTP/1.0 request may name no host: then the instance's.
    private static func writeHost(_ head: RequestHead, _ bytes: Span<UInt8>, _ authority: [UInt8], _ out: inout Buffer)
    {
        if let said = head.authority {
            out.append(bytes.extracting(said.start..<said.start &+ said.count))
        } else {
            out.append(authority)
        }
    }

    private static func writeFields(
        _ head: RequestHead, _ bytes: Span<UInt8>, isTrusted: Bool, _ out: inout Buffer
    ) {
        let hasNominated = !head.fields.nominated.isEmpty
        var run = FieldRun()
        var index = 0
        while index < head.fields.lines.count {
            let line = head.fields.lines[index]
            index &+= 1
            switch line.name {
            case .other, .date:
                if hasNominated, head.fields.isNominated(line, in: bytes) { continue }
            case .trailer:
                // Without chunks there are none to announce (RFC 9110 6.6.2).
                if head.framing != .chunked || hasNominated && head.fields.isNominated(line, in: bytes) { continue }
            case .disguised: continue
            case .expect:
                // An HTTP/1.0 client's is ignored (RFC 9110 10.1.1), and what goes on is HTTP/1.1. Named by Connection it goes on
                // all the same: the client waits for the answer.
                if head.minorVersion == 0 { continue }
            case .vouched:
                if !isTrusted || hasNominated && head.fields.isNominated(line, in: bytes) { continue }
            case .xRequestID:
                // One goes on: the one that is logged.
                if index &- 1 != head.fields.requestIDIndex { continue }
            case .contentLength, .via:
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

    /// For whom this is asked: the connection's client, and what it asked for; nothing of a host where HTTP/1.0 named none.
    private static func writeForwarded(peer: [UInt8], host: (start: Int, count: Int), _ out: inout Buffer) {
        out.append("\r\nX-Forwarded-For: ")
        out.append(peer)
        out.append("\r\nX-Forwarded-Proto: http\r\n")
        if host.count > 0 {
            out.append("X-Forwarded-Host: ")
            out.appendCopy(from: host.start, count: host.count)
            out.append("\r\n")
        }
        out.append("Forwarded: ")
        writeNode(peer, &out)
        if host.count > 0 {
            out.append(";host=\"")
            out.appendCopy(from: host.start, count: host.count)
            out.append("\"")
        }
        out.append(";proto=http\r\n")
    }

    /// The same where a trusted sender has said more: both families say what was believed.
    private static func writeBelieved(
        _ believed: BelievedClient, _ head: RequestHead, _ bytes: Span<UInt8>, peer: [UInt8],
        host: (start: Int, count: Int), _ out: inout Buffer
    ) {
        let hasHost = believed.host != nil || host.count > 0
        func writeHost(_ out: inout Buffer) {
            if let said = believed.host {
                out.append(said)
            } else {
                out.appendCopy(from: host.start, count: host.count)
            }
        }
        func writeWhat(_ out: inout Buffer) {
            if hasHost {
                out.append(";host=\"")
                writeHost(&out)
                out.append("\"")
            }
            out.append(believed.isSecure ?? false ? ";proto=https" : ";proto=http")
        }
        out.append("\r\nX-Forwarded-For: ")
        if believed.hasForwardedFor {
            writeList(.xForwardedFor, head, bytes, &out)
        } else {
            for hop in believed.hops {
                // Brackets belong to Forwarded only.
                out.append(hop.first == 0x5b ? Array(hop.dropFirst().dropLast()) : hop)
                out.append(", ")
            }
        }
        out.append(peer)
        out.append(
            believed.isSecure ?? false ? "\r\nX-Forwarded-Proto: https\r\n" : "\r\nX-Forwarded-Proto: http\r\n")
        if hasHost {
            out.append("X-Forwarded-Host: ")
            writeHost(&out)
            out.append("\r\n")
        }
        out.append("Forwarded: ")
        if believed.keepsForwarded {
            writeList(.forwarded, head, bytes, &out)
        } else {
            for (index, hop) in believed.hops.enumerated() {
                writeNode(hop, &out)
                // The first is read as the client's, the last as ours.
                if index == 0 { writeWhat(&out) }
                out.append(", ")
            }
        }
        writeNode(peer, &out)
        writeWhat(&out)
        out.append("\r\n")
    }

    /// `for=` and an address or a name; IPv6 needs brackets and quotes there (RFC 7239 6).
    private static func writeNode(_ name: [UInt8], _ out: inout Buffer) {
        guard name.contains(UInt8(ascii: ":")) else {
            out.append("for=")
            return out.append(name)
        }
        let isBracketed = name.first == 0x5b
        out.append(isBracketed ? "for=\"" : "for=\"[")
        out.append(name)
        out.append(isBracketed ? "\"" : "]\"")
    }

    /// All values of a field as one list, each with a comma behind it.
    private static func writeList(_ name: FieldName, _ head: RequestHead, _ bytes: Span<UInt8>, _ out: inout Buffer) {
        for line in head.fields.lines where line.name == name && line.valueCount > 0 {
            out.append(bytes.extracting(Int(line.valueStart)..<Int(line.valueStart) &+ Int(line.valueCount)))
            out.append(", ")
        }
    }
}
