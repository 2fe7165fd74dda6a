import Shared

extension Command {
    static let stop = Command(
        name: "stop", operands: "", summary: "Drain and stop a running serverpy.",
        details: "Returns when it has ended. Exits with 69 if none is running.", options: [.runtimeDirectory],
        example: "serverpyctl stop"
    ) { options throws(CommandFault) in
        let seen = ControlClient.supervisor(options)
        let answer = try ControlClient.ask("stop", options)
        guard let pid = seen, pid != 0 else {
            throw CommandFault(
                code: ExitCode.failed,
                message:
                    "serverpyctl: it has been told to stop; its process cannot be seen from here, so its end is not waited for"
            )
        }
        // The process's end is an event too: pidfd_open(2).
        guard let exit = try? ProcessExit(pid: pid) else { return ExitCode.done }
        let limit = answer["timeout_ms"]?.unsigned ?? Limits.drainTimeoutMilliseconds
        guard exit.wait(timeoutMilliseconds: limit) else {
            throw CommandFault(
                code: ExitCode.failed, message: "serverpyctl: pid \(pid) did not end within \(limit / 1000) s")
        }
        return ExitCode.done
    }

    static let reload = Command(
        name: "reload", operands: "", summary: "Read the configuration anew and put it in force.",
        details: """
            Prints what has changed. Unchanged instances keep their status, history and connections. A bad configuration is
            refused with its errors (78) and the old one goes on; any other failure undoes everything (1).
            """,
        options: [
            Options.Spec("dry-run", help: "print what would change, and change nothing"), .json, .runtimeDirectory,
        ],
        example: "serverpyctl reload --dry-run"
    ) { options throws(CommandFault) in
        let answer: Document.Value
        do throws(CommandFault) {
            // The supervisor has a limit of its own, which grows with the instances.
            answer = try ControlClient.ask(
                "reload", options, fields: [("dry_run", options.has("dry-run"))],
                timeoutMilliseconds: Limits.changeMilliseconds)
        } catch {
            // Under units of their own there is no supervisor, and discoveryd does it.
            guard error.code == ExitCode.notRunning, !options.has("dry-run") else { throw error }
            var client = try OperatorClient(options)
            defer { client.close() }
            let answer = try client.ask("reload", [])
            if options.has("json") { try StandardOutput.write(answer.document.source) }
            guard answer["ok"]?.boolean == true else {
                throw CommandFault(code: ExitCode.configuration, message: answer["error"]?.string ?? "no reason given")
            }
            if !options.has("json") {
                try StandardOutput.write("in force as snapshot \(answer["snapshot"]?.string ?? "?")\n")
            }
            return ExitCode.done
        }
        return try report(answer, options, nothing: "nothing has changed")
    }

    static let scale = Command(
        name: "scale", operands: "COUNT", summary: "Set the number of forwarders.",
        details: """
            COUNT is a number or `forwarder=N`. New ones begin when they have their snapshot, the last ones drain. It holds until
            serverpy ends, whatever the configuration says.
            """,
        options: [.json, .runtimeDirectory], example: "serverpyctl scale forwarder=4"
    ) { options throws(CommandFault) in
        let operand = options.operands[0]
        let text = operand.hasPrefix("forwarder=") ? String(operand.dropFirst("forwarder=".utf8.count)) : operand
        guard let count = DecimalDigits.parse(text.utf8, max: UInt64(Limits.forwarders)), count > 0 else {
            throw CommandFault(
                code: ExitCode.usage,
                message:
                    "serverpyctl scale: `\(operand)` is no number of forwarders; `forwarder=N` with N from 1 to \(Limits.forwarders) is needed"
            )
        }
        return try report(
            ControlClient.ask("scale", options, numbers: [("forwarders", Int(count))]), options, nothing: "")
    }

    static let restart = Command(
        name: "restart", operands: "[TARGET]", summary: "Replace the daemons, one after another.",
        details: """
            TARGET is `forwarder`, `discoveryd` or `all` (the default: discoveryd first). Each new forwarder is ready before its predecessor
            is told to drain: no connection is refused, what is open is finished within `drain_timeout`. Ends with 1, and leaves the rest
            as it is, where a new one does not become ready.
            """,
        options: [.json, .runtimeDirectory], example: "serverpyctl restart forwarder"
    ) { options throws(CommandFault) in
        let targets = ["all": "all", "discoveryd": "discoveryd", "forwarder": "forwarders", "forwarders": "forwarders"]
        let word = options.operands.first ?? "all"
        guard let target = targets[word] else {
            throw CommandFault(
                code: ExitCode.usage,
                message:
                    "serverpyctl restart: `\(Text.shown(word.utf8))` cannot be restarted; `forwarder`, `discoveryd` and `all` can"
            )
        }
        return try report(
            ControlClient.ask(
                "restart", options, words: [("target", target)], timeoutMilliseconds: Limits.changeMilliseconds),
            options,
            nothing: "nothing was running")
    }

    /// Prints what a change has led to.
    static func report(
        _ answer: Document.Value, _ options: Options, nothing: String
    ) throws(CommandFault) -> Int32 {
        if options.has("json") { try StandardOutput.write(answer.document.source) }
        guard answer["ok"]?.boolean == true else {
            let code = Int32(clamping: answer["code"]?.unsigned ?? 1)
            let reason = answer["error"]?.string ?? "no reason given"
            throw CommandFault(
                code: code,
                message: code == ExitCode.configuration ? String(reason.dropLast()) : "serverpyctl: \(reason)")
        }
        if options.has("json") { return ExitCode.done }
        let lines = answer["changes"]?.elements.compactMap(\.string) ?? []
        let text = lines.isEmpty ? nothing + "\n" : lines.map { $0 + "\n" }.joined()
        try StandardOutput.write(text)
        return ExitCode.done
    }

    static let version = Command(
        name: "version", operands: "", summary: "Print the version.", details: "", options: [],
        example: "serverpyctl version"
    ) { _ throws(CommandFault) in
        try StandardOutput.write("serverpyctl \(Version.current)\n")
        return ExitCode.done
    }
}
