import Shared

extension Options.Spec {
    static let config = Options.Spec("config", "c", value: "FILE", help: "the configuration, JSON or YAML")
    static let runtimeDirectory = Options.Spec("runtime-dir", value: "DIR", help: "where the sockets are")
    static let stateDirectory = Options.Spec("state-dir", value: "DIR", help: "where state is kept")
    static let forwarders = Options.Spec("forwarders", value: "N", help: "how many forwarders (default: one per core)")
    static let logLevel = Options.Spec(
        "log-level", "l", value: "LEVEL", help: "debug, info (default), warning or error")
    static let json = Options.Spec("json", help: "print JSON")
}

extension Options {
    func logLevel() throws(CommandFault) -> Log.Level {
        let name = self["log-level"] ?? "info"
        if let level = Log.Level(name: name) { return level }
        throw CommandFault(
            code: ExitCode.usage, message: "serverpyctl: `\(name)` is no log level; debug, info, warning and error are")
    }

    func count(_ name: String, _ range: ClosedRange<Int>) throws(CommandFault) -> Int? {
        do {
            return try integer(name, range)
        } catch {
            throw CommandFault(code: ExitCode.usage, message: "serverpyctl: \(error.reason)")
        }
    }
}

extension ConfigurationFile {
    /// The file and what it means; refusals become the contract's status and text. Warnings go to `check` only.
    static func load(_ options: Options) throws(CommandFault) -> (ConfigurationFile, Configuration, [Diagnostic]) {
        guard let path = options["config"] else {
            throw CommandFault(code: ExitCode.usage, message: "serverpyctl: a configuration is needed: -c FILE")
        }
        do {
            let file = try ConfigurationFile.read(path)
            let (configuration, warnings) = try file.configuration()
            return (file, configuration, warnings)
        } catch {
            throw CommandFault(
                code: ExitCode.configuration, message: String(error.text.dropLast()), headlines: error.headlines)
        }
    }
}

extension Command {
    static let start = Command(
        name: "start", operands: "-c FILE",
        summary: "Start the discovery daemon and the forwarders of a configuration, and supervise them.",
        details: """
            Runs in the foreground and prints one line `ready ...` on stderr when the first round of polls is done and every
            forwarder has applied its result. SIGTERM and SIGINT (Ctrl-C) drain and stop; the second one stops at once.
            """,
        options: [
            .config, .forwarders, Options.Spec("watch", help: "reload when the file changes"), .runtimeDirectory,
            .stateDirectory, .logLevel,
        ],
        example: "serverpyctl start -c deploy/example.json"
    ) { options throws(CommandFault) in
        let (file, configuration, _) = try ConfigurationFile.load(options)
        let forwarders = try options.count("forwarders", 1...Limits.forwarders)
        let settings = Supervisor.Settings(
            file: file, configuration: configuration,
            forwarders: forwarders ?? configuration.general.forwarders
                ?? min(Process.availableCores(), Limits.forwarders),
            runtimeDirectory: Directories.runtime(options["runtime-dir"]), stateDirectory: options["state-dir"],
            logLevel: try options.logLevel(), hasFixedForwarders: forwarders != nil, watches: options.has("watch"))
        return try supervise(settings) { _ in }
    }

    static func supervise(_ settings: Supervisor.Settings, whenReady: @escaping (borrowing Supervisor) -> Void)
        throws(CommandFault) -> Int32
    {
        do {
            var supervisor = try Supervisor.make(settings, whenReady: whenReady)
            return supervisor.run()
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: \(error.reason)")
        }
    }
}
