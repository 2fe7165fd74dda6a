import Shared

extension Command {
    static let upgrade = Command(
        name: "upgrade", operands: "", summary: "Take the programs that are on the disk now, without a break.",
        details: """
            The new programs are tried first: serverpyctl with the configuration in force and with what it would be handed, the daemons
            by a look at themselves. Then the supervisor becomes its successor in the same process, discoveryd is replaced, and the
            forwarders one after another, each new one ready before its predecessor drains. No connection is refused. A program that
            fails leaves, or puts back, the old ones, and the command exits with 1. Until an upgrade, a child that is started again is
            the program that it was, whatever is on the disk.
            """, options: [.json, .runtimeDirectory], example: "serverpyctl upgrade"
    ) { options throws(CommandFault) in
        try report(
            ControlClient.ask("upgrade", options, timeoutMilliseconds: Limits.changeMilliseconds), options, nothing: "")
    }

    /// What an upgrade asks of the new serverpyctl; the daemons have `--self-test`.
    static let selfTest = Command(
        name: "self-test", operands: "[FILE]", summary: "See whether this program could take over.",
        details:
            "Given what a running supervisor would hand over, reads it, the configuration in force, and the options of `start`.",
        options: Command.start.options, example: "serverpyctl self-test -c /etc/serverpy/serverpy.yaml", isHidden: true
    ) { options throws(CommandFault) in
        let inherited = InheritedDescriptors.take()
        do {
            if let memory = inherited.first("handover") {
                _ = try Handover.decode(Files.read(memory, maxBytes: Limits.handoverBytes))
            }
            if let memory = inherited.first("configuration") {
                let bytes = try Files.read(memory, maxBytes: Limits.configurationBytes)
                _ = try ConfigurationFile(path: options["config"] ?? "configuration", bytes: bytes).configuration()
            }
            _ = try EventLoop.makeForStart()
        } catch let fault as Handover.Fault {
            throw CommandFault(code: ExitCode.failed, message: fault.reason)
        } catch let refusal as ConfigurationFile.Refusal {
            throw CommandFault(code: ExitCode.configuration, message: String(refusal.text.dropLast()))
        } catch let fault as StartFault {
            throw CommandFault(code: ExitCode.failed, message: fault.reason)
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "\(error)")
        }
        try StandardOutput.write("serverpyctl \(Version.current)\n")
        return ExitCode.done
    }
}
