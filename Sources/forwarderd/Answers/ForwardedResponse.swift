import Shared

/// Writes the canonical response for a client from the parsed response of an instance.
enum ForwardedResponse {
    /// Appends the head of a final or interim response. `out` must have room for the largest head and `Limits.addedHeadBytes`.
    static func write(
        _ head: ResponseHead, _ bytes: Span<UInt8>, framing: BodyEncoder, closes: Bool, keepAliveToHTTP10: Bool,
        identity: Identity, to out: inout Buffer
    ) {
        out.append("HTTP/1.1 ")
        out.append(decimal: UInt64(head.status))
        out.append(UInt8(ascii: " "))
        out.append(bytes.extracting(head.reasonStart..<head.reasonStart &+ head.reasonCount))
        out.append("\r\n")
        let hasNominated = !head.fields.nominated.isEmpty
        var run = FieldRun()
        var index = 0
        while index < head.fields.lines.count {
            let line = head.fields.lines[index]
            index &+= 1
            switch line.name {
            case .contentLength:
                // Not with chunks, not in 1xx and 204 (RFC 9110 8.6).
                if framing != .asGiven || head.isInterim || head.status == 204 { continue }
            case .via, .date: break
            case .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade, .proxyAuthenticate,
                .proxyAuthorization, .http2Settings:
                continue
            case .trailer:
                // Only chunks can carry trailers.
                if framing != .chunked || hasNominated && head.fields.isNominated(line, in: bytes) { continue }
            case .other, .host, .forwarded, .xForwardedFor, .xForwardedProto, .xForwardedHost, .xRequestID,
                .expect,
                .maxForwards, .vouched, .disguised:
                if hasNominated, head.fields.isNominated(line, in: bytes) { continue }
            }
            run.add(line, bytes, &out)
        }
        run.flush(bytes, &out)
        if head.status == 101 {
            // Upgrade and Connection are hop-by-hop: the client gets this forwarder's.
            out.append("Connection: upgrade\r\n")
            out.append("Upgrade: ")
            out.append(head.fields.upgrade(in: bytes))
            out.append("\r\n")
        }
        if !head.isInterim {
            if !head.fields.hasDate {
                out.append("Date: ")
                out.append(identity.date)
                out.append("\r\n")
            }
            out.append(head.minorVersion == 0 ? "Via: 1.0 " : "Via: 1.1 ")
            out.append(identity.via)
            if framing == .chunked { out.append("\r\nTransfer-Encoding: chunked") }
            let wanted = head.status == 426 ? UpgradeProtocols.wanted(head.fields.upgrade(in: bytes)) : []
            if !wanted.isEmpty {
                // A 426 must name the protocols (RFC 9110 15.5.22).
                out.append("\r\nUpgrade: ")
                out.append(wanted)
                out.append("\r\n")
                out.append(
                    closes
                        ? "Connection: upgrade, close"
                        : keepAliveToHTTP10 ? "Connection: upgrade, keep-alive" : "Connection: upgrade")
            } else if closes {
                out.append("\r\nConnection: close")
            } else if keepAliveToHTTP10 {
                out.append("\r\nConnection: keep-alive")
            }
            out.append("\r\n")
        }
        out.append("\r\n")
    }
}
