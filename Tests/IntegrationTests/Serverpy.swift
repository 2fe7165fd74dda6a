import Foundation
import Shared
import Synchronization

/// The built programs, run as a user runs them.
enum Programs {
    /// Where the test runner itself was built, the programs are too.
    static let directory: String = {
        if let given = ProcessInfo.processInfo.environment["SERVERPY_BUILD"] { return given }
        let runner = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
            .deletingLastPathComponent().path
        if FileManager.default.isExecutableFile(atPath: runner + "/serverpyctl") { return runner }
        return repository + "/.build/debug"
    }()

    static let repository: String = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
        .deletingLastPathComponent().path

    /// Runs to the end; at most 30 s.
    static func run(_ arguments: [String], program: String = "serverpyctl", directory: String = Programs.directory)
        throws -> (
            status: Int32, output: String, errors: String
        )
    {
        let running = try Running(program: program, arguments: arguments, directory: directory)
        let status = running.waitForExit(seconds: 30)
        return (status ?? -1, running.output.joined(separator: "\n"), running.errors.joined(separator: "\n"))
    }
}

/// A process whose lines can be waited for.
final class Running: Sendable {
    private struct Lines {
        var output: [String] = []
        var errors: [String] = []
        var openStreams = 2
        var exited = false
    }

    private final class Shared: Sendable {
        let lines = Mutex(Lines())
        let changed = NSCondition()

        func update(_ body: (inout Lines) -> Void) {
            changed.lock()
            lines.withLock { body(&$0) }
            changed.broadcast()
            changed.unlock()
        }

        /// Waits until `condition` holds.
        func wait(seconds: Double, _ condition: (Lines) -> Bool) -> Bool {
            let end = Date(timeIntervalSinceNow: seconds)
            changed.lock()
            defer { changed.unlock() }
            while !lines.withLock({ condition($0) }) {
                if !changed.wait(until: end) { return lines.withLock { condition($0) } }
            }
            return true
        }
    }

    private let process: Foundation.Process
    private let shared = Shared()

    var output: [String] { shared.lines.withLock { $0.output } }
    var errors: [String] { shared.lines.withLock { $0.errors } }
    var pid: Int32 { process.processIdentifier }

    init(program: String, arguments: [String], directory: String = Programs.directory) throws {
        process = Foundation.Process()
        process.executableURL = URL(fileURLWithPath: program.hasPrefix("/") ? program : directory + "/" + program)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        let (output, errors) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = errors
        let shared = shared
        process.terminationHandler = { _ in shared.update { $0.exited = true } }
        try process.run()
        Self.follow(output.fileHandleForReading, shared) { $0.output.append($1) }
        Self.follow(errors.fileHandleForReading, shared) { $0.errors.append($1) }
    }

    private static func follow(
        _ handle: FileHandle, _ shared: Shared, _ add: @escaping @Sendable (inout Lines, String) -> Void
    ) {
        let descriptor = handle.fileDescriptor
        Thread.detachNewThread {
            var rest: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 65536)
            while true {
                var span = chunk.mutableSpan
                guard let count = Descriptor(descriptor).read(into: &span).count, count > 0 else { break }
                rest += chunk[..<count]
                while let newline = rest.firstIndex(of: 0x0a) {
                    let line = String(decoding: rest[..<newline], as: UTF8.self)
                    rest.removeFirst(newline + 1)
                    shared.update { add(&$0, line) }
                }
            }
            let last = String(decoding: rest, as: UTF8.self)
            shared.update {
                if !last.isEmpty { add(&$0, last) }
                $0.openStreams -= 1
            }
            try? handle.close()
        }
    }

    /// The first line on stderr that holds `text`; nil when none comes in time or the process ends without it.
    func waitForError(_ text: String, seconds: Double = 30) -> String? {
        _ = shared.wait(seconds: seconds) { lines in
            lines.errors.contains { $0.contains(text) } || lines.exited && lines.openStreams == 0
        }
        return errors.first { $0.contains(text) }
    }

    func waitForOutput(_ text: String, seconds: Double = 30) -> String? {
        _ = shared.wait(seconds: seconds) { lines in
            lines.output.contains { $0.contains(text) } || lines.exited && lines.openStreams == 0
        }
        return output.first { $0.contains(text) }
    }

    /// The exit status (128 + signal when killed); nil when it does not end in time.
    func waitForExit(seconds: Double = 20) -> Int32? {
        guard shared.wait(seconds: seconds, { $0.exited && $0.openStreams == 0 }) else { return nil }
        return process.terminationReason == .uncaughtSignal
            ? 128 + process.terminationStatus : process.terminationStatus
    }

    func signal(_ signal: Signal) { signal.send(to: pid) }

    deinit { if process.isRunning { Signal.kill.send(to: process.processIdentifier) } }
}

/// A serverpy started from a configuration with ports chosen by the system.
final class Serverpy {
    let running: Running
    let directory: String
    /// Instances that live as long as it does.
    var instances: [StubInstance] = []
    private(set) var requests: UInt16 = 0
    private(set) var discovery: UInt16 = 0

    var runtimeDirectory: String { directory + "/run" }

