import Foundation
import Shared
import Testing

@Suite struct StartAndStopTests {
    private func service(_ ports: [UInt16]) -> String {
        StubInstance.service(ports, paths: "\"/hello\"", polling: ", \"frequency\": 1")
    }

    @Test(arguments: [Signal.terminate, .interrupt, .quit])
    func startsForwardsAndStopsWithoutLeavingAnything(_ signal: Signal) throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(service([sample.port])).ready()
        let pids = try serverpy.processes().map(\.pid)
        #expect(pids.count == 3)
        let answer = try Client.get(serverpy.requests, "/hello/x?y=1")
        #expect(answer.status == 200)
        #expect(answer.text.contains("\"path\":\"/hello/x?y=1\""))
        #expect(serverpy.stop(signal) == 0)
        for pid in pids { #expect(!FileManager.default.fileExists(atPath: "/proc/\(pid)")) }
        #expect(!FileManager.default.fileExists(atPath: serverpy.runtimeDirectory))
        #expect(throws: (any Error).self) { try Client(port: serverpy.requests) }
        #expect(throws: (any Error).self) { try Client(port: serverpy.discovery) }
    }

    /// The original was called as `serverpy -c FILE`, and its users have its levels.
    @Test(arguments: [
        (["-c"], ["-l", "WARN"]), (["start"], ["--log-level", "CRITICAL"]),
        (["start", "--config"], ["-l", "Warning"]),
    ])
    func startIsCalledInSeveralWays(_ command: [String], _ extra: [String]) throws {
        let serverpy = try Serverpy(
            service([1]), forwarders: 1, extra: extra, general: ", \"discovery_server_name\": \"Our hub\"",
            command: command
        ).ready()
        let health = try Client.get(serverpy.discovery, "/health").text
        #expect(health.contains("\"status\":\"Discovery Server running\"") && health.contains("\"name\":\"Our hub\""))
        // The successor is tried, and begins, with the same words.
        let upgrade = try Programs.run(["upgrade", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(upgrade.status == 0, "\(upgrade.errors)")
        #expect(serverpy.stop() == 0)
    }

    @Test func aConfigurationThatIsNamedTwiceOrNotAtAllIsWrongUsage() throws {
        let path = Programs.repository + "/deploy/example.json"
        for command in ["check", "start"] {
            let twice = try Programs.run([command, "-c", path, path])
            #expect(twice.status == 64 && twice.errors.contains("both `\(path)` and `\(path)` are given"))
            let none = try Programs.run([command])
            #expect(none.status == 64 && none.errors.contains("a configuration is needed: -c FILE"))
        }
        #expect(try Programs.run(["check", path]).output == Programs.run(["check", "-c", path]).output)
        #expect(try Programs.run(["-l", "loud", "-c", path]).status == 64)
    }

    @Test func theStopCommandReturnsWhenItHasEnded() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(service([sample.port])).ready()
        #expect(try Programs.run(["stop", "--runtime-dir", serverpy.runtimeDirectory]).status == 0)
        #expect(serverpy.running.waitForExit() == 0)
        #expect(try Programs.run(["stop", "--runtime-dir", serverpy.runtimeDirectory]).status == 69)
        #expect(try Programs.run(["status", "--runtime-dir", serverpy.runtimeDirectory]).status == 69)
    }

    @Test func theOriginalsExampleStartsAlthoughItsHostsAreOutOfReach() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var text = try String(contentsOfFile: Programs.repository + "/deploy/example.json", encoding: .utf8)
        text = text.replacingOccurrences(of: ": 8008", with: ": 0").replacingOccurrences(of: ": 8081", with: ": 0")
        try text.write(toFile: directory + "/example.json", atomically: true, encoding: .utf8)
        let running = try Running(
            program: "serverpyctl",
            arguments: [
                "start", "-c", directory + "/example.json", "--forwarders", "1", "--runtime-dir", directory + "/run",
                "--state-dir", directory + "/state",
            ])
        #expect(running.waitForError("ready: ") != nil, "\(running.errors)")
        running.signal(.terminate)
        #expect(running.waitForExit() == 0)
    }

    // MARK: Bad input

