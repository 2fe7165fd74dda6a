import Shared

extension Command {
    static let status = Command(
        name: "status", operands: "", summary: "Show processes, services and instances of a running serverpy.",
        details: """
            Rates are of the third of a second before the answer. Exits with 69 if none is running. With --wait it returns when the state
            is reached: `ready` (every process is, with the present snapshot) or `drained` (no request is under way at an instance that
            is being drained), or with 1 after --timeout seconds.
            """,
        options: [
            Options.Spec("wait", value: "STATE", help: "wait for `ready` or `drained`"),
            Options.Spec("timeout", value: "SECONDS", help: "how long at most (default: 30)"), .json, .runtimeDirectory,
        ], example: "serverpyctl status --wait ready --timeout 10"
    ) { options throws(CommandFault) in
        if let state = options["wait"] {
            guard ["ready", "drained"].contains(state) else {
                throw CommandFault(
                    code: ExitCode.usage,
                    message:
                        "serverpyctl status: `\(Text.shown(state.utf8))` cannot be waited for; `ready` and `drained` can"
                )
            }
            try wait(for: state, seconds: try options.count("timeout", 0...86_400) ?? 30, options)
        }
        let report = try StatusReport(options)
        let view = StatusView(hasColour: Colour.isWanted(on: .standardOutput))
        let text = { StatusTables(report: report, view: view).text }
        try? Descriptor.standardOutput.writeAll(options.has("json") ? report.json : Array(text().utf8))
        return ExitCode.done
    }

    private static func wait(for state: String, seconds: Int, _ options: Options) throws(CommandFault) {
        let end = Clock.monotonicMilliseconds() + UInt64(seconds) * 1000
        while true {
            let missing: String
            do throws(CommandFault) {
                let report = try StatusReport(options, milliseconds: 0)
                missing = state == "ready" ? report.notReady : report.notDrained
            } catch {
                guard error.code == ExitCode.notRunning, state == "ready" else { throw error }
                missing = error.message
            }
            if missing.isEmpty { return }
            guard Clock.monotonicMilliseconds() < end else {
                throw CommandFault(
                    code: ExitCode.failed, message: "serverpyctl status: not \(state) after \(seconds) s: \(missing)")
            }
            Clock.sleep(milliseconds: 50)
        }
    }
}
