import Shared

/// A question to all forwarders, and what has come of it.
struct Inquiry {
    enum Asker {
        case `operator`(OperatorCommand)
        /// A connection of the HTTP port.
        case client(Token)
    }

    let asker: Asker
    /// Those that have not answered yet, with their pids.
    var waiting: [Token: Int32]
    var answers: [Document.Value] = []
    var bytes = 0
    /// Forwarders whose answers came when there were too many bytes of others.
    var leftOut = 0
    let endsAt: UInt64
}

/// `explain` is the forwarders' to answer: their ejections, what is under way, who is full. They are asked all at once.
extension Discoveryd {
    mutating func ask(_ explain: ForwarderQuestion.Explain, for asker: Inquiry.Asker) {
        guard inquiries.count < Limits.inquiries else {
            return refuse(asker, "\(Limits.inquiries) such questions are under way; try again")
        }
        inquiryID += 1
        let line = ForwarderQuestion(id: inquiryID, explain).line
        guard line.count <= Limits.lineBytes / 4 else { return refuse(asker, "the question is too long") }
        inquiries[inquiryID] = Inquiry(
            asker: asker, waiting: publisher.ask(line, &loop), endsAt: loop.now + Limits.inquiryMilliseconds)
        _ = loop.schedule(EventKind.inquiryDue.token(), after: Limits.inquiryMilliseconds)
    }

    /// A forwarder's answer.
    mutating func told(_ forwarder: Token, _ message: Document.Value) {
        guard let id = message["id"]?.unsigned, var inquiry = inquiries[id],
            inquiry.waiting.removeValue(forKey: forwarder) != nil
        else { return }
        inquiry.bytes += message.document.source.count
        if inquiry.bytes <= 4 * Limits.lineBytes { inquiry.answers.append(message) } else { inquiry.leftOut += 1 }
        inquiries[id] = inquiry
    }

    /// Answers the questions to which nothing more will come.
    mutating func endInquiries() {
        guard !inquiries.isEmpty else { return }
        for (id, inquiry) in inquiries {
            let silent = inquiry.waiting.filter {
                publisher.connections.index(of: $0.key) != nil
            }
            guard silent.isEmpty || inquiry.endsAt <= loop.now else { continue }
            inquiries[id] = nil
            end(inquiry, silent: silent.values.sorted())
        }
    }

    private mutating func end(_ inquiry: Inquiry, silent: [Int32]) {
        let answers = inquiry.answers.sorted {
            ($0["index"]?.unsigned ?? 0, $0["pid"]?.unsigned ?? 0) < (
                $1["index"]?.unsigned ?? 0, $1["pid"]?.unsigned ?? 0
            )
        }
        let evidence = evidence(answers.first)
        func close(_ writer: inout JSONWriter) {
            writer.key("silent")
            writer.beginArray()
            for pid in silent { writer.value(pid) }
            writer.endArray()
            writer.field("left_out", inquiry.leftOut)
            writer.key("evidence")
            writer.beginArray()
            for id in evidence { writeEvidence(id, to: &writer) }
            writer.endArray()
        }
        switch inquiry.asker {
        case .operator(let command):
            // A line each, so that none is too long.
            for answer in answers {
                let line = command.answer {
                    $0.field("more", true)
                    $0.key("told")
                    $0.value(answer)
                }
                publisher.answer(command.subscriber, line, &loop)
            }
            publisher.answer(command.subscriber, command.answer(close), &loop)
        case .client(let token):
            guard server.connections.holds(.init(token.slot), token.generation) else { return }
            server.answerWaiting(
                .init(token.slot),
                .json(200) { writer in
                    writer.key("answers")
                    writer.beginArray()
                    for answer in answers { writer.value(answer) }
                    writer.endArray()
                    close(&writer)
                })
            serveAPI(.init(token.slot), [])
        }
    }

    /// What polls say of the instances that an answer tells of.
    private func evidence(_ answer: Document.Value?) -> [Registry.InstanceID] {
        guard let answer, let service = answer["service"]?.string, let candidates = answer["candidates"] else {
            return []
        }
        return registry.find(
            service: service,
            labels: candidates.elements.compactMap { candidate in
                candidate["instance"]?.string.map { url in
                    candidate["address"]?.string.map { "\(url) \($0)" } ?? url
                }
            })
    }

    private func writeEvidence(_ id: Registry.InstanceID, to writer: inout JSONWriter) {
        let entry = registry.instances[id]
        writer.beginObject()
        writer.field("instance", entry.url)
        if registry.isOneOfSeveral(id), let address = entry.address { writer.field("address", address.description) }
        writer.field("status", entry.health.status.rawValue)
        writer.key("since")
        if entry.since == 0 { writer.null() } else { writer.value(Timestamp.iso8601(wallMilliseconds: entry.since)) }
        if entry.isDraining, entry.drainingSince != 0 {
            writer.field("draining_since", Timestamp.iso8601(wallMilliseconds: entry.drainingSince))
        }
        if let cause = entry.statusCause.result { writer.field("status_reason", cause.response) }
        if entry.health.isSuspect, let cause = entry.suspectCause.result {
            writer.field("suspect_reason", cause.response)
        }
        if let last = entry.lastResult.result { writer.field("last_poll", last.response) }
        writer.key("last_checked_at")
        if entry.lastCheckedAt == 0 {
            writer.null()
        } else {
            writer.value(Timestamp.iso8601(wallMilliseconds: entry.lastCheckedAt))
        }
        writer.endObject()
    }

    private mutating func refuse(_ asker: Inquiry.Asker, _ reason: String) {
        switch asker {
        case .operator(let command): publisher.answer(command.subscriber, command.refusal(reason), &loop)
        case .client(let token):
            guard server.connections.holds(.init(token.slot), token.generation) else { return }
            server.answerWaiting(.init(token.slot), .json(503) { $0.field("status", reason) })
            serveAPI(.init(token.slot), [])
        }
    }
}
