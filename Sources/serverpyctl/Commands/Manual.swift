import Shared

extension Command {
    /// Makes the pages in `deploy/man`; a test sees to it that the files are what this prints.
    static let manual = Command(
        name: "manual", operands: "[PROGRAM]", summary: "Print a manual page.",
        details: """
            In man(7)'s language: of serverpyctl from the words of each command's help, of discoveryd or forwarderd from what that says with
            --help.
            """,
        options: [],
        example: "serverpyctl manual > deploy/man/serverpyctl.1", isHidden: true
    ) { options throws(CommandFault) in
        let text: String
        switch options.operands.first ?? "serverpyctl" {
        case "serverpyctl": text = ManualPage.text(Command.all.filter { !$0.isHidden })
        case let daemon where ["discoveryd", "forwarderd"].contains(daemon):
            text = try ManualPage.text(daemon: daemon, help: help(of: daemon))
        case let other:
            throw CommandFault(
                code: ExitCode.usage,
                message:
                    "serverpyctl manual: `\(Text.shown(other.utf8))` has none; serverpyctl, discoveryd and forwarderd have"
            )
        }
        try StandardOutput.write(text)
        return ExitCode.done
    }

    private static func help(of daemon: String) throws(CommandFault) -> String {
        do {
            let path = Programs.path(daemon, beside: try Process.executablePath())
            let (reading, writing) = try Descriptor.pipe()
            defer { reading.close() }
            var program = ChildProgram(path: path, arguments: ["--help"], environment: Process.environment())
            program.output = writing
            let pid = try Process.start(program)
            writing.close()
            // A page fits a pipe.
            let status = try Process.wait(pid)
            guard status == .exited(ExitCode.done) else { throw Errno.invalidArgument }
            var bytes = [UInt8](repeating: 0, count: Limits.childOutputBytesPerTurn)
            var span = bytes.mutableSpan
            let count = reading.read(into: &span).count ?? 0
            return String(decoding: bytes[..<count], as: UTF8.self)
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl manual: \(daemon) --help: \(error)")
        }
    }
}

/// The manual page, in man(7)'s language.
enum ManualPage {
    /// A hyphen that is to stay one, a backslash, and a dot or quote that would begin a request.
    private static func escaped(_ text: some StringProtocol) -> String {
        let safe = String(text).replacing("\\", with: "\\e").replacing("-", with: "\\-")
        return safe.hasPrefix(".") || safe.hasPrefix("'") ? "\\&" + safe : safe
    }

    static func text(_ commands: [Command]) -> String {
        var page = """
            .\\" Made by `serverpyctl manual`.
            .TH SERVERPYCTL 1 "" "serverpy \(Version.current)" "User Commands"
            .SH NAME
            serverpyctl \\- service discovery and request forwarding for microservices
            .SH SYNOPSIS
            .B serverpyctl
            .I COMMAND
            [options]
            .SH DESCRIPTION
            One JSON or YAML file names services, their instances, how to poll them and the API paths they serve.
            .B serverpyctl start
            launches and supervises discoveryd, which polls the instances, and the forwarderds, which take each request to the best instance.
            .SH COMMANDS

            """
        for command in commands {
            page +=
                ".SS serverpyctl \(escaped(command.name))\(command.operands.isEmpty ? "" : " " + escaped(command.operands))\n"
            page += escaped(command.summary) + "\n"
            if !command.details.isEmpty {
                page += ".PP\n"
                for line in command.details.split(separator: "\n", omittingEmptySubsequences: false) {
                    if line.hasPrefix("  ") {
                        page += ".br\n\\ \\ " + escaped(line.drop { $0 == " " }) + "\n"
                    } else {
                        page += (line.isEmpty ? ".PP" : escaped(line)) + "\n"
                    }
                }
            }
            for option in command.options {
                let short = option.short.map { "\\fB\\-\($0)\\fR, " } ?? ""
                let value = option.value.map { " \\fI\(escaped($0))\\fR" } ?? ""
                page += ".TP\n\(short)\\fB\\-\\-\(escaped(option.name))\\fR\(value)\n\(escaped(option.help))\n"
            }
            page += ".PP\nExample:\n.PP\n.RS 4\n.EX\n\(escaped(command.example))\n.EE\n.RE\n"
        }
        page += """
            .SH EXIT STATUS
            .TP
            .B 0
            done
            .TP
            .B 1
            failed
            .TP
            .B 64
            wrong usage
            .TP
            .B 69
            not running
            .TP
            .B 78
            the configuration was rejected
            .SH ENVIRONMENT
            .TP
            .B RUNTIME_DIRECTORY, XDG_RUNTIME_DIR
            where the runtime directory is if
            .B \\-\\-runtime\\-dir
            does not say it
            .TP
            .B STATE_DIRECTORY, XDG_STATE_HOME
            the same for the state directory
            .SH SEE ALSO
            The README, which explains the configuration.

            """
        return page
    }

    /// From a daemon's help: a line of usage, paragraphs, and options, each with its words behind it.
    static func text(daemon: String, help: String) -> String {
        var summaries = ["discoveryd": "polls the instances of services and tells forwarders which can be used"]
        summaries["forwarderd"] = "forwards each request to the best instance of a service"
        var page = """
            .\\" Made by `serverpyctl manual \(daemon)`.
            .TH \(daemon.uppercased()) 8 "" "serverpy \(Version.current)" "System Manager's Manual"
            .SH NAME
            \(daemon) \\- \(summaries[daemon] ?? "")
            .SH SYNOPSIS
            .B \(daemon)
            [options]
            .SH DESCRIPTION

            """
        var isInOptions = false
        for line in help.split(separator: "\n", omittingEmptySubsequences: false).dropFirst() {
            let words = line.drop { $0 == " " }
            guard words.hasPrefix("-") else {
                if !words.isEmpty {
                    page += escaped(words) + "\n"
                } else if !isInOptions, !page.hasSuffix("DESCRIPTION\n") {
                    page += ".PP\n"
                }
                continue
            }
            if !isInOptions {
                if page.hasSuffix(".PP\n") { page.removeLast(4) }
                page += ".SH OPTIONS\n"
            }
            isInOptions = true
            // Two spaces end the option.
            let end = words.firstRange(of: "  ")?.lowerBound ?? words.endIndex
            page += ".TP\n\\fB\(escaped(words[..<end]))\\fR\n\(escaped(words[end...].drop { $0 == " " }))\n"
        }
        return page + ".SH SEE ALSO\n.BR serverpyctl (1)\n"
    }
}
