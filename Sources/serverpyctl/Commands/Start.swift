import Shared

extension Options.Spec {
    static let config = Options.Spec("config", "c", value: "FILE", help: "the configuration, JSON or YAML")
    static let runtimeDirectory = Options.Spec("runtime-dir", value: "DIR", help: "where the sockets are")
    static let stateDirectory = Options.Spec("state-dir", value: "DIR", help: "where state is kept")
    static let forwarders = Options.Spec("forwarders", value: "N", help: "how many forwarders (default: one per core)")
    static let user = Options.Spec(
        "user", value: "USER[:GROUP]", help: "become this user once the ports are open (as root)")
    static let detach = Options.Spec("detach", help: "return when it is ready; it goes on in the background")
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
        name: "start", operands: "[FILE]",
        summary: "Start the discovery daemon and the forwarders of a configuration, and supervise them.",
        details: """
            Runs in the foreground and prints one line `ready ...` on stderr when the first round of polls is done and every
            forwarder has applied its result. SIGTERM and SIGINT (Ctrl-C) drain and stop; the second one stops at once. SIGHUP
            reloads, SIGUSR1 opens log files anew.
            """,
        options: [
            .config, .forwarders, Options.Spec("watch", help: "reload when the file changes"), .detach, .user,
            .runtimeDirectory, .stateDirectory, .logLevel,
        ],
        example: "serverpyctl start -c deploy/example.json"
    ) { options throws(CommandFault) in
        let handover = try takeHandover()
        if options.has("detach"), !Detaching.isDetached, handover == nil { return try Detaching.start() }
        // Before it is read: what changes afterwards is seen.
        let fingerprint = (try? Files.fingerprint(options["config"] ?? "")) ?? []
        let (file, configuration): (ConfigurationFile, Configuration)
        if let handover {
            (file, configuration) = try ConfigurationFile.inForce(handover)
        } else {
            (file, configuration, _) = try ConfigurationFile.load(options)
        }
        let forwarders = try options.count("forwarders", 1...Limits.forwarders)
        let stateBase: String
        do throws(StartFault) { stateBase = try Directories.stateBase(options["state-dir"]) } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: \(error.reason)")
        }
        var settings = Supervisor.Settings(
            file: file, configuration: configuration,
            forwarders: forwarders ?? configuration.general.forwarders
                ?? min(Process.availableCores(), Limits.forwarders),
            runtimeDirectory: Directories.runtime(options["runtime-dir"]),
            stateDirectory: stateBase,
            logLevel: try options.logLevel(), hasFixedForwarders: forwarders != nil, watches: options.has("watch"))
        settings.fingerprint = fingerprint
        settings.isDetached = Detaching.isDetached
        if let name = options["user"], handover == nil {
            do throws(User.Fault) {
                settings.user = try User.find(name)
            } catch {
                throw CommandFault(code: ExitCode.failed, message: "serverpyctl: --user: \(error.reason)")
            }
        }
        if let handover {
            // Another user's defaults, once privileges have been dropped, would be others.
            settings.runtimeDirectory = handover.0.runtimeDirectory
            settings.stateDirectory = handover.0.stateDirectory
            settings.fingerprint = handover.0.fingerprint
            settings.forwarders = handover.0.forwarders
            settings.hasFixedForwarders = handover.0.hasFixedForwarders
            return try supervise { () throws(StartFault) in try Supervisor.resume(settings, handover.0) }
        }
        return try supervise { () throws(StartFault) in try Supervisor.make(settings) { _ in } }
    }

    /// What a supervisor in this process has left for us; nil where there was none.
    private static func takeHandover() throws(CommandFault) -> (Handover, configuration: [UInt8])? {
        do {
            return try Handover.take()
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: \(error.reason)")
        }
    }

    static func supervise(_ make: () throws(StartFault) -> Supervisor) throws(CommandFault) -> Int32 {
        do {
            var supervisor = try make()
            return supervisor.run()
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: \(error.reason)")
        }
    }
}

extension ConfigurationFile {
    /// The bytes that are in force, whatever the file holds now.
    static func inForce(_ handover: (Handover, configuration: [UInt8])) throws(CommandFault) -> (
        ConfigurationFile, Configuration
    ) {
        let file = ConfigurationFile(path: handover.0.configurationPath, bytes: handover.configuration)
        do {
            return (file, try file.configuration().0)
        } catch {
            throw CommandFault(code: ExitCode.configuration, message: String(error.text.dropLast()))
        }
    }
}
