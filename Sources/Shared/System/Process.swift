import CLinux
import Glibc

/// How a child ended; see waitpid(2).
public enum ExitStatus: Equatable, Sendable, CustomStringConvertible {
    case exited(Int32)
    case signaled(Int32)

    public var description: String {
        switch self {
        case .exited(let code): "exited with status \(code)"
        case .signaled(let number): "killed by \(Signal(number))"
        }
    }
}

/// A program to start as a child.
public struct ChildProgram: Sendable {
    public var path: String
    /// The program itself where it is not to be what has the path now; `.none`: that.
    public var file: Descriptor = .none
    public var arguments: [String]
    public var environment: [(name: String, value: String)]
    /// Descriptors the child gets as 3, 4, ... in this order; LISTEN_FDS and LISTEN_PID say so (sd_listen_fds(3)).
    public var passed: [(name: String, descriptor: Descriptor)]
    /// The child's standard output and error; `.none` keeps ours.
    public var output: Descriptor = .none
    /// In a session of its own, away from our terminal, with /dev/null as its standard input; setsid(2).
    public var isDetached = false

    public init(
        path: String, arguments: [String], environment: [(name: String, value: String)],
        passed: [(name: String, descriptor: Descriptor)] = []
    ) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.passed = passed
    }
}

/// This process and its children.
public enum Process {
    public static var pid: Int32 { getpid() }
    public static var userID: UInt32 { geteuid() }

    /// Flushes nothing and runs no handlers: what had to be done is done.
    public static func exit(_ code: Int32) -> Never { Glibc.exit(code) }

    public static func environment(_ name: String) -> String? {
        guard let value = unsafe name.withCString({ unsafe getenv($0) }) else { return nil }
        return unsafe String(cString: value)
    }

    public static func unsetEnvironment(_ name: String) { _ = unsafe name.withCString { unsafe unsetenv($0) } }