    /// `services`: the configuration without `meta-info`, as JSON members. `forwarders`: nil leaves it to the configuration.
    /// `program` and `before`: how serverpyctl is run, if not directly. `command`: what stands before the configuration's path.
    init(
        _ services: String, forwarders: Int? = 2, extra: [String] = [], general: String = "",
        program: String = "serverpyctl", before: [String] = [], command: [String] = ["start", "-c"]
    ) throws {
        directory = try Self.temporaryDirectory()
        let path = directory + "/c.json"
        try Self.write(services, general, to: path)
        running = try Running(
            program: program,
            arguments: before + command + [
                path, "--runtime-dir", directory + "/run", "--state-dir", directory + "/state",
            ]
                + (forwarders.map { ["--forwarders", String($0)] } ?? []) + extra)
    }

    private static func write(_ services: String, _ general: String, to path: String) throws {
        let ports = general.contains("request_processor_port") ? "" : "\"request_processor_port\": 0, "
        let text =
            "{\(services), \"meta-info\": {\"discovery_server_port\": 0, \(ports)\"request_processor_host\": \"127.0.0.1\"\(general)}}"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    /// Replaces the configuration file.
    func configure(_ services: String, general: String = "") throws {
        try Self.write(services, general, to: directory + "/c.json")
    }

    /// `serverpyctl reload`.
    func reload(_ options: [String] = []) throws -> (status: Int32, output: String, errors: String) {
        try Programs.run(["reload", "--runtime-dir", runtimeDirectory] + options)
    }

    static func temporaryDirectory() throws -> String {
        let path = "/tmp/serverpy-test-" + String(SystemRandom.word(), radix: 36)
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        return path
    }

    /// Waits for the ready line and learns the ports from it.
    @discardableResult
    func ready() throws -> Serverpy {
        guard let line = running.waitForError("ready: ") else {
            throw Client.Fault(description: "not ready: \(running.errors)")
        }
        let ports = line.split(separator: "http://127.0.0.1:").dropFirst().compactMap {
            UInt16($0.prefix { $0.isNumber })
        }
        guard ports.count == 2 else { throw Client.Fault(description: "no ports in \(line)") }
        (requests, discovery) = (ports[0], ports[1])
        return self
    }

    /// Stops it and returns its exit status.
    @discardableResult
    func stop(_ signal: Signal = .terminate) -> Int32? {
        running.signal(signal)
        return running.waitForExit()
    }

    /// The supervisor's children by the names in `status`.
    func processes() throws -> [(name: String, pid: Int32)] {
        let status = try Programs.run(["status", "--json", "--runtime-dir", runtimeDirectory])
        let root = try JSONReader.parse(Array(status.output.utf8)).root
        return (root["processes"]?.elements ?? root.elements).map {
            ($0["name"]?.string ?? "", Int32($0["pid"]?.unsigned ?? 0))
        }
    }

    func pids(_ prefix: String) throws -> [Int32] { try processes().filter { $0.name.hasPrefix(prefix) }.map(\.pid) }

    /// What `status` and `stats` of an instance show: waits for a line of the snapshot channel that satisfies `condition`.
    func waitForSnapshot(seconds: Double = 15, _ condition: @escaping (String) -> Bool) throws -> Bool {
        var channel = LineChannel(try UnixSocket.connect(.stream, path: runtimeDirectory + "/discovery.sock"))
        defer { channel.descriptor.close() }
        let queue = try EventQueue(eventsPerTurn: 1)
        try queue.add(channel.descriptor, token: 0, interest: [.readable])
        let end = Date(timeIntervalSinceNow: seconds)
        while end.timeIntervalSinceNow > 0 {
            _ = try queue.wait(timeoutMilliseconds: Int32(max(0, end.timeIntervalSinceNow * 1000)))
            _ = try channel.receive()
            while let line = try channel.nextLine() {
                if condition(String(decoding: line, as: UTF8.self)) { return true }
            }
        }
        return false
    }

    deinit {
        running.signal(.terminate)
        if running.waitForExit() == nil { running.signal(.kill) }
        try? FileManager.default.removeItem(atPath: directory)
    }
}

/// A sample instance in a process of its own, which can be killed and started again on its port.
final class Sample {
    let name: String
    private(set) var port: UInt16 = 0
    private(set) var running: Running

    init(_ name: String, port: UInt16? = nil) throws {
        self.name = name
        running = try Running(
            program: "serverpyctl",
            arguments: ["sample", "--name", name] + (port.map { ["--port", String($0)] } ?? []))
        if let port {
            self.port = port
        } else {
            guard let line = running.waitForOutput("listening on 127.0.0.1:"),
                let found = UInt16(line.split(separator: ":").last ?? "")
            else {
                throw Client.Fault(description: "the sample does not listen: \(running.errors)")
            }
            self.port = found
        }
    }

    func kill() {
        running.signal(.kill)
        _ = running.waitForExit()
    }

    func startAgain() throws {
        running = try Running(program: "serverpyctl", arguments: ["sample", "--name", name, "--port", String(port)])
    }

    deinit { running.signal(.kill) }
}
