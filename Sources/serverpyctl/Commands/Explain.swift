import Shared

extension Command {
    static let explain = Command(
        name: "explain", operands: "METHOD PATH", summary: "Show where a request would go now, and why.",
        details: """
            Asked of the forwarders themselves: the API path that wins and those that lose, the snapshot in use, and of each instance
            whether it may be chosen, is behind another, or gets no request and why. One answer where all forwarders agree, else one
            each. `*` marks those that may be chosen. Nothing is sent to any instance.
            """,
        options: [
            Options.Spec(
                "header", "H", value: "NAME:VALUE", help: "a header of the request; may be given several times"),
            .json, .runtimeDirectory,
        ],
        example: "serverpyctl explain GET /orders/17 --header Host:shop.example"
    ) { options throws(CommandFault) in
        let explain = ForwarderQuestion.Explain(
            method: options.operands[0], path: options.operands[1], headers: options.all("header"))
        guard explain.path.hasPrefix("/") || explain.path == "*",
            explain.method.utf8.allSatisfy(Grammar.isToken), !explain.method.isEmpty,
            explain.headers.allSatisfy({ $0.contains(":") && !$0.contains("\r") && !$0.contains("\n") }),
            explain.path.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f })
        else {
            throw CommandFault(
                code: ExitCode.usage,
                message: "serverpyctl explain: METHOD is a word, PATH begins with `/`, a header is NAME:VALUE")
        }
        var client = try OperatorClient(options)
        defer { client.close() }
        let answers = try client.explain(explain)
        guard let last = answers.last else { return ExitCode.failed }
        let told = answers.dropLast().compactMap { $0["told"] }
        let report = ExplanationReport(explain, told, last)
        try StandardOutput.write(options.has("json") ? report.json : Array(report.text.utf8))
        guard !told.isEmpty else {
            let isSilence = (last["silent"]?.count ?? 0) > 0
            throw CommandFault(
                code: ExitCode.failed,
                message: isSilence
                    ? "serverpyctl: no forwarder has answered within \(Limits.inquiryMilliseconds) ms"
                    : "serverpyctl: no forwarder is connected to discoveryd: none runs, or discoveryd has just started; try again"
            )
        }
        return ExitCode.done
    }
}

/// The forwarders' answers to `explain`, for people and for programs.
struct ExplanationReport {
    private let question: ForwarderQuestion.Explain
    private let told: [Document.Value]
    private let last: Document.Value

    init(_ question: ForwarderQuestion.Explain, _ told: [Document.Value], _ last: Document.Value) {
        self.question = question
        self.told = told
        self.last = last
    }

    /// Forwarders that say the same: what is under way at each differs and is no disagreement.
    private var groups: [[Document.Value]] {
        var order: [String] = []
        var groups: [String: [Document.Value]] = [:]
        for answer in told {
            let key = Self.substance(answer)
            if groups[key] == nil { order.append(key) }
            groups[key, default: []].append(answer)
        }
        return order.compactMap { groups[$0] }
    }

    /// What forwarders agree or disagree about: everything but ages, counts and which of several equals is ahead just now.
    private static func substance(_ answer: Document.Value) -> String {
        let names: [StaticString] = ["snapshot", "service", "route", "failure", "status"]
        var parts = names.map { answer[$0]?.text ?? "" }
        for candidate in (answer["candidates"]?.elements.map { $0 } ?? []).sorted(by: {
            Self.label($0) < Self.label($1)
        }) {
            let isExcluded = candidate["standing"]?.string == "excluded"
            let why = isExcluded ? candidate["reason"]?.string?.prefix { $0 != ":" } ?? "" : ""
            parts.append("\(Self.label(candidate)) \(isExcluded) \(why)")
        }
        return parts.joined(separator: "\n")
    }

    /// By what people know an instance: its name, and the address where the name has several.
    private static func label(_ candidate: Document.Value) -> String {
        let url = candidate["instance"]?.string ?? "?"
        return candidate["address"]?.string.map { "\(url) \($0)" } ?? url
    }

    var json: [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("method", question.method)
        writer.field("path", question.path)
        writer.field("agree", groups.count == 1 && (last["silent"]?.count ?? 0) == 0)
        writer.key("answers")
        writer.beginArray()
        for answer in told { writer.value(answer) }
        writer.endArray()
        for name in ["silent", "evidence"] as [StaticString] {
            if let value = last[name] {
                writer.key(name.description)
                writer.value(value)
            }
        }
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }

