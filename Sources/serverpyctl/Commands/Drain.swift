import Shared

extension Command {
    static let drain = Command(
        name: "drain", operands: "SERVICE INSTANCE", summary: "Send an instance no more requests.",
        details: """
            A name means all its addresses, also those that it gets later; an address of it means that one alone.
            It is known as drained through restarts and reloads until `undrain`. What is under way there goes on: with --wait the
            command returns when no forwarder has a request at the instance any more, or with 1 after so many seconds, saying who
            still has how many.
            """,
        options: [
            Options.Spec("wait", value: "SECONDS", help: "wait until nothing is under way there"), .json,
            .runtimeDirectory,
        ],
        example: "serverpyctl drain orders 10.0.0.1:8080 --wait 30"
    ) { options throws(CommandFault) in
        let seconds: Int?
        do throws(Options.Fault) { seconds = try options.integer("wait", 0...86_400) } catch {
            throw CommandFault(code: ExitCode.usage, message: "serverpyctl drain: \(error.reason)")
        }
        var client = try OperatorClient(options)
        defer { client.close() }
        let instance: [(StaticString, String)] = [
            ("service", options.operands[0]), ("instance", options.operands[1]),
        ]
        var answer = try client.command("drain", instance)
        let count = answer["instances"]?.unsigned ?? 1
        let many = count > 1 ? " at any of its \(count) addresses" : ""
        guard let seconds else {
            return try say(answer, options, "\(options.operands[1]) gets no more requests\(many)")
        }
        var barrier = DrainBarrier(
            service: options.operands[0], instance: options.operands[1], snapshot: answer["snapshot"]?.string)
        let isDrained = try barrier.wait(
            until: Clock.monotonicMilliseconds() + UInt64(seconds) * 1000, &client)
        if let last = barrier.answer { answer = last }
        if isDrained { return try say(answer, options, "\(options.operands[1]) is drained") }
        guard barrier.isDraining else {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: it is no longer being drained")
        }
        if options.has("json") { _ = try say(answer, options, "") }
        throw CommandFault(
            code: ExitCode.failed,
            message: (["serverpyctl: \(options.operands[1]) is not drained after \(seconds) s:"] + barrier.left).joined(
                separator: "\n"))
    }

    static let undrain = Command(
        name: "undrain", operands: "SERVICE INSTANCE", summary: "Let a drained instance have requests again.",
        details: "", options: [.json, .runtimeDirectory], example: "serverpyctl undrain orders 10.0.0.1:8080"
    ) { options throws(CommandFault) in
        var client = try OperatorClient(options)
        defer { client.close() }
        let answer = try client.command(
            "undrain", [("service", options.operands[0]), ("instance", options.operands[1])])
        return try say(answer, options, "\(options.operands[1]) may have requests again")
    }

    private static func say(
        _ answer: Document.Value, _ options: Options, _ words: String
    ) throws(CommandFault) -> Int32 {
        try StandardOutput.write(
            options.has("json") ? answer.document.source : Array((words + "\n").utf8))
        return ExitCode.done
    }
}