    @Test(
        arguments: [
            ("missing.json", nil, "the file does not exist"),
            ("empty.json", "", "the file is empty"),
            ("broken.json", "{\"a\": [1,}", "2:10"),
            ("broken.yaml", "a: b: c\n", "1:4"),
            ("latin.yaml", "a: caf\u{e9}", "not valid UTF-8"),
            ("list.yaml", "- a\n", "a map from service names"),
        ] as [(String, String?, String)])
    func aBadConfigurationExitsWith78AndItsPlace(_ name: String, _ text: String?, _ words: String) throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/" + name
        if let text {
            let data =
                name == "latin.yaml"
                ? text.data(using: .isoLatin1) ?? Data()
                : Data((name == "broken.json" ? "\n" : "").utf8) + Data(text.utf8)
            try data.write(to: URL(fileURLWithPath: path))
        }
        let result = try Programs.run([
            "start", "-c", path, "--runtime-dir", directory + "/run", "--state-dir", directory + "/state",
        ])
        #expect(result.status == 78)
        #expect(result.errors.contains(words), "\(result.errors)")
        #expect(result.errors.hasPrefix("\(path):"), "\(result.errors)")
        #expect(result.errors.contains(": error: "))
        #expect(!FileManager.default.fileExists(atPath: directory + "/run"))
    }

    @Test func aDirectoryIsNoConfiguration() throws {
        let result = try Programs.run(["check", "-c", "/tmp"])
        #expect(result.status == 78)
        #expect(result.errors == "/tmp:1:1: error: this is a directory; a JSON or YAML file is needed")
    }

    @Test func wrongUsageExitsWith64AndSuggests() throws {
        let command = try Programs.run(["strat"])
        #expect(command.status == 64)
        #expect(command.errors.contains("did you mean `start`?"))
        let option = try Programs.run(["start", "--confg", "x"])
        #expect(option.status == 64)
        #expect(option.errors.contains("did you mean `--config`?"))
        #expect(try Programs.run(["start"]).status == 64)
    }

    @Test func aPortInUseIsNamed() throws {
        let taken = try Socket.listen(on: .loopback(port: 0))
        defer { taken.close() }
        let port = try #require(try Socket.localAddress(taken)).port
        let serverpy = try Serverpy(service([1]), general: ", \"discovery_server_port\": 1")
        _ = serverpy
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try Data(
            "{\(service([1])), \"meta-info\": {\"discovery_server_port\": \(port), \"request_processor_port\": 0}}".utf8
        ).write(to: URL(fileURLWithPath: directory + "/c.json"))
        let result = try Programs.run([
            "start", "-c", directory + "/c.json", "--runtime-dir", directory + "/run", "--state-dir",
            directory + "/state",
        ])
        #expect(result.status == 1)
        #expect(result.errors.contains("127.0.0.1:\(port)") && result.errors.contains("in use"), "\(result.errors)")
        #expect(!FileManager.default.fileExists(atPath: directory + "/run"))
    }

    @Test func aChildThatCannotStartTakesTheRestDownWithItsReason() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        // The supervisor and discoveryd without a forwarderd beside them.
        for name in ["serverpyctl", "discoveryd"] {
            try FileManager.default.copyItem(atPath: Programs.directory + "/" + name, toPath: directory + "/" + name)
        }
        try Data("{\(service([1])), \"meta-info\": {\"discovery_server_port\": 0, \"request_processor_port\": 0}}".utf8)
            .write(to: URL(fileURLWithPath: directory + "/c.json"))
        let result = try Programs.run(
            [
                "start", "-c", directory + "/c.json", "--runtime-dir", directory + "/run", "--state-dir",
                directory + "/state",
            ], directory: directory)
        #expect(result.status == 1)
        #expect(
            result.errors.contains("\(directory)/forwarderd cannot be started: No such file"),
            "\(result.errors)")
        #expect(!FileManager.default.fileExists(atPath: directory + "/run"))
    }

    @Test func statusTellsWhatIsTheCaseNow() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port], polling: ", \"frequency\": 0.2"), forwarders: 1
        ).ready()
        func status() throws -> String {
            try Programs.run(["status", "--runtime-dir", serverpy.runtimeDirectory]).output
        }
        func snapshot() throws -> Substring? {
            try status().split(separator: "\n").first { $0.hasPrefix("forwarderd 0") }?.split(separator: " ").last
        }
        #expect(try status().contains(" 1/1 "))
        let before = try snapshot()
        sample.kill()
        #expect(Eventually.holds { (try? status().contains(" 0/1 ")) == true })
        #expect(Eventually.holds { (try? snapshot()) != before })
    }

    @Test func aSecondOneInTheSameDirectorySaysWhoHasIt() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(service([sample.port])).ready()
        let result = try Programs.run([
            "start", "-c", serverpy.directory + "/c.json", "--runtime-dir", serverpy.runtimeDirectory, "--state-dir",
            serverpy.directory + "/other",
        ])
        #expect(result.status == 1)
        #expect(result.errors.contains("(pid \(serverpy.running.pid))"), "\(result.errors)")
        #expect(try Client.get(serverpy.requests, "/hello").status == 200, "the first one goes on")
    }

    // MARK: Deaths

    @Test func whatDiesIsStartedAgainAndCallersDoNotNotice() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(service([sample.port])).ready()
        for name in ["discoveryd", "forwarderd 0", "forwarderd 1"] {
            let victim = try #require(try serverpy.pids(name).first)
            Signal.kill.send(to: victim)
            for _ in 0..<20 { #expect(try Client.get(serverpy.requests, "/hello").status == 200) }
            #expect(serverpy.running.waitForError("\(name) (pid \(victim)) killed by SIGKILL") != nil)
        }
        #expect(serverpy.stop() == 0)
    }

    @Test func killingTheSupervisorLeavesNothingBehind() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(service([sample.port])).ready()
        let ends = try serverpy.processes().map { try ProcessEnd(pid: $0.pid) }
        serverpy.running.signal(.kill)
        for end in ends {
            #expect(end.wait(milliseconds: 1000), "a child outlives the supervisor by more than a second")
        }
        #expect(throws: (any Error).self) { try Client(port: serverpy.requests) }
    }
}

/// A process's end as an event, held in an array.
final class ProcessEnd {
    private let exit: ProcessExit
    init(pid: Int32) throws { exit = try ProcessExit(pid: pid) }
    func wait(milliseconds: UInt64) -> Bool { exit.wait(timeoutMilliseconds: milliseconds) }
}
