import Shared

func overview() -> String {
    var text =
        "usage: serverpyctl COMMAND [options]\n\nService discovery and request forwarding for microservices.\n\ncommands:\n"
    for command in Command.all where !command.isHidden {
        text += Command.wrapped("  \(Command.padded(command.name, 10)) \(command.summary)", indent: 13)
    }
    return text + "\n`serverpyctl COMMAND --help` explains a command.\n"
}

func complain(_ message: String) {
    if !message.isEmpty { try? Descriptor.standardError.writeAll(Array((message + "\n").utf8)) }
}

func run() -> Int32 {
    Limits.check()
    Descriptor.openStandard()
    let arguments = Array(CommandLine.arguments.dropFirst())
    guard let name = arguments.first else {
        complain(overview())
        return ExitCode.usage
    }
    if ["-h", "--help", "help"].contains(name) {
        print(overview(), terminator: "")
        return ExitCode.done
    }
    if name == "--version" {
        print("serverpyctl \(Version.current)")
        return ExitCode.done
    }
    guard let command = Command.all.first(where: { $0.name == name }) else {
        var message = "serverpyctl: `\(name)` is not a command"
        if let near = Text.nearest(name, Command.all.filter { !$0.isHidden }.map(\.name)) {
            message += "; did you mean `\(near)`?"
        }
        complain(message + "\n\n" + overview())
        return ExitCode.usage
    }
    do {
        let options = try Options(Array(arguments.dropFirst()), command.options + [Command.help])
        if options.has("help") {
            print(command.usage, terminator: "")
            return ExitCode.done
        }
        let expected = command.operandNames
        let most = expected.count + command.optionalOperands
        if options.operands.count > most {
            throw Options.Fault("`\(options.operands[most])` is not expected")
        }
        if options.operands.count < expected.count {
            throw Options.Fault("\(expected[options.operands.count]) is missing")
        }
        return try command.run(options)
    } catch let fault as Options.Fault {
        complain("serverpyctl \(name): \(fault.reason)\n\n\(command.usage)")
        return ExitCode.usage
    } catch let fault as CommandFault {
        complain(fault.message)
        return fault.code
    } catch {
        complain("serverpyctl: \(error)")
        return ExitCode.failed
    }
}

Process.exit(run())
