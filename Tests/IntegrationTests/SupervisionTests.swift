import Foundation
import Shared
import Testing

/// What serverpyctl is to its children, its terminal and the system around it.
@Suite struct SupervisionTests {
    private static let hasPython = FileManager.default.isExecutableFile(atPath: "/usr/bin/python3")
    private static let isRoot = getuid() == 0
    /// Namespaces of process numbers can be made here.
    private static let hasNamespaces =
        isRoot
        && (try? Programs.run(["--pid", "--fork", "--mount-proc", "true"], program: "/usr/bin/unshare").status) == 0

    private func start(extra: [String] = [], general: String = "") throws -> Serverpy {
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 2, extra: extra, general: general)
        serverpy.instances = [stub]
        return try serverpy.ready()
    }

    private func run(_ arguments: [String], _ serverpy: Serverpy) throws -> (
        status: Int32, output: String, errors: String
    ) { try Programs.run(arguments + ["--runtime-dir", serverpy.runtimeDirectory]) }

    // MARK: Logs

    @Test func logsShowWhatEveryProcessHasSaidAndFollow() throws {
        let serverpy = try start()
        let following = try Running(
            program: "serverpyctl", arguments: ["logs", "-f", "-n", "1", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(following.waitForOutput("is up (active") != nil, "\(following.output)")
        let victim = try #require(try serverpy.pids("forwarderd 1").first)
        Signal.kill.send(to: victim)
        #expect(following.waitForOutput("forwarderd 1 (pid \(victim)) killed by SIGKILL") != nil)
        let lines = try run(["logs", "--json"], serverpy).output.split(separator: "\n")
        for line in lines {
            let root = try JSONReader.parse(Array(line.utf8)).root
            #expect(root["program"]?.string != nil && root["message"]?.string != nil, "\(line)")
        }
        #expect(lines.contains { $0.contains("\"program\":\"discoveryd\"") && $0.contains("is up") })
        #expect(serverpy.stop() == 0)
        #expect(following.waitForExit() == 0, "it ends with serverpy")
        #expect(try run(["logs"], serverpy).status == 69)
    }

    /// Whatever a child says, such as a crash's last words, becomes a line of the log with its name.
    @Test func whatIsNoLineOfTheLogBecomesOne() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        for name in ["serverpyctl", "discoveryd"] {
            try FileManager.default.copyItem(atPath: Programs.directory + "/" + name, toPath: directory + "/" + name)
        }
        let script = "#!/bin/sh\nprintf 'fatal \\033[31merror\\n' >&2\nexec \(Programs.directory)/forwarderd \"$@\"\n"
        try Data(script.utf8).write(to: URL(fileURLWithPath: directory + "/forwarderd"))
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: directory + "/forwarderd")
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port]), forwarders: 1, program: directory + "/serverpyctl"
        ).ready()
        let pid = try #require(try serverpy.pids("forwarderd 0").first)
        let line = try #require(serverpy.running.waitForError("fatal"))
        #expect(line.hasSuffix("Z error forwarderd 0[\(pid)]: fatal \\x1b[31merror"), "\(line)")
    }

    @Test func aClosedStandardErrorStopsNobody() throws {
        let serverpy = try start(extra: ["--detach"])
        #expect(serverpy.running.waitForExit() == 0, "the one that was started by hand ends at `ready`")
        defer { _ = try? run(["stop"], serverpy) }
        let victim = try #require(try serverpy.pids("forwarderd").first)
        Signal.kill.send(to: victim)
        #expect(Eventually.holds { (try? run(["logs"], serverpy).output.contains("(pid \(victim)) killed")) == true })
        #expect(try run(["status", "--wait", "ready", "--timeout", "10"], serverpy).status == 0)
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
        #expect(try run(["stop"], serverpy).status == 0)
        #expect(try run(["status"], serverpy).status == 69)
    }

    @Test func detachingSaysWhyItDoesNotStart() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let result = try Programs.run([
            "start", "--detach", "-c", directory + "/none.json", "--runtime-dir", directory + "/run",
        ])
        #expect(result.status == 78 && result.errors.contains("none.json"), "\(result)")
    }

    @Test func detachingFailsWhereItEndsBeforeItIsReady() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        // It accepts and says nothing, so the first round of polls takes its time.
        let listener = try Socket.listen(on: .loopback(port: 0))
        defer { listener.close() }
        let port = try #require(try Socket.localAddress(listener)).port
        let text =
            "{\(StubInstance.service([port])), \"meta-info\": {\"discovery_server_port\": 0, \"request_processor_port\": 0}}"
        try Data(text.utf8).write(to: URL(fileURLWithPath: directory + "/c.json"))
        let detaching = try Running(
            program: "serverpyctl",
            arguments: [
                "start", "--detach", "-c", directory + "/c.json", "--runtime-dir", directory + "/run", "--state-dir",
                directory + "/state",
            ])
        #expect(Eventually.holds { FileManager.default.fileExists(atPath: directory + "/run/control.sock") })
        #expect(try Programs.run(["stop", "--runtime-dir", directory + "/run"]).status == 0)
        #expect(detaching.waitForExit() == 1)
        #expect(detaching.errors.last == "serverpyctl: it ended before it was ready", "\(detaching.errors)")
    }

    // MARK: What children get

    @Test func nothingThatOurParentHasLeftOpenReachesAChild() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port]), forwarders: 1, program: "/bin/sh",
            before: ["-c", "exec 9</etc/passwd; exec \"$0\" \"$@\"", Programs.directory + "/serverpyctl"]
        ).ready()
        func opens(_ pid: Int32) throws -> Bool {
            try Files.list("/proc/\(pid)/fd").contains { name in
                (try? Files.readLink("/proc/\(pid)/fd/\(name)")) == "/etc/passwd"
            }
        }
        #expect(try opens(serverpy.running.pid), "the supervisor has it")
        for process in try serverpy.processes() { #expect(try !opens(process.pid), "\(process.name)") }
    }

    // MARK: The system around it

    /// A socket unit's socket blocks: two who are woken for one connection, and one of them would never come back.
    @Test(.enabled(if: hasPython)) func aSocketThatSystemdHoldsIsUsedAndNeverWaitedFor() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        let text =
            "{\(StubInstance.service([stub.port])), \"meta-info\": {\"discovery_server_port\": 0, \"request_processor_port\": 1}}"
        try Data(text.utf8).write(to: URL(fileURLWithPath: directory + "/c.json"))
        // Opens a socket, passes it on as systemd does, and becomes serverpyctl.
        let script = """
            import os, socket, sys
            listener = socket.create_server(("127.0.0.1", 0))
            print(listener.getsockname()[1], flush=True)
            os.dup2(listener.fileno(), 3)
            os.set_inheritable(3, True)
            os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="requests", LISTEN_PID=str(os.getpid()))
            os.execv(sys.argv[1], sys.argv[1:])
            """
        let running = try Running(
            program: "/usr/bin/python3",
            arguments: [
                "-c", script, Programs.directory + "/serverpyctl", "start", "-c", directory + "/c.json",
                "--forwarders", "2", "--runtime-dir", directory + "/run", "--state-dir", directory + "/state",
            ])
        let line = try #require(running.waitForError("ready: request processor on http://127.0.0.1:"))
        let output = try #require(running.output.first)
        let port = try #require(UInt16(output))
        #expect(line.contains(":\(port),"), "\(line)")
        let flags = String(decoding: try Files.read("/proc/\(running.pid)/fdinfo/3", maxBytes: 999), as: UTF8.self)
            .split(separator: "\n").first { $0.hasPrefix("flags:") }
        let bits = try #require(flags?.split(separator: "\t").last.flatMap { Int($0, radix: 8) })
        #expect(bits & Int(O_NONBLOCK) != 0, "the socket does not block")
        for _ in 0..<50 { #expect(try Client.get(port, "/a").status == 200) }
        running.signal(.terminate)
        #expect(running.waitForExit() == 0)
    }

    @Test(.enabled(if: hasNamespaces)) func asPidOneItReapsStrangersAndEndsOnASignal() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port]), forwarders: 1, program: "/usr/bin/unshare",
            before: ["--pid", "--fork", "--mount-proc", "--kill-child", Programs.directory + "/serverpyctl"]
        ).ready()
        let status = try Programs.run(["status", "--json", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(try JSONReader.parse(Array(status.output.utf8)).root["pid"]?.unsigned == 1)
        let children = try Files.read(
            "/proc/\(serverpy.running.pid)/task/\(serverpy.running.pid)/children", maxBytes: 99)
        let first = try #require(
            Int32(String(decoding: children, as: UTF8.self).trimmingCharacters(in: .whitespaces)))
        // An orphan of another program, which pid 1 inherits.
        let enter = try Programs.run(
            ["--target", String(first), "--pid", "--mount", "sh", "-c", "(sleep 0.05 & echo started)"],
            program: "/usr/bin/nsenter")
        #expect(enter.output == "started")
        func zombies() throws -> Int {
            let text = String(
                decoding: try Files.read("/proc/\(first)/task/\(first)/children", maxBytes: 999), as: UTF8.self)
            return text.split(separator: " ").count - 2
        }
        #expect(Eventually.holds { (try? zombies()) == 0 }, "its children are discoveryd and a forwarderd only")
        Signal.terminate.send(to: first)
        #expect(serverpy.running.waitForExit() == 0)
    }

    @Test func topShowsTheStatusAndLeavesTheTerminalAsItWas() throws {
        let serverpy = try start()
        #expect(try run(["top"], serverpy).status == 64, "this is no terminal")
        // script(1) gives it one; its input comes after its first picture.
        let command =
            "stty rows 30 cols 100; stty -a > \(serverpy.directory)/before; \(Programs.directory)/serverpyctl top --runtime-dir \(serverpy.runtimeDirectory); echo status $?; stty -a > \(serverpy.directory)/after"
        let top = try Terminal(command)
        #expect(top.waitForText("q quit"), "\(top.text)")
        top.type("/no such service\n")
        #expect(top.waitForText("/no such service  space halts"))
        top.type("st")
        #expect(top.waitForText("order: status"))
        top.type("q")
        #expect(top.waitForText("status 0"), "\(top.text)")
        #expect(top.text.contains("forwarderd 1") && top.text.contains("\u{1b}[?1049l"), "\(top.text)")
        #expect(Eventually.holds { FileManager.default.fileExists(atPath: serverpy.directory + "/after") })
        let (before, after) = try (
            Files.read(serverpy.directory + "/before", maxBytes: 4096),
            Files.read(serverpy.directory + "/after", maxBytes: 4096)
        )
        #expect(
            Eventually.holds { before == (try? Files.read(serverpy.directory + "/after", maxBytes: 4096)) }, "\(after)")
    }

    @Test func colourIsForTerminalsAndNotForThoseWhoRefuseIt() throws {
        let serverpy = try start()
        #expect(!(try run(["status"], serverpy).output.contains("\u{1b}")))
        let status = "\(Programs.directory)/serverpyctl status --runtime-dir \(serverpy.runtimeDirectory); echo end"
        let coloured = try Terminal("env -u NO_COLOR TERM=xterm \(status)")
        #expect(coloured.waitForText("end\r") && coloured.text.contains("\u{1b}[32mready"), "\(coloured.text)")
        let plain = try Terminal("env NO_COLOR=1 TERM=xterm \(status)")
        #expect(plain.waitForText("end\r") && !plain.text.contains("\u{1b}"), "\(plain.text)")
    }
}

/// A shell command in a terminal of its own: script(1).
final class Terminal {
    private let process = Foundation.Process()
    private let input = Pipe()
    private let path: String

    init(_ command: String) throws {
        path = FileManager.default.temporaryDirectory.path + "/serverpy-terminal-\(UUID().uuidString)"
        process.executableURL = URL(fileURLWithPath: "/usr/bin/script")
        process.arguments = ["--quiet", "--flush", "--command", command, path]
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
    }

    var text: String {
        String(decoding: (try? Files.read(path, maxBytes: 1 << 20)) ?? [], as: UTF8.self)
    }

    func type(_ keys: String) { try? input.fileHandleForWriting.write(contentsOf: Data(keys.utf8)) }

    func waitForText(_ words: String) -> Bool { Eventually.holds { text.contains(words) } }

    deinit {
        if process.isRunning { process.terminate() }
        try? FileManager.default.removeItem(atPath: path)
    }
}
