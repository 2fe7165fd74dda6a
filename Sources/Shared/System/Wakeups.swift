import CLinux
import Glibc

/// A descriptor that becomes readable when another thread calls `signal`; see eventfd(2).
public struct WakeUp: Sendable {
    public let descriptor: Descriptor

    public init() throws(Errno) {
        descriptor = Descriptor(try retrying { eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC)) })
    }

    /// May be called from any thread.
    public func signal() {
        var one: UInt64 = 1
        while unsafe Glibc.write(descriptor.rawValue, &one, 8) < 0, Errno.last == .interrupted {}
    }

    public func drain() {
        var value: UInt64 = 0
        _ = unsafe Glibc.read(descriptor.rawValue, &value, 8)
    }
}

/// A signal as an event; see signal(7).
public struct Signal: Equatable, Hashable, Sendable, CustomStringConvertible {
    public let number: Int32
    public init(_ number: Int32) { self.number = number }

    public static let interrupt = Signal(SIGINT)
    public static let terminate = Signal(SIGTERM)
    public static let hangUp = Signal(SIGHUP)
    public static let kill = Signal(SIGKILL)
    public static let user1 = Signal(SIGUSR1)
    public static let user2 = Signal(SIGUSR2)
    public static let alarm = Signal(SIGALRM)
    public static let brokenPipe = Signal(SIGPIPE)
    public static let child = Signal(SIGCHLD)
    public static let quit = Signal(SIGQUIT)
    public static let resized = Signal(SIGWINCH)
    public static let stop = Signal(SIGSTOP)
    public static let stopFromTerminal = Signal(SIGTSTP)
    public static let goOn = Signal(SIGCONT)

    /// The corresponding C function is kill(2). A process that is gone is not an error.
    public func send(to pid: Int32) { _ = Glibc.kill(pid, number) }

    public var description: String {
        switch self {
        case .interrupt: "SIGINT"
        case .terminate: "SIGTERM"
        case .hangUp: "SIGHUP"
        case .kill: "SIGKILL"
        case .user1: "SIGUSR1"
        case .child: "SIGCHLD"
        case .quit: "SIGQUIT"
        default: "signal \(number)"
        }
    }
}

/// Signals delivered as readable events instead of interruptions; see signalfd(2).
public struct SignalQueue: Sendable {
    public let descriptor: Descriptor

    /// The first thing that a program does: from here on no signal ends it or interrupts it but those that say what has gone wrong
    /// inside it, those that stop and continue it, and `leaving`. What it has use for is queued by `init`; the rest never comes.
    public static func begin(leaving: [Signal] = []) {
        var set = sigset_t()
        unsafe sigfillset(&set)
        let own = [
            SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU,
        ]
        for number in own + leaving.map(\.number) { unsafe sigdelset(&set, number) }
        unsafe sigprocmask(SIG_SETMASK, &set, nil)
        ignoreBrokenPipes()
    }

    /// Blocks `signals` for this thread (and those it starts later) and queues them here.
    public init(_ signals: [Signal]) throws(Errno) {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in signals { unsafe sigaddset(&set, signal.number) }
        unsafe sigprocmask(SIG_BLOCK, &set, nil)
        descriptor = Descriptor(
            try retrying { unsafe signalfd(-1, &set, Int32(SFD_NONBLOCK) | Int32(SFD_CLOEXEC)) })
    }

    /// The next signal that has arrived, nil when there is none.
    public func next() -> Signal? {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        let count = unsafe Glibc.read(descriptor.rawValue, &info, size)
        return count == size ? Signal(Int32(truncatingIfNeeded: info.ssi_signo)) : nil
    }

    /// What a parent may have left ignored, and what a supervisor must hear: ended children.
    public static func restoreChildSignal() { Glibc.signal(SIGCHLD, SIG_DFL) }

    /// A write to a closed connection is an error code, not a death.
    ///
    /// Likewise SIGXFSZ: a write beyond a file size limit gives EFBIG.
    public static func ignoreBrokenPipes() {
        Glibc.signal(SIGPIPE, SIG_IGN)
        Glibc.signal(SIGXFSZ, SIG_IGN)
    }
}
