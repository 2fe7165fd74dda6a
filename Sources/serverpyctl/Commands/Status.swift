import Shared

extension Command {
    static let status = Command(
        name: "status", operands: "", summary: "Show processes, services and instances of a running serverpy.",
        details: """
            Rates are of the third of a second before the answer, with thousands of instances of two seconds. Exits with 69 if none is
            running. With --wait it returns when the state is reached: `ready` (every process is) or `drained` (every forwarder knows
            of each instance that is being drained now, and has no request there), or with 1 after --timeout seconds.
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
            let seconds = try options.count("timeout", 0...86_400) ?? 30
            let end = Clock.monotonicMilliseconds() + UInt64(seconds) * 1000
            let missing = try state == "ready" ? waitForReadiness(end, options) : waitForDrains(end, options)
            if let missing {
                throw CommandFault(
                    code: ExitCode.failed, message: "serverpyctl status: not \(state) after \(seconds) s: \(missing)")
            }
        }
        let report = try StatusReport.taken(options)
        if let trouble = report.trouble, options.has("json") { complain(trouble) }
        let view = StatusView(
            // Where nobody looks at it on a screen, nothing is cut.
            columns: Terminal.size(.standardOutput).map { max(80, $0.columns) } ?? .max,
            hasColour: Colour.isWanted(on: .standardOutput))
        try StandardOutput.write(
            options.has("json") ? report.json : Array(StatusTables(report: report, view: view).text.utf8))
        return ExitCode.done
    }

    /// What is missing when the time is over; nil when all are ready.
    private static func waitForReadiness(_ end: UInt64, _ options: Options) throws(CommandFault) -> String? {
        while true {
            let missing: String
            do throws(CommandFault) {
                missing = StatusReport(try StatusSample.taken(options)).notReady
            } catch {
                // It may be about to start.
                missing = error.message
            }
            if missing.isEmpty { return nil }
            guard Clock.monotonicMilliseconds() < end else { return missing }
            Clock.sleep(milliseconds: Limits.askAgainMilliseconds)
        }
    }

    /// Who has not finished when the time is over; nil when nobody has a request at any instance that is being drained now.
    private static func waitForDrains(_ end: UInt64, _ options: Options) throws(CommandFault) -> String? {
        let statistics = try DiscoveryClient(options).json("/stats")
        var client = try OperatorClient(options)
        defer { client.close() }
        for instance in statistics["service_statistics"]?.elements.map({ $0 }) ?? []
        where instance["draining"]?.boolean == true {
            let service = instance["service_name"]?.string ?? ""
            let url = (instance["address"] ?? instance["instance_url"])?.string ?? ""
            var barrier = DrainBarrier(service: service, instance: url, snapshot: nil)
            guard try !barrier.wait(until: end, &client) else { continue }
            // Another may have taken it back meanwhile: then it is not waited for.
            if barrier.isDraining { return (["\(url) is not drained:"] + barrier.left).joined(separator: "\n") }
        }
        return nil
    }
}
