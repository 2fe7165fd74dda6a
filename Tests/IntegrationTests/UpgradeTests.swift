import Foundation
import Shared
import Testing

/// New programs take over from old ones, and bad new ones do not.
@Suite struct UpgradeTests {
    /// A serverpy whose programs are copies that a test may replace.
    private struct Installed {
        let serverpy: Serverpy
        let directory: String

        init(extra: [String] = []) throws {
            directory = try Serverpy.temporaryDirectory()
            for name in ["serverpyctl", "discoveryd", "forwarderd"] { try Self.install(name, in: directory) }
            let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
            serverpy = try Serverpy(
                StubInstance.service([stub.port]), forwarders: 2, extra: extra, program: directory + "/serverpyctl")
            serverpy.instances = [stub]
            try serverpy.ready()
        }

        /// As a package manager does it: a new file in the place of the old one.
        static func install(_ name: String, in directory: String) throws {
            let new = directory + "/.\(name).new"
            try FileManager.default.copyItem(atPath: Programs.directory + "/" + name, toPath: new)
            try rename(new, directory + "/" + name)
        }

        /// Another program in the place of one: a shell script.
        func replace(_ name: String, with script: String) throws {
            let new = directory + "/.\(name).new"
            try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(fileURLWithPath: new))
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: new)
            try Self.rename(new, directory + "/" + name)
        }

        private static func rename(_ new: String, _ old: String) throws {
            if FileManager.default.fileExists(atPath: old) { try FileManager.default.removeItem(atPath: old) }
            try FileManager.default.moveItem(atPath: new, toPath: old)
        }

        func upgrade() throws -> (status: Int32, output: String, errors: String) {
            try Programs.run(["upgrade", "--runtime-dir", serverpy.runtimeDirectory])
        }

        func remove() { try? FileManager.default.removeItem(atPath: directory) }
    }

    @Test func everyProcessIsTheNewProgramAndNoRequestFails() throws {
        let installed = try Installed()
        defer { installed.remove() }
        let serverpy = installed.serverpy
        let before = try serverpy.processes().map(\.pid)
        for name in ["serverpyctl", "discoveryd", "forwarderd"] {
            try Installed.install(name, in: installed.directory)
        }
        let upgrade = try Running(
            program: "serverpyctl", arguments: ["upgrade", "--runtime-dir", serverpy.runtimeDirectory])
        let (good, bad) = try keptRequests(serverpy) { upgrade.waitForExit(seconds: 0) == nil }
        #expect(upgrade.waitForExit() == 0 && good > 0 && bad.isEmpty, "\(upgrade.errors) \(bad)")
        #expect(upgrade.output.dropFirst() == ["discoveryd replaced", "2 forwarders replaced"], "\(upgrade.output)")
        #expect(
            Eventually.holds {
                let now = (try? serverpy.processes()) ?? []
                return now.count == 3 && Set(now.map(\.pid)).isDisjoint(with: before)
            })
        for pid in try serverpy.processes().map(\.pid) + [serverpy.running.pid] {
            let program = try Files.readLink("/proc/\(pid)/exe")
            #expect(program.hasPrefix(installed.directory) && !program.contains("(deleted)"), "\(program)")
        }
        // All is as before: it supervises, it reloads, it ends.
        let victim = try #require(try serverpy.pids("forwarderd").first)
        Signal.kill.send(to: victim)
        #expect(serverpy.running.waitForError("(pid \(victim)) killed by SIGKILL") != nil)
        #expect(try serverpy.reload().status == 0)
        #expect(serverpy.stop() == 0)
    }

    @Test func noOldProgramIsLeftWhereForwardersWereJustAdded() throws {
        let installed = try Installed()
        defer { installed.remove() }
        let serverpy = installed.serverpy
        for name in ["serverpyctl", "discoveryd", "forwarderd"] {
            try Installed.install(name, in: installed.directory)
        }
        #expect(
            try Programs.run(["scale", "forwarder=5", "--runtime-dir", serverpy.runtimeDirectory]).status == 0)
        let upgrade = try installed.upgrade()
        #expect(upgrade.status == 0 && upgrade.output.contains("5 forwarders replaced"), "\(upgrade)")
        #expect(Eventually.holds { (try? serverpy.pids("forwarderd").count) == 5 })
        for pid in try serverpy.processes().map(\.pid) + [serverpy.running.pid] {
            #expect(try !Files.readLink("/proc/\(pid)/exe").contains("(deleted)"))
        }
    }

    @Test func programsThatFailTheirTestAreNotTaken() throws {
        let installed = try Installed()
        defer { installed.remove() }
        let serverpy = installed.serverpy
        let before = try serverpy.processes().map(\.pid)
        for (name, script, words) in [
            ("forwarderd", "echo no such library >&2; exit 127", "exited with status 127: no such library"),
            ("discoveryd", "echo discoveryd 99.9", "version"), ("serverpyctl", "kill -SEGV $$", "killed by signal 11"),
        ] {
            try installed.replace(name, with: script)
            let (status, _, errors) = try installed.upgrade()
            #expect(status == 1 && errors.contains("/\(name) does not pass its test"), "\(errors)")
            #expect(errors.contains(words), "\(errors)")
            try Installed.install(name, in: installed.directory)
        }
        #expect(try serverpy.processes().map(\.pid) == before)
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
        #expect(try installed.upgrade().status == 0, "good ones are taken afterwards")
    }

    /// Of two forwarders the second fails: the first is not left as the only new one.
    @Test func noNewProgramIsLeftWhereOneOfSeveralFails() throws {
        let installed = try Installed()
        defer { installed.remove() }
        let serverpy = installed.serverpy
        try installed.replace(
            "forwarderd",
            with: "case \"$*\" in *'--index 1'*) exit 3;; esac; exec \(Programs.directory)/forwarderd \"$@\"")
        let upgrade = try Running(
            program: "serverpyctl", arguments: ["upgrade", "--runtime-dir", serverpy.runtimeDirectory])
        let (_, bad) = try keptRequests(serverpy) { upgrade.waitForExit(seconds: 0) == nil }
        #expect(upgrade.waitForExit() == 1 && bad.isEmpty, "\(bad) \(upgrade.errors)")
        let isBack = Eventually.holds {
            let pids = (try? serverpy.pids("forwarderd")) ?? []
            return pids.count == 2
                && pids.allSatisfy { (try? Files.readLink("/proc/\($0)/exe"))?.hasPrefix(installed.directory) == true }
        }
        #expect(isBack)
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
    }

    /// A program that has forked, or that hangs before it has done anything, holds no port when serverpy has ended.
    @Test(arguments: ["sleep 654", "exec sleep 655"], [false, true])
    func whatANewProgramLeavesEndsWithServerpy(_ work: String, isKilled: Bool) throws {
        let installed = try Installed()
        defer { installed.remove() }
        let serverpy = installed.serverpy
        let started = installed.directory + "/started"
        try installed.replace(
            "forwarderd",
            with:
                "[ \"$1\" = --self-test ] && exec \(Programs.directory)/forwarderd --self-test; : > \(started); \(work)"
        )
        let upgrade = try Running(
            program: "serverpyctl", arguments: ["upgrade", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(Eventually.holds { FileManager.default.fileExists(atPath: started) })
        // Where serverpyctl is killed nobody is left to look for what a program has forked.
        if isKilled, work.hasPrefix("exec") {
            serverpy.running.signal(.kill)
            _ = serverpy.running.waitForExit()
        } else {
            #expect(serverpy.stop() == 0)
        }
        _ = upgrade.waitForExit()
        #expect(Eventually.holds { (try? Client.get(serverpy.requests, "/a")) == nil })
        #expect(throws: (any Error).self) { try Client(port: serverpy.requests) }
    }

    @Test func whoHasConnectedBeforeIsAnsweredAfterwards() throws {
        let installed = try Installed()
        defer { installed.remove() }
        let serverpy = installed.serverpy
        let early = try Client(UnixSocket.connect(.stream, path: serverpy.runtimeDirectory + "/control.sock"))
        // It has been accepted when somebody later has been answered.
        #expect(try serverpy.pids("forwarderd").count == 2)
        #expect(try installed.upgrade().status == 0)
        try early.send("{\"command\": \"status\"}\n")
        early.endSending()
        #expect(try early.readToEnd().contains("\"state\":\"running\""))
    }

    /// They pass their tests and fail at their work.
    @Test(arguments: ["discoveryd", "forwarderd"])
    func oldProgramsComeBackWhereNewOnesDoNotBecomeReady(_ name: String) throws {
        let installed = try Installed()
        defer { installed.remove() }
        let serverpy = installed.serverpy
        try installed.replace(
            name, with: "[ \"$1\" = --self-test ] && exec \(Programs.directory)/\(name) --self-test; exit 3")
        let upgrade = try Running(
            program: "serverpyctl", arguments: ["upgrade", "--runtime-dir", serverpy.runtimeDirectory])
        let (_, bad) = try keptRequests(serverpy) { upgrade.waitForExit(seconds: 0) == nil }
        #expect(upgrade.waitForExit() == 1 && bad.isEmpty, "\(bad)")
        #expect(
            upgrade.errors.first?.contains("the new \(name) ended before it was ready") == true, "\(upgrade.errors)")
        let waiting = try Programs.run([
            "status", "--wait", "ready", "--timeout", "20", "--runtime-dir", serverpy.runtimeDirectory,
        ])
        #expect(waiting.status == 0, "\(waiting.errors)")
        // What is started from now on is the old program, too.
        for pid in try serverpy.processes().map(\.pid) { Signal.kill.send(to: pid) }
        let again = try Programs.run([
            "status", "--wait", "ready", "--timeout", "20", "--runtime-dir", serverpy.runtimeDirectory,
        ])
        #expect(again.status == 0, "\(again.errors)")
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
    }
}
