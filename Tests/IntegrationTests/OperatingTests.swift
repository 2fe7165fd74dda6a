import Foundation
import Shared
import Testing

/// What an operator asks of a running serverpy.
@Suite struct OperatingTests {
    private func start(general: String = "") throws -> (Serverpy, Sample) {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            "\"s\": {\"servers\": [\"127.0.0.1:\(sample.port)\"], \"polling\": {\"method\": \"health\", \"endpoint\": \"/health\"}, \"apis\": [\"/hello\"]}",
            forwarders: 2, general: general)
        return (try serverpy.ready(), sample)
    }

    private func run(_ arguments: [String], _ serverpy: Serverpy) throws -> (
        status: Int32, output: String, errors: String
    ) {
        let result = try Programs.run(arguments + ["--runtime-dir", serverpy.runtimeDirectory])
        return (result.status, result.output, result.errors)
    }

    @Test func statusShowsProcessesServicesAndInstancesInEightyColumns() throws {
        let (serverpy, sample) = try start()
        #expect(try Client.get(serverpy.requests, "/hello").status == 200)
        let (status, text, _) = try run(["status"], serverpy)
        #expect(status == 0)
        let lines = text.split(separator: "\n")
        #expect(lines.allSatisfy { $0.count <= 80 }, "\(text)")
        #expect(lines.count { $0.hasPrefix("forwarderd ") && $0.contains(" ready ") } == 2, "\(text)")
        #expect(lines.contains { $0.hasPrefix("s ") && $0.contains(" 1/1 ") }, "\(text)")
        #expect(lines.contains { $0.contains("127.0.0.1:\(sample.port)") && $0.contains(" up ") }, "\(text)")
        let json = try JSONReader.parse(Array(try run(["status", "--json"], serverpy).output.utf8)).root
        let forwarder = try #require(json["processes"]?.elements.first { $0["name"]?.string == "forwarderd 0" })
        #expect((forwarder["memory_bytes"]?.unsigned ?? 0) > 100_000 && forwarder["snapshot"]?.string != nil)
        #expect(json["services"]?.elements.first { _ in true }?["requests"]?.unsigned == 1)
        #expect(json["instances"]?.count == 1)
    }

    @Test func statusWaitsForReadinessAndForTheEndOfADrain() throws {
        let (serverpy, _) = try start()
        #expect(try run(["status", "--wait", "ready", "--timeout", "10"], serverpy).status == 0)
        #expect(try run(["status", "--wait", "drained", "--timeout", "10"], serverpy).status == 0)
        #expect(try run(["status", "--wait", "sleepy"], serverpy).status == 64)
        let directory = serverpy.directory + "/nobody"
        let result = try Programs.run(["status", "--wait", "ready", "--timeout", "0", "--runtime-dir", directory])
        #expect(result.status == 1 && result.errors.contains("not ready after 0 s"), "\(result.errors)")
    }

    @Test func statsAndDumpComeWholeAlsoThroughAToken() throws {
        let (serverpy, sample) = try start(general: ", \"discovery_token\": \"secret-words-of-a-token\"")
        let stats = try run(["stats", "--service", "s"], serverpy)
        #expect(stats.status == 0 && stats.output.contains("\"instance_url\":\"127.0.0.1:\(sample.port)\""))
        #expect(!stats.output.contains("secret-words"))
        let file = serverpy.directory + "/dump.json"
        #expect(try run(["dump", "-o", file], serverpy).status == 0)
        let text = String(decoding: try Files.read(file, maxBytes: 1 << 20), as: UTF8.self)
        #expect(text.contains("\"stats_packets\"") && text.hasSuffix("\"complete\":true}\n"))
        // A link is followed, a device is written to, and both stay what they are.
        let link = serverpy.directory + "/link"
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "linked.json")
        #expect(try run(["dump", "-o", link], serverpy).status == 0)
        #expect(try Files.status(link).kind == .symbolicLink)
        #expect(try Files.status(serverpy.directory + "/linked.json").size > 100)
        let full = serverpy.directory + "/full"
        try FileManager.default.createSymbolicLink(atPath: full, withDestinationPath: "/dev/full")
        let lost = try run(["dump", "-o", full], serverpy)
        #expect(lost.status == 1 && lost.errors.contains("No space left on device"), "\(lost)")
        #expect(try Files.status("/dev/full").kind == .other)
        let refused = try run(["dump", "-o", serverpy.directory + "/no/such/file"], serverpy)
        #expect(refused.status == 1 && refused.errors.contains("No such file"), "\(refused.errors)")
        #expect(
            try Programs.run(["stats", "--runtime-dir", serverpy.directory + "/nobody"]).status == 69)
    }

    /// One whose health is good and whose answers are not: what the forwarders know is shown beside what the polls say.
    @Test func statusShowsByHowManyForwardersAnInstanceIsEjected() throws {
        let good = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        let bad = try StubInstance { _, _ in .bytes("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno") }
        let serverpy = try Serverpy(
            StubInstance.service([good.port, bad.port], policy: ", \"balance\": \"round_robin\""), forwarders: 1)
        serverpy.instances = [good, bad]
        try serverpy.ready()
        let isShown = Eventually.holds {
            for _ in 0..<20 { _ = try? Client.get(serverpy.requests, "/a") }
            let lines = (try? run(["status"], serverpy).output.split(separator: "\n")) ?? []
            return lines.contains { $0.contains("127.0.0.1:\(bad.port) ") && $0.contains("ejected 1/1") }
        }
        #expect(isShown)
    }

    @Test(arguments: [
        ["status"], ["status", "--json"], ["explain", "GET", "/hello"], ["reload"], ["logs"], ["stats"], ["dump"],
        ["--help"], ["version"], ["completion", "bash"],
    ])
    func whatCannotBeWrittenIsAFailure(_ arguments: [String]) throws {
        let needsServer = !["--help", "version", "completion"].contains(arguments[0])
        let serverpy = needsServer ? try start().0 : nil
        let line = arguments + (serverpy.map { ["--runtime-dir", $0.runtimeDirectory] } ?? [])
        let shell = try Running(
            program: "/bin/sh",
            arguments: ["-c", "exec \"$0\" \"$@\" > /dev/full", Programs.directory + "/serverpyctl"] + line)
        #expect(shell.waitForExit(seconds: 30) == 1)
        #expect(shell.errors == ["serverpyctl: the output cannot be written: No space left on device"])
    }

    /// Not running is one thing, and not allowed another.
    @Test(.enabled(if: getuid() == 0)) func whoMayNotAskIsToldSo() throws {
        let (serverpy, _) = try start()
        // Where the other user finds it.
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: directory)
        let program = directory + "/serverpyctl"
        try FileManager.default.copyItem(atPath: Programs.directory + "/serverpyctl", toPath: program)
        for command in ["status", "stop", "logs", "explain GET /", "status --wait ready --timeout 0"] {
            let asking = try Running(
                program: "/usr/bin/setpriv",
                arguments: ["--reuid=65534", "--regid=65534", "--clear-groups", program]
                    + command.split(separator: " ").map(String.init) + ["--runtime-dir", serverpy.runtimeDirectory])
            #expect(asking.waitForExit(seconds: 30) == 1, "\(command)")
            #expect(asking.errors.first?.contains("Permission denied") == true, "\(command): \(asking.errors)")
        }
    }

    @Test func statusShowsTheRestWhereDiscoverydHangs() throws {
        let (serverpy, _) = try start()
        let pid = try #require(try serverpy.pids("discoveryd").first)
        Signal(SIGSTOP).send(to: pid)
        defer { Signal(SIGCONT).send(to: pid) }
        let (status, text, _) = try run(["status"], serverpy)
        #expect(status == 0 && text.contains("forwarderd 1") && text.contains("discoveryd does not answer"), "\(text)")
    }

    @Test func statusShowsTheRestWhereTheSupervisorHangs() throws {
        let (serverpy, sample) = try start()
        defer { sample.kill() }
        serverpy.running.signal(Signal(SIGSTOP))
        defer { serverpy.running.signal(Signal(SIGCONT)) }
        let (status, text, _) = try run(["status"], serverpy)
        #expect(status == 0 && text.contains("the supervisor did not answer within 1000 ms"), "\(text)")
        #expect(text.contains("forwarderd 1 ") && text.contains(" 1/1 "), "\(text)")
        let ready = try run(["status", "--wait", "ready", "--timeout", "0"], serverpy)
        #expect(ready.status == 1 && ready.errors.contains("the supervisor did not answer"), "\(ready)")
    }

    @Test func aForwarderThatMakesNoProgressIsKilledAndRestarted() throws {
        let (serverpy, _) = try start()
        let pid = try #require(try serverpy.pids("forwarderd").first)
        Signal(SIGSTOP).send(to: pid)
        #expect(serverpy.running.waitForError("has made no progress") != nil)
        #expect(
            Eventually.holds {
                (try? serverpy.pids("forwarderd"))?.count == 2
                    && (try? serverpy.pids("forwarderd"))?.contains(pid) == false
            })
    }

    /// As under systemd with units of their own: discoveryd reads its file again itself.
    @Test func withoutASupervisorReloadAndTheRestGoThroughDiscoveryd() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let sample = try Sample("one")
        func write(_ paths: String) throws {
            let text =
                "{\"s\": {\"servers\": [\"127.0.0.1:\(sample.port)\"], \"polling\": {\"method\": \"health\", \"endpoint\": \"/health\"}, \"apis\": [\(paths)]}, \"meta-info\": {\"discovery_server_port\": 0}}"
            try Data(text.utf8).write(to: URL(fileURLWithPath: directory + "/c.json"), options: .atomic)
        }
        func run(_ arguments: [String]) throws -> (status: Int32, output: String, errors: String) {
            try Programs.run(arguments + ["--runtime-dir", directory + "/run"])
        }
        try write("\"/a\"")
        let discoveryd = try Running(
            program: "discoveryd",
            arguments: [
                "-c", directory + "/c.json", "--runtime-dir", directory + "/run", "--state-dir", directory + "/state",
            ])
        defer { discoveryd.signal(.terminate) }
        #expect(Eventually.holds { (try? run(["status"]).status) == 0 })
        let alone = try run(["status", "--wait", "ready", "--timeout", "0"])
        #expect(alone.status == 1 && alone.errors.contains("no forwarder is there"), "\(alone)")
        let forwarder = try Running(
            program: "forwarderd", arguments: ["--runtime-dir", directory + "/run", "--listen", "127.0.0.1:0"])
        defer { forwarder.signal(.kill) }
        #expect(try run(["status", "--wait", "ready", "--timeout", "10"]).status == 0)
        let json = try JSONReader.parse(Array(run(["status", "--json"]).output.utf8)).root
        let process = json["processes"]?.elements.first { _ in true }
        #expect(
            process?["pid"]?.unsigned == UInt64(forwarder.pid) && process?["state"]?.string == "ready"
                && process?["memory_bytes"] != nil)
        try write("\"/a\", \"/b\"")
        let reload = try run(["reload"])
        #expect(reload.status == 0 && reload.output.hasPrefix("in force as snapshot"), "\(reload)")
        try write("\"no path\"")
        let refused = try run(["reload"])
        #expect(refused.status == 78 && refused.errors.contains("c.json:1:"), "\(refused)")
        try write("\"/c\"")
        discoveryd.signal(.hangUp)
        #expect(discoveryd.waitForError("the configuration is in force: 1 services, 1 instances, snapshot 1.") != nil)
        #expect(try run(["drain", "s", "127.0.0.1:\(sample.port)", "--wait", "5"]).status == 0)
        let status = try run(["status"])
        #expect(status.status == 0 && status.output.contains("draining"), "\(status)")
        #expect(try run(["scale", "forwarder=2"]).status == 69)
        let dry = try run(["reload", "--dry-run"])
        #expect(dry.status == 69 && dry.errors.contains("use `serverpyctl check -c FILE`"), "\(dry)")
    }

    @Test func completionScriptsAreGoodAndKnowEveryCommand() throws {
        let script = try Programs.run(["completion", "bash"]).output
        let file = FileManager.default.temporaryDirectory.path + "/serverpy-completion-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: file) }
        let check = "\nCOMP_WORDS=(serverpyctl st); COMP_CWORD=1; _serverpyctl; echo ${COMPREPLY[@]}\n"
        try Data((script + check).utf8).write(to: URL(fileURLWithPath: file))
        let process = Foundation.Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = [file]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(
            String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                == "start stop status stats\n")
        for shell in ["zsh", "fish"] {
            let text = try Programs.run(["completion", shell]).output
            #expect(text.contains("explain") && text.contains("runtime-dir"))
        }
        #expect(try Programs.run(["completion", "sh"]).status == 64)
    }

    @Test func everyCommandExplainsItselfInEightyColumnsWithAnExample() throws {
        let overview = try Programs.run(["--help"])
        let names = overview.output.split(separator: "\n").filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") }
            .compactMap { $0.split(separator: " ").first.map(String.init) }
        #expect(overview.status == 0 && names.count >= 18 && names.contains("upgrade"), "\(names)")
        for name in names {
            let help = try Programs.run([name, "--help"])
            #expect(help.status == 0 && help.output.contains("\nexample:\n  serverpyctl \(name)"), "\(name)")
            #expect(try Programs.run([name, "-h"]).output == help.output)
            for line in help.output.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
            #expect(try Programs.run([name, "--no-such-option"]).status == 64)
        }
        #expect(try Programs.run([]).status == 64)
        let slip = try Programs.run(["statsu"])
        #expect(slip.status == 64 && slip.errors.contains("did you mean `status`?"), "\(slip)")
        for arguments in [["--version"], ["version"]] {
            #expect(try Programs.run(arguments).output == "serverpyctl \(Version.current)")
        }
    }

    @Test func theDemoShowsItselfAndLeavesNothingBehind() throws {
        let demo = try Running(program: "serverpyctl", arguments: ["demo", "--forwarders", "1"])
        let line = try #require(demo.waitForError("ready: request processor on http://127.0.0.1:"))
        let port = try #require(UInt16(line.split(separator: "http://127.0.0.1:")[1].prefix { $0.isNumber }))
        #expect(try Client.get(port, "/hello").status == 200)
        let hint = try #require(demo.waitForError("kill -9 "))
        let victim = try #require(Int32(hint.split(separator: " ").last ?? ""))
        Signal.kill.send(to: victim)
        for _ in 0..<20 { #expect(try Client.get(port, "/hello").status == 200) }
        let directory = try #require(
            demo.waitForError("nc -U ")?.split(separator: " ").last?.split(separator: "/run/").first)
        demo.signal(.interrupt)
        #expect(demo.waitForExit() == 0)
        #expect(!FileManager.default.fileExists(atPath: String(directory)), "\(directory)")
    }

    /// Made by `serverpyctl manual > deploy/man/serverpyctl.1`, and so on.
    @Test(arguments: ["serverpyctl.1", "discoveryd.8", "forwarderd.8"])
    func theManualPagesAreWhatTheHelpSays(_ name: String) throws {
        let page = try Files.read(Programs.repository + "/deploy/man/\(name)", maxBytes: 1 << 20)
        let made = try Programs.run(["manual", String(name.dropLast(2))])
        #expect(made.status == 0 && String(decoding: page, as: UTF8.self) == made.output + "\n")
    }
}
