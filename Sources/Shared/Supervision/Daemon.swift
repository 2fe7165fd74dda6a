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
        if let supervisor = Process.environment(Self.supervisorVariable),
            let pid = DecimalDigits.parse(supervisor.utf8, max: UInt64(Int32.max))
        {
            Process.unsetEnvironment(Self.supervisorVariable)
            guard Process.dieWithParent(.kill, expected: Int32(pid)) else { return nil }
        }
        SignalQueue.ignoreBrokenPipes()
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
    ]
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
