import Shared

extension Command {
    /// Makes `deploy/man/serverpyctl.1`; a test sees to it that the file is what this prints.
    static let manual = Command(
        name: "manual", operands: "", summary: "Print the manual page.",
        details: "In man(7)'s language, from the same words as the help of each command.", options: [],
        example: "serverpyctl manual > deploy/man/serverpyctl.1", isHidden: true
    ) { _ throws(CommandFault) in
        try? Descriptor.standardOutput.writeAll(Array(ManualPage.text(Command.all.filter { !$0.isHidden }).utf8))
        return ExitCode.done
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
}
