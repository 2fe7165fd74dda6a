import Shared

/// Where a request goes: to a service, or this forwarder responds by itself.
enum Decision {
    case own(OwnAnswer)
    case forward(RouteTable.Route)
}

extension Table {
    /// Pure: the present table decides. `explain` asks the same function.
    func decide(_ head: borrowing RequestHead, _ bytes: Span<UInt8>, _ identity: Identity, isDraining: Bool) -> Decision
    {
        // HTTP/1.0 does not know Expect.
        if head.fields.hasUnknownExpect, head.minorVersion >= 1 {
            return .own(OwnAnswer(417, "Only Expect: 100-continue is understood", error: "http_request_error"))
        }
        if head.method == .trace || head.method == .options, head.fields.maxForwardsIsZero {
            // This forwarder is the final recipient (RFC 9110 7.6.2).
            return .own(
                head.method == .trace
                    ? OwnAnswer(501, "TRACE is not answered here", error: nil) : OwnAnswer(200, "Success", error: nil))
        }
        if let limit = settings.bodyBytes, let length = head.fields.contentLength, length > limit {
            return .own(OwnAnswer(413, "A body of more than \(ByteSize.text(limit))", error: "http_request_error"))
        }
        if settings.answersReady, head.pathCount == 16, bytes.spells("/.serverpy/ready", at: head.targetStart) {
            return .own(readiness(isDraining: isDraining))
        }
        guard version != nil else {
            return .own(
                OwnAnswer(
                    503, OwnAnswer.failureWords, error: "destination_unavailable",
                    cause: "no snapshot from the discovery server yet"))
        }
        if head.fields.viaCount > 0, Via.count(of: identity.via, head, bytes) > Limits.passesPerRequest {
            return .own(
                OwnAnswer(
                    508, OwnAnswer.failureWords, error: "proxy_loop_detected",
                    cause: "this request has passed here more than \(Limits.passesPerRequest) times"))
        }
        if head.form == .asterisk {
            guard let root = routes.root else { return .own(OwnAnswer(200, "Success", error: nil)) }
            return .forward(root)
        }
        if let route = routes.route(bytes, head.targetStart, head.pathCount) { return .forward(route) }
        if head.pathCount <= 1, settings.answersReady { return .own(OwnAnswer(200, "Success", error: nil)) }
        return .own(OwnAnswer(404, "No API found with provided endpoint", error: "destination_not_found"))
    }

    private func readiness(isDraining: Bool) -> OwnAnswer {
        let isReady = version != nil && !isDraining
        return OwnAnswer(
            isReady ? 200 : 503, isReady ? "ready" : isDraining ? "draining" : "no snapshot yet", error: nil)
    }
}
