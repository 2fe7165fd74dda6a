import Foundation
import Shared
import Testing

private let isRoot = getuid() == 0

/// What root gives up with `--user`.
@Suite(.enabled(if: isRoot)) struct PrivilegesTests {
    /// Programs and a configuration where another user finds them.
    private final class Given {
        let directory: String
        private let sample: Sample
        var runtime: [String] { ["--runtime-dir", directory + "/run"] }
        var program: String { directory + "/serverpyctl" }

        init() throws {
            directory = try Serverpy.temporaryDirectory()
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: directory)
            for name in ["serverpyctl", "discoveryd", "forwarderd"] {
                try FileManager.default.copyItem(
                    atPath: Programs.directory + "/" + name, toPath: directory + "/" + name)
            }
            sample = try Sample("one")
            let text =
                "{\"s\": {\"servers\": [\"127.0.0.1:\(sample.port)\", \"127.0.0.1\"], \"polling\": {\"method\": \"ping\"}, \"apis\": [\"/hello\"]}, \"meta-info\": {\"discovery_server_port\": 0, \"request_processor_port\": 0}}"
            try Data(text.utf8).write(to: URL(fileURLWithPath: directory + "/c.json"))
        }

        deinit { try? FileManager.default.removeItem(atPath: directory) }

        func start(user: String = "nobody", runtime: String = "run", state: String = "state") -> [String] {
            [
                "start", "-c", directory + "/c.json", "--user", user, "--forwarders", "1", "--runtime-dir",
                directory + "/" + runtime, "--state-dir", directory + "/" + state,
            ]
        }

        func pids() throws -> [UInt64] {
            let status = try Programs.run(["status", "--json"] + runtime)
            let processes = try JSONReader.parse(Array(status.output.utf8)).root["processes"]?.elements.map { $0 } ?? []
            return processes.compactMap { $0["pid"]?.unsigned }
        }
    }

    private func end(_ running: Running) {
        running.signal(.terminate)
        #expect(running.waitForExit() == 0)
    }

    @Test func privilegesAreDroppedBeforeAnyChildIsStarted() throws {
        let given = try Given()
        let running = try Running(program: given.program, arguments: given.start())
        #expect(running.waitForError("ready: ")?.contains("2 of 2 instances up") == true, "\(running.errors)")
        let children = try given.pids()
        #expect(children.count == 2)
        for pid in children + [UInt64(running.pid)] {
            let lines = String(decoding: try Files.read("/proc/\(pid)/status", maxBytes: 65536), as: UTF8.self)
                .split(separator: "\n")
            let ids = lines.first { $0.hasPrefix("Uid:") }?.split(separator: "\t").dropFirst() ?? []
            #expect(ids.count == 4 && ids.allSatisfy { $0 != "0" }, "\(ids)")
            #expect(lines.contains("NoNewPrivs:\t1"))
            #expect(lines.first { $0.hasPrefix("Groups:") }?.contains(" 0 ") == false)
        }
        Signal.kill.send(to: Int32(children[1]))
        #expect(
            try Programs.run(["status", "--wait", "ready", "--timeout", "10"] + given.runtime).status == 0,
            "children come back without privileges")
        #expect(try Programs.run(["upgrade"] + given.runtime).status == 0)
        end(running)
        // The directories are the user's now, and a second start finds them so.
        let again = try Running(program: given.program, arguments: given.start())
        #expect(again.waitForError("ready: ") != nil, "\(again.errors)")
        end(again)
    }

    /// As from a shell of root's with a strict mask: what is made on the way to the state must let the user pass.
    @Test func aStrictMaskLocksNobodyOut() throws {
        let given = try Given()
        let running = try Running(
            program: "/bin/sh",
            arguments: ["-c", "umask 077; exec \"$0\" \"$@\"", given.program] + given.start(state: "new/state"))
        #expect(running.waitForError("ready: ") != nil, "\(running.errors)")
        #expect(
            Eventually.holds {
                let states = (try? Files.list(given.directory + "/new/state")) ?? []
                return states.contains {
                    FileManager.default.fileExists(atPath: "\(given.directory)/new/state/\($0)/snapshot")
                }
            }, "what is known is saved")
        end(running)
        let again = try Running(program: given.program, arguments: given.start(state: "new/state"))
        #expect(again.waitForError("ready: ") != nil && !again.errors.contains { $0.contains("Permission denied") })
        end(again)
    }

    @Test func whatIsNotServerpysOwnIsNeverGivenAway() throws {
        let given = try Given()
        try FileManager.default.createDirectory(
            atPath: given.directory + "/root", withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o700])
        try Data().write(to: URL(fileURLWithPath: given.directory + "/root/.bashrc"))
        let greedy = try Programs.run(given.start(runtime: "root"))
        #expect(greedy.status == 1 && greedy.errors.contains("holds `.bashrc`"), "\(greedy.errors)")
        #expect(try Files.status(given.directory + "/root").ownerID == 0)
    }

    @Test func aUserThatIsNotThereIsRefused() throws {
        let given = try Given()
        let refused = try Programs.run(given.start(user: "nobody-of-that-name"))
        #expect(refused.status == 1 && refused.errors.contains("there is no user `nobody-of-that-name`"))
    }
}
