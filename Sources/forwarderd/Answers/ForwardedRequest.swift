import Shared

/// Writes the canonical request for an instance from the parsed request of the client. No unparsed byte gets through.
enum ForwardedRequest {
    /// Appends the head and returns the place of the Host value. `out` must have room for the largest head and `Limits.addedHeadBytes`.
    /// `skipping`: bytes of the path to remove (`strip_prefix`). `upgrade`: the protocols to offer to the instance. `isTrusted`: the
    /// sender is a trusted proxy; `believed`: what it says of its client, if it does.
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
        // Without its prefix the path must begin with exactly one slash: `//host/` would name another host.
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
        // An HTTP/1.0 client cannot receive trailers.
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

    /// The client's Host, or the instance's for an HTTP/1.0 request without one.
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
                // Only chunks can carry trailers (RFC 9110 6.6.2).
                if head.framing != .chunked || hasNominated && head.fields.isNominated(line, in: bytes) { continue }
            case .disguised: continue
            case .expect:
                // Ignored from an HTTP/1.0 client (RFC 9110 10.1.1): the forwarded request is HTTP/1.1. Forwarded even if Connection
                // names it, because the client waits for the response.
                if head.minorVersion == 0 { continue }
            case .vouched:
                if !isTrusted || hasNominated && head.fields.isNominated(line, in: bytes) { continue }
            case .xRequestID:
                // Only the logged one is forwarded.
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

    /// Max-Forwards is decremented at each intermediary (RFC 9110 7.6.2). An invalid value is dropped.
    private static func writeDecremented(_ line: FieldLine, _ bytes: Span<UInt8>, _ out: inout Buffer) {
        var value: UInt64 = 0
        guard line.valueCount > 0 else { return }
        for index in Int(line.valueStart)..<Int(line.valueStart) &+ Int(line.valueCount) {
            let digit = bytes[index] &- 0x30
            guard digit <= 9 else { return }
            // The largest value that this forwarder sends.
            value = min(value &* 10 &+ UInt64(digit), UInt64(Int32.max))
        }
        out.append("Max-Forwards: ")
        out.append(decimal: value == 0 ? 0 : value &- 1)
        out.append("\r\n")
    }

    /// X-Forwarded-* and Forwarded for the connection's client. Without a Host (HTTP/1.0) they name none.
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

    /// The same for the client that a trusted proxy speaks for. Both field families say the same.
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
                // Readers take the first element for the client's, the last for this forwarder's.
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

    /// All values of a field as one list, each followed by a comma.
    private static func writeList(_ name: FieldName, _ head: RequestHead, _ bytes: Span<UInt8>, _ out: inout Buffer) {
        for line in head.fields.lines where line.name == name && line.valueCount > 0 {
            out.append(bytes.extracting(Int(line.valueStart)..<Int(line.valueStart) &+ Int(line.valueCount)))
            out.append(", ")
        }
    }
}
