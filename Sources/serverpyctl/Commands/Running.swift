import Shared

/// A question to the supervisor of a runtime directory.
enum ControlClient {
    /// Sends one request and waits for its answer, at most `timeoutMilliseconds`.
    static func ask(
        _ command: String, _ options: Options, fields: [(StaticString, Bool)] = [], numbers: [(StaticString, Int)] = [],
        words: [(StaticString, String)] = [], timeoutMilliseconds: UInt64 = 10_000
    ) throws(CommandFault)
        -> Document.Value
    {
        var channel = try connect(command, options)
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("command", command)
        for (name, value) in fields { writer.field(name, value) }
        for (name, value) in numbers { writer.field(name, value) }
        for (name, value) in words { writer.field(name, value) }
        writer.endObject()
        writer.endLine()
        channel.queue(writer.bytes)
        defer { channel.descriptor.close() }
        do {
            _ = try channel.flush()
            let queue = try EventQueue()
            try queue.add(channel.descriptor, token: 0, interest: [.readable])
            let end = Clock.monotonicMilliseconds() + timeoutMilliseconds
            while Clock.monotonicMilliseconds() < end {
                _ = try queue.wait(timeoutMilliseconds: 100)
                _ = try channel.receive()
                if let line = try channel.nextLine() { return try JSONReader.parse(line).root }
            }
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: the supervisor ended before it answered")
        }
        throw CommandFault(
            code: ExitCode.failed,
            message: "serverpyctl: the supervisor did not answer within \(timeoutMilliseconds) ms")
    }

    private static func connect(_ command: String, _ options: Options) throws(CommandFault) -> LineChannel {
        let directory = Directories.runtime(options["runtime-dir"])
        do {
            return LineChannel(try UnixSocket.connect(.stream, path: directory + "/control.sock"))
        } catch {
            throw notRunning(command, directory)
        }
    }

    /// Under units of their own, systemd is who can do it.
    static func notRunning(_ command: String, _ directory: String) -> CommandFault {
        var message = "serverpyctl: serverpy is not running with the runtime directory \(directory)"
        let units = [
            "stop": "systemctl stop 'serverpy-*'", "scale": "systemctl start serverpy-forwarderd@N",
            "restart": "systemctl restart serverpy-forwarderd@N, one after another",
            "upgrade": "systemctl restart serverpy-discoveryd, and serverpy-forwarderd@N one after another",
            "logs": "journalctl -u 'serverpy-*'",
        ]
        if let unit = units[command], let socket = try? UnixSocket.connect(.stream, path: directory + "/discovery.sock")
        {
            socket.close()
            message =
                "serverpyctl: discoveryd runs on its own with the runtime directory \(directory), without a supervisor; use `\(unit)`"
        }
        return CommandFault(code: ExitCode.notRunning, message: message)
    }
}

extension Command {
    static let stop = Command(
        name: "stop", operands: "", summary: "Drain and stop a running serverpy.",
        details: "Returns when it has ended. Exits with 69 if none is running.", options: [.runtimeDirectory],
        example: "serverpyctl stop"
    ) { options throws(CommandFault) in
        let answer = try ControlClient.ask("stop", options)
        guard let pid = answer["pid"]?.unsigned else { return ExitCode.failed }
        // The process's end is an event too: pidfd_open(2).
        guard let exit = try? ProcessExit(pid: Int32(clamping: pid)) else { return ExitCode.done }
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
            answer = try ControlClient.ask("reload", options, fields: [("dry_run", options.has("dry-run"))])
        } catch {
            // Under units of their own there is no supervisor, and discoveryd does it.
            guard error.code == ExitCode.notRunning, !options.has("dry-run") else { throw error }
            var client = try OperatorClient(options)
            defer { client.close() }
            let answer = try client.ask("reload", [])
            if options.has("json") { try? Descriptor.standardOutput.writeAll(answer.document.source) }
            guard answer["ok"]?.boolean == true else {
                throw CommandFault(code: ExitCode.configuration, message: answer["error"]?.string ?? "no reason given")
            }
            if !options.has("json") { print("in force as snapshot \(answer["snapshot"]?.string ?? "?")") }
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
            ControlClient.ask("restart", options, words: [("target", target)], timeoutMilliseconds: 300_000), options,
            nothing: "nothing was running")
    }

    /// Prints what a change has led to.
    static func report(
        _ answer: Document.Value, _ options: Options, nothing: String
    ) throws(CommandFault) -> Int32 {
        if options.has("json") { try? Descriptor.standardOutput.writeAll(answer.document.source) }
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
        try? Descriptor.standardOutput.writeAll(Array(text.utf8))
        return ExitCode.done
    }

    static let version = Command(
        name: "version", operands: "", summary: "Print the version.", details: "", options: [],
        example: "serverpyctl version"
    ) { _ throws(CommandFault) in
        print("serverpyctl \(Version.current)")
        return ExitCode.done
    }
}