    /// All variables, in the system's order.
    public static func environment() -> [(name: String, value: String)] {
        var result: [(String, String)] = []
        guard var pointer = unsafe clinux_environ() else { return result }
        while let entry = unsafe pointer.pointee {
            let text = unsafe String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                result.append((String(text[..<equals]), String(text[text.index(after: equals)...])))
            }
            unsafe pointer += 1
        }
        return result
    }

    /// This program's file. After a package update the link ends in " (deleted)".
    public static func executablePath() throws(Errno) -> String { try Files.readLink("/proc/self/exe") }

    /// Starts a child in a process group of its own with default signals, all of them blocked but those that say what has gone wrong
    /// inside: it unblocks what it has use for, and none ends it before it can. Throws what execve (or the set-up
    /// before it) failed with. Only for a process with one thread: the child runs ordinary code before execve.
    public static func start(_ program: ChildProgram) throws(Errno) -> Int32 {
        let (readEnd, writeEnd) = try Descriptor.pipe()
        try readEnd.setNonBlocking(false)
        let parent = getpid()
        let pid = clinux_fork()
        if pid == 0 {
            // The report moves above the numbers that the child's descriptors will take.
            let report = fcntl(writeEnd.rawValue, F_DUPFD_CLOEXEC, 3 + Int32(program.passed.count))
            var code = becomeProgram(program, parent: parent).rawValue
            _ = unsafe Glibc.write(report, &code, 4)
            Glibc._exit(127)
        }
        let forkError = Errno.last
        writeEnd.close()
        defer { readEnd.close() }
        if pid < 0 { throw forkError }
        var code: Int32 = 0
        while true {
            let count = unsafe Glibc.read(readEnd.rawValue, &code, 4)
            if count == 0 { return pid }
            if count == 4 { break }
            if Errno.last != .interrupted { return pid }
        }
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) < 0, Errno.last == .interrupted {}
        throw Errno(code)
    }

    /// In the child: returns only when something failed.
    private static func becomeProgram(_ program: ChildProgram, parent: Int32) -> Errno {
        if program.isDetached {
            guard setsid() >= 0 else { return Errno.last }
            let null = unsafe Glibc.open("/dev/null", O_RDWR)
            guard null >= 0, dup2(null, 0) >= 0 else { return Errno.last }
            if null > 0 { _ = Glibc.close(null) }
        } else {
            guard setpgid(0, 0) == 0 else { return Errno.last }
            // A daemon asks for this itself, too; a program that hangs before it can must not hold the port either.
            guard dieWithParent(.kill, expected: parent) else { return .noProcess }
        }
        for number in Int32(1)...64 { Glibc.signal(number, SIG_DFL) }
        SignalQueue.begin()
        Glibc.signal(SIGPIPE, SIG_DFL)
        Glibc.signal(SIGXFSZ, SIG_DFL)
        // First out of the way of the numbers to be filled, then into place.
        var copies: [Int32] = []
        for entry in program.passed {
            let copy = fcntl(entry.descriptor.rawValue, F_DUPFD_CLOEXEC, 3 + Int32(program.passed.count))
            guard copy >= 0 else { return Errno.last }
            copies.append(copy)
        }
        var file = Descriptor.none
        if program.file.isOpen {
            file = Descriptor(fcntl(program.file.rawValue, F_DUPFD_CLOEXEC, 3 + Int32(program.passed.count)))
            guard file.isOpen else { return Errno.last }
        }
        let output =
            program.output.isOpen
            ? fcntl(program.output.rawValue, F_DUPFD_CLOEXEC, 3 + Int32(program.passed.count)) : -1
        for (index, copy) in copies.enumerated() {
            guard dup2(copy, 3 + Int32(index)) >= 0 else { return Errno.last }
        }
        if program.output.isOpen { guard dup2(output, 1) >= 0, dup2(output, 2) >= 0 else { return Errno.last } }
        // What our own parent has left open is not theirs: close_range(2), since Linux 5.11 with this flag.
        _ = clinux_syscall(436, 3 + program.passed.count, Int(UInt32.max), Int(CLINUX_CLOSE_RANGE_CLOEXEC), 0)
        var environment = program.environment.filter { !$0.name.hasPrefix("LISTEN_") }
        if !program.passed.isEmpty {
            environment.append(("LISTEN_PID", String(getpid())))
            environment.append(("LISTEN_FDS", String(program.passed.count)))
            environment.append(("LISTEN_FDNAMES", program.passed.map(\.name).joined(separator: ":")))
        }
        return execute(program.path, file, program.arguments, environment)
    }

    /// Puts another program in this process's place. Returns only when that failed.
    private static func execute(
        _ path: String, _ file: Descriptor, _ arguments: [String], _ environment: [(name: String, value: String)]
    ) -> Errno {
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe ([path] + arguments).map { unsafe strdup($0) }
        unsafe arguments.append(nil)
        var variables: [UnsafeMutablePointer<CChar>?] = unsafe environment.map {
            unsafe strdup("\($0.name)=\($0.value)")
        }
        unsafe variables.append(nil)
        defer { unsafe (arguments + variables).forEach { unsafe free($0) } }
        if file.isOpen {
            _ = unsafe fexecve(file.rawValue, &arguments, &variables)
            // A script cannot be executed by a descriptor that its interpreter does not get.
            if Errno.last != .noEntry { return Errno.last }
        }
        _ = unsafe execve(path, &arguments, &variables)
        return Errno.last
    }

    /// Puts another program in this process's place: its number, children and descriptors without close-on-exec stay. The
    /// corresponding C function is execve(2).
    public static func become(
        _ path: String, arguments: [String], environment: [(name: String, value: String)]
    ) throws(Errno) {
        throw execute(path, .none, arguments, environment)
    }

    /// Waits for the end of one child.
    public static func wait(_ pid: Int32) throws(Errno) -> ExitStatus {
        var status: Int32 = 0
        _ = try retrying { unsafe waitpid(pid, &status, 0) }
        let signal = status & 0x7f
        return signal == 0 ? .exited(status >> 8 & 0xff) : .signaled(signal)
    }

    /// Collects one ended child without waiting; nil when none has ended.
    public static func reap() -> (pid: Int32, status: ExitStatus)? {
        var status: Int32 = 0
        while true {
            let pid = unsafe waitpid(-1, &status, WNOHANG)
            if pid < 0, Errno.last == .interrupted { continue }
            guard pid > 0 else { return nil }
            let signal = status & 0x7f
            return (pid, signal == 0 ? .exited(status >> 8 & 0xff) : .signaled(signal))
        }
    }

    /// The corresponding C function is kill(2). A process that is gone is not an error.
    public static func signal(_ pid: Int32, _ signal: Signal) { signal.send(to: pid) }

    /// To a child that was started here, and to all that it has started: it leads a group of its own. After its end too, when only
    /// what it has left is meant: the number is not given to another process as long as the group has a member.
    public static func signalGroup(_ pid: Int32, _ signal: Signal) { if pid > 1 { signal.send(to: -pid) } }

    /// Whether a process of this number exists (it may be another one meanwhile).
    public static func exists(_ pid: Int32) -> Bool { Glibc.kill(pid, 0) == 0 || Errno.last == .notPermitted }

    /// Sends `signal` to this process when its parent's thread ends. Returns false when the parent is already
    /// another than `expected`. The corresponding C function is prctl(2), PR_SET_PDEATHSIG.
    public static func dieWithParent(_ signal: Signal, expected parent: Int32) -> Bool {
        _ = clinux_prctl(Int32(CLINUX_PR_SET_PDEATHSIG), UInt(signal.number), 0, 0, 0)
        return getppid() == parent
    }

    /// The name that ps(1) and top(1) show, at most 15 bytes. The corresponding C function is prctl(2), PR_SET_NAME.
    public static func setName(_ name: String) {
        _ = unsafe name.withCString {
            clinux_prctl(Int32(CLINUX_PR_SET_NAME), UInt(bitPattern: Int(bitPattern: $0)), 0, 0, 0)
        }
    }

    /// Gives memory that is free back to the system. The corresponding C function is malloc_trim(3).
    public static func returnFreeMemory() { _ = malloc_trim(0) }

    /// Raises the soft limit of open files to the hard one and returns it. setrlimit(2).
    @discardableResult
    public static func raiseOpenFileLimit() -> Int {
        var limit = rlimit()
        guard unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit)
        return Int(clamping: limit.rlim_cur)
    }

    /// Cores given to this process by its affinity mask, sched_getaffinity(2), and its control group's quota; at least 1.
    public static func availableCores() -> Int {
        var mask = [UInt64](repeating: 0, count: 128)
        let size = unsafe mask.withUnsafeMutableBytes { unsafe sched_getaffinity(0, $0.count, $0.baseAddress) }
        guard size == 0 else { return 1 }
        let allowed = max(1, mask.reduce(0) { $0 + $1.nonzeroBitCount })
        return min(allowed, CoreQuota.current() ?? allowed)
    }

    public static func hostName() -> String {
        var bytes = [CChar](repeating: 0, count: 256)
        guard unsafe gethostname(&bytes, 255) == 0 else { return "localhost" }
        return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Another process's end as an event; see pidfd_open(2).
public struct ProcessExit: ~Copyable {
    private let descriptor: Descriptor

    public init(pid: Int32) throws(Errno) {
        descriptor = Descriptor(try retrying { Int32(truncatingIfNeeded: clinux_syscall(434, Int(pid), 0, 0, 0)) })
    }

    deinit { descriptor.close() }

    /// Waits for the end; false when the time is over first.
    public func wait(timeoutMilliseconds: UInt64) -> Bool {
        guard let queue = try? EventQueue(eventsPerTurn: 1),
            (try? queue.add(descriptor, token: 0, interest: [.readable])) != nil
        else {
            return false
        }
        let end = Clock.monotonicMilliseconds().addingReportingOverflow(timeoutMilliseconds)
        while true {
            let now = Clock.monotonicMilliseconds()
            let end = end.overflow ? UInt64.max : end.partialValue
            if now >= end { return false }
            if let count = try? queue.wait(timeoutMilliseconds: Int32(clamping: end - now)), count > 0 { return true }
        }
    }
}
