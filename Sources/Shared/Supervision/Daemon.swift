/// What both daemons do first, whoever started them.
public struct Daemon: Sendable {
    public let log: Log
    public let notifier: Notifier
    public let inherited: InheritedDescriptors
    /// The supervisor's socketpair; nil without serverpyctl.
    public let control: Descriptor?
    public let openFiles: Int

    /// The variable by which serverpyctl gives its process id to its children.
    public static let supervisorVariable = "SERVERPY_SUPERVISOR"

    /// Nil: the supervisor is gone already, so there is nothing to do.
    public init?(program: String, level: Log.Level) {
        Limits.check()
        Descriptor.openStandard()
        Process.setName(String(program.prefix { $0 != " " }))
        if let supervisor = Process.environment(Self.supervisorVariable),
            let pid = DecimalDigits.parse(supervisor.utf8, max: UInt64(Int32.max))
        {
            Process.unsetEnvironment(Self.supervisorVariable)
            guard Process.dieWithParent(.kill, expected: Int32(pid)) else { return nil }
        }
        openFiles = Process.raiseOpenFileLimit()
        log = Log(program: program, level: level)
        inherited = InheritedDescriptors.take()
        notifier = Notifier()
        control = inherited.first("control")
    }

    public static let commonOptions = [
        Options.Spec("runtime-dir", value: "DIR", help: "where the sockets are"),
        Options.Spec("state-dir", value: "DIR", help: "where state is kept"),
        Options.Spec("log-level", "l", value: "LEVEL", help: "debug, info (default), warning or error"),
        Options.Spec("help", "h", help: "print this help"),
        Options.Spec("version", help: "print the version"),
        Options.Spec("self-test", help: "see whether this program can work here, and say its version"),
    ]
}

extension Daemon {
    /// What the command line of a daemon led to.
    public enum Begin {
        case run(Options, Log.Level)
        /// Answered, or refused: exit with this status.
        case exit(Int32)
    }

    /// Reads the command line; answers `--help` and `--version`, refuses what is wrong with the usage.
    public static func begin(program: String, usage: String, _ specs: [Options.Spec], requires: String? = nil) -> Begin
    {
        SignalQueue.begin()
        func refuse(_ reason: String) -> Begin {
            try? Descriptor.standardError.writeAll(Array("\(program): \(reason)\n\(usage)".utf8))
            return .exit(ExitCode.usage)
        }
        let options: Options
        do {
            options = try Options(Array(CommandLine.arguments.dropFirst()), commonOptions + specs)
        } catch {
            return refuse(error.reason)
        }
        if options.has("self-test") {
            Limits.check()
            do {
                _ = try EventLoop.makeForStart()
            } catch {
                return refuse(error.reason)
            }
        }
        if options.has("help") || options.has("version") || options.has("self-test") {
            let text = options.has("help") ? usage : "\(program) \(Version.current)\n"
            try? Descriptor.standardOutput.writeAll(Array(text.utf8))
            return .exit(ExitCode.done)
        }
        if let operand = options.operands.first { return refuse("`\(operand)` is not expected") }
        if let requires, options[requires] == nil { return refuse("`--\(requires)` is needed") }
        let name = options["log-level"] ?? "info"
        guard let level = Log.Level(name: name) else {
            return refuse("`\(name)` is no log level; debug, info, warning and error are")
        }
        return .run(options, level)
    }
}

/// Exit statuses of the interface contract; 64 and 78 are those of sysexits.h.
public enum ExitCode {
    public static let done: Int32 = 0
    public static let failed: Int32 = 1
    public static let usage: Int32 = 64
    public static let notRunning: Int32 = 69
    public static let configuration: Int32 = 78
}

/// Why a program does not start.
public struct StartFault: Error, Sendable {
    public let reason: String
    public init(_ reason: String) { self.reason = reason }
}

extension EventLoop {
    /// A loop, or the reason why there is none as a sentence.
    public static func makeForStart() throws(StartFault) -> EventLoop {
        do {
            return try EventLoop()
        } catch {
            throw StartFault("the event loop cannot be set up: \(error)")
        }
    }
}
