import Shared

/// `start --detach`: the supervisor runs in a session of its own; this process passes on what it says until it is ready, and ends.
enum Detaching {
    private static let variable = "SERVERPY_DETACHED"

    /// This is the one that goes on.
    static let isDetached: Bool = {
        defer { Process.unsetEnvironment(variable) }
        return Process.environment(variable) != nil
    }()

    static func start() throws(CommandFault) -> Int32 {
        SignalQueue.restoreChildSignal()
        do {
            let (reading, writing) = try Descriptor.pipe()
            var program = ChildProgram(
                path: try Process.executablePath(), arguments: Array(CommandLine.arguments.dropFirst()),
                environment: Process.environment() + [(variable, "1")])
            program.output = writing
            program.isDetached = true
            // Whoever interrupts this process means that one.
            let signals = try SignalQueue([.interrupt, .terminate, .quit, .hangUp])
            let queue = try EventQueue()
            try queue.add(reading, token: 0, interest: [.readable])
            try queue.add(signals.descriptor, token: 1, interest: [.readable])
            let pid = try Process.start(program)
            writing.close()
            return try follow(reading, signals, queue, pid)
        } catch let fault as CommandFault {
            throw fault
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: it cannot be started: \(error)")
        }
    }

    private static func follow(
        _ reading: Descriptor, _ signals: SignalQueue, _ queue: borrowing EventQueue, _ pid: Int32
    ) throws -> Int32 {
        var rest: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: Limits.childOutputBytesPerTurn)
        while true {
            _ = try queue.wait(timeoutMilliseconds: 1000)
            // A terminal that is closed ends what it was asked for here; the other one would take it for a reload.
            while let signal = signals.next() { (signal == .hangUp ? .terminate : signal).send(to: pid) }
            while true {
                var span = chunk.mutableSpan
                guard let count = reading.read(into: &span).count else { break }
                if count == 0 {
                    try? Descriptor.standardError.writeAll(rest)
                    if case .exited(let code) = try Process.wait(pid), code != ExitCode.done { return code }
                    throw CommandFault(
                        code: ExitCode.failed, message: "serverpyctl: it ended before it was ready")
                }
                rest.append(contentsOf: chunk[..<count])
                while let end = rest.firstIndex(of: 0x0a) {
                    let line = Array(rest[...end])
                    rest.removeFirst(end + 1)
                    try? Descriptor.standardError.writeAll(line)
                    if line.starts(with: "ready: ".utf8) { return ExitCode.done }
                }
            }
        }
    }
}
