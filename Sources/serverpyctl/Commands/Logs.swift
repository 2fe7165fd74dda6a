import Shared

extension Command {
    static let logs = Command(
        name: "logs", operands: "", summary: "Print what serverpyctl and its children have said.",
        details: """
            The last lines of all processes are kept in the runtime directory, 1 to 2 MiB of them. With -f it goes on with what comes,
            through an upgrade too, until serverpy ends.
            """,
        options: [
            Options.Spec("follow", "f", help: "go on with what comes"),
            Options.Spec("lines", "n", value: "N", help: "only the last N lines of what there is"),
            Options.Spec("json", help: "print JSON, one object a line"), .runtimeDirectory,
        ], example: "serverpyctl logs -f -n 20"
    ) { options throws(CommandFault) in
        let directory = Directories.runtime(options["runtime-dir"])
        let last = try options.count("lines", 0...1_000_000)
        var reader: LogReader
        do throws(Errno) { reader = try LogReader(directory) } catch {
            throw ControlClient.missing("logs", directory, error)
        }
        let lines = reader.next()
        try write(lines.suffix(last ?? lines.count), options)
        guard options.has("follow") else { return ExitCode.done }
        // An upgrade keeps the process: its end is serverpy's.
        let status = try ControlClient.ask("status", options)
        guard let pid = status["pid"]?.unsigned, let end = try? ProcessExit(pid: Int32(clamping: pid)) else {
            return ExitCode.done
        }
        while !end.wait(timeoutMilliseconds: Limits.logLookMilliseconds) { try write(reader.next()[...], options) }
        try write(reader.next()[...], options)
        return ExitCode.done
    }

    private static func write(_ lines: ArraySlice<[UInt8]>, _ options: Options) throws(CommandFault) {
        var text: [UInt8] = []
        for line in lines {
            if options.has("json"), let parsed = LogLine(line) {
                text += parsed.json
            } else {
                text += line + [0x0a]
            }
        }
        try StandardOutput.write(text)
    }
}