    var text: String {
        let groups = groups
        var text = ""
        for group in groups {
            guard let first = group.first else { continue }
            if !text.isEmpty { text += "\n" }
            text += section(first, group, isOnly: groups.count == 1)
        }
        for pid in last["silent"]?.elements.map({ $0 }) ?? [] {
            text += "forwarderd pid \(pid.text) did not answer\n"
        }
        return text
    }

    private func section(_ answer: Document.Value, _ group: [Document.Value], isOnly: Bool) -> String {
        let names = group.map { "\($0["index"]?.text ?? "?")" }.joined(separator: ", ")
        let who =
            group.count == 1
            ? "forwarderd \(names)" : isOnly ? "all \(group.count) forwarders agree" : "forwarderd \(names) agree"
        let age = (answer["snapshot_age_ms"]?.unsigned ?? 0) / 100
        var text = "\(question.method) \(Text.shown(question.path.utf8)): "
        guard let service = answer["service"]?.string else {
            return text + "\(answer["status"]?.text ?? "?") \(answer["failure"]?.string ?? "")\n"
                + "snapshot \(answer["snapshot"]?.text ?? "?"), \(age / 10).\(age % 10) s old; \(who)\n"
        }
        text += "service \(service) by its API path \(answer["route"]?.string ?? "?")\n"
        for route in answer["routes_that_lost"]?.elements.map({ $0 }) ?? [] {
            text += "  \(route["route"]?.string ?? "?") of \(route["service"]?.string ?? "?") is shorter\n"
        }
        text +=
            "snapshot \(answer["snapshot"]?.text ?? "?"), \(age / 10).\(age % 10) s old; balance \(answer["balance"]?.text ?? "?"); \(who)\n"
        if let failure = answer["failure"]?.string { text += "\(failure)\n" }
        text += "\n"
        var table = Table(["", "INSTANCE", "PRIO", "AVAIL", "WEIGHT", "IN FLIGHT", "WHY"])
        let candidates = answer["candidates"]?.elements.map { $0 } ?? []
        for candidate in candidates {
            let label = Self.label(candidate)
            let inFlight = group.compactMap { other in
                other["candidates"]?.elements.first { Self.label($0) == label }?["in_flight"]?.text
            }
            let isChosen = group.contains { other in
                other["choice"]?.elements.contains { $0.string == label } ?? false
            }
            table.add([
                isChosen ? "*" : "", label, candidate["priority"]?.string ?? "",
                candidate["availability"]?.unsigned.map { "\($0)" } ?? "-", candidate["weight"]?.text ?? "",
                inFlight.joined(separator: "+"), why(candidate),
            ])
        }
        text += table.text()
        if let omitted = answer["omitted"]?.unsigned, omitted > 0 { text += "and \(omitted) more\n" }
        return text
    }

    /// The reason, with the evidence and its time.
    private func why(_ candidate: Document.Value) -> String {
        var why = candidate["reason"]?.string ?? ""
        let evidence = last["evidence"]?.elements.first { Self.label($0) == Self.label(candidate) }
        if candidate["status"]?.string == "down" || candidate["suspect"]?.boolean == true {
            let isDown = candidate["status"]?.string == "down"
            if let reason = evidence?[isDown ? "status_reason" : "suspect_reason"]?.string { why += ": \(reason)" }
            if isDown, let since = evidence?["since"]?.string { why += ", since \(since)" }
        }
        if candidate["draining"]?.boolean == true, let since = evidence?["draining_since"]?.string {
            why += ", since \(since)"
        }
        if candidate["standing"]?.string != "excluded", let wait = candidate["expected_wait_us"]?.unsigned {
            why += ": \(wait) us"
        }
        if let words = candidate["evidence"]?.string {
            let age = (candidate["evidence_age_ms"]?.unsigned ?? 0) / 100
            why += "; seen here \(age / 10).\(age % 10) s ago: \(words)"
        }
        if let rest = candidate["ejected_ms"]?.unsigned { why += "; ejected for \(rest) ms more" }
        return why
    }
}
