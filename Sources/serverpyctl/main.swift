import Shared

func overview() -> String {
    var text =
        "usage: serverpyctl COMMAND [options]\n       serverpyctl -c FILE [options]\n\nService discovery and request forwarding for microservices.\n\ncommands:\n"
    for command in Command.all where !command.isHidden {
        text += Command.wrapped("  \(Command.padded(command.name, 10)) \(command.summary)", indent: 13)
    }
    return text + "\n`serverpyctl COMMAND --help` explains a command.\n"
}

func complain(_ message: String) {
    if !message.isEmpty { try? Descriptor.standardError.writeAll(Array((message + "\n").utf8)) }
}

func run() -> Int32 {
    // Before anything else, or a signal in the first milliseconds would end what is to hear it.
    switch Command.name(in: CommandLine.arguments.dropFirst()) {
    case "start", "demo", "sample", "top": SignalQueue.begin()
    default: break
    }
    Limits.check()
    Descriptor.openStandard()
    do throws(CommandFault) {
        return try obey(Array(CommandLine.arguments.dropFirst()))
    } catch {
        complain(error.message)
        return error.code
    }
}

func obey(_ arguments: [String]) throws(CommandFault) -> Int32 {
    guard let name = Command.name(in: arguments) else { throw CommandFault(code: ExitCode.usage, message: overview()) }
    switch name {
    case "-h", "--help", "help":
        try StandardOutput.write(overview())
        return ExitCode.done
    case "--version":
        try StandardOutput.write("serverpyctl \(Version.current)\n")
        return ExitCode.done
    default: break
    }
    guard let command = Command.all.first(where: { $0.name == name }) else {
        var message = "serverpyctl: `\(Text.shown(name.utf8))` is not a command"
        if let near = Text.nearest(name, Command.all.filter { !$0.isHidden }.map(\.name)) {
            message += "; did you mean `\(near)`?"
        }
        throw CommandFault(code: ExitCode.usage, message: message + "\n\n" + overview())
    }
    let options: Options
    do throws(Options.Fault) {
        options = try command.parse(arguments.first == name ? Array(arguments.dropFirst()) : arguments)
    } catch {
        throw CommandFault(code: ExitCode.usage, message: "serverpyctl \(name): \(error.reason)\n\n\(command.usage)")
    }
    if options.has("help") {
        try StandardOutput.write(command.usage)
        return ExitCode.done
    }
    return try command.run(options)
}

Process.exit(run())
