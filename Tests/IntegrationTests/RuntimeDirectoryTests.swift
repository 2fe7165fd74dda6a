import Foundation
import Shared
import Testing

/// The runtime directory is where trust begins: what it is not must be refused, and what a dead one has left is no obstacle.
@Suite struct RuntimeDirectoryTests {
    private static let isRoot = getuid() == 0

    private func configuration(_ directory: String) throws -> String {
        let path = directory + "/c.json"
        let text =
            "{\(StubInstance.service([1])), \"meta-info\": {\"discovery_server_port\": 0, \"request_processor_port\": 0}}"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    /// `start` with a runtime directory that `make` has made.
    private func refusal(_ make: (String) throws -> Void) throws -> String {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/run"
        try make(path)
        let result = try Programs.run([
            "start", "-c", try configuration(directory), "--runtime-dir", path, "--state-dir", directory + "/state",
        ])
        #expect(result.status == 1)
        return result.errors
    }

    private func make(_ path: String, mode: Int = 0o700) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    @Test func aSymbolicLinkIsRefused() throws {
        let errors = try refusal { path in
            try make(path + "-real")
            try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: path + "-real")
        }
        #expect(errors.contains("/run: ") && errors.contains("the runtime directory cannot be used"), "\(errors)")
    }

    @Test func oneThatOthersMayWriteIsRefused() throws {
        for mode in [0o777, 0o770, 0o1777] {
            let errors = try refusal { try make($0, mode: mode) }
            #expect(errors.contains("writable by others") && errors.contains("use 0700"), "\(errors)")
        }
    }

    @Test func aFileIsRefused() throws {
        let errors = try refusal { try Data().write(to: URL(fileURLWithPath: $0)) }
        #expect(errors.contains("Not a directory"), "\(errors)")
    }

    @Test(.enabled(if: isRoot)) func oneOfSomebodyElseIsRefused() throws {
        let errors = try refusal { path in
            try make(path)
            try FileManager.default.setAttributes([.ownerAccountID: 65534], ofItemAtPath: path)
        }
        #expect(errors.contains("belongs to uid 65534"), "\(errors)")
    }

    /// Said once, by who was asked to start, and nothing is left behind.
    @Test(arguments: ["file", "link", "open", "foreign", "unmakeable"])
    func aStateDirectoryThatCannotBeUsedIsRefused(_ fault: String) throws {
        if fault == "foreign" && !Self.isRoot { return }
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (runtime, base) = (directory + "/run", directory + "/state")
        let path = Directories.state(base: base, runtime: runtime)
        let manager = FileManager.default
        var words = "Not a directory"
        if fault == "unmakeable" {
            try Data().write(to: URL(fileURLWithPath: base))
        } else {
            try manager.createDirectory(atPath: base, withIntermediateDirectories: false)
        }
        switch fault {
        case "file": try Data().write(to: URL(fileURLWithPath: path))
        case "link": try manager.createSymbolicLink(atPath: path, withDestinationPath: directory)
        case "open":
            try make(path, mode: 0o777)
            words = "writable by others"
        case "foreign":
            try make(path)
            try manager.setAttributes([.ownerAccountID: 65534], ofItemAtPath: path)
            words = "belongs to uid 65534"
        default: break
        }
        let result = try Programs.run([
            "start", "-c", try configuration(directory), "--runtime-dir", runtime, "--state-dir", base,
        ])
        #expect(result.status == 1)
        #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
        #expect(result.errors.contains("the state directory cannot be used: \(path): "))
        #expect(result.errors.contains(words), "\(result.errors)")
        #expect(!manager.fileExists(atPath: runtime))
    }

    @Test func aPathTooLongForASocketIsRefusedWithTheLengthAllowed() throws {
        let result = try Programs.run([
            "start", "-c", "\(Programs.repository)/deploy/example.json", "--runtime-dir",
            "/tmp/" + String(repeating: "x", count: 120),
        ])
        #expect(result.status == 1 && result.errors.contains("at most 92 fit"), "\(result.errors)")
    }

    @Test func whatADeadOneHasLeftIsCleanedUpAndALiveOneIsNot() throws {
        let sample = try Sample("one")
        let first = try Serverpy(StubInstance.service([sample.port]), forwarders: 1).ready()
        let arguments = [
            "start", "-c", first.directory + "/c.json", "--runtime-dir", first.runtimeDirectory, "--state-dir",
            first.directory + "/state",
        ]
        let second = try Programs.run(arguments)
        #expect(second.status == 1 && second.errors.contains("(pid \(first.running.pid))"), "\(second.errors)")
        #expect(try Client.get(first.requests, "/a").status == 200)
        let ends = try first.processes().map { try ProcessEnd(pid: $0.pid) }
        first.running.signal(.kill)
        for end in ends { #expect(end.wait(milliseconds: 1000)) }
        #expect(FileManager.default.fileExists(atPath: first.runtimeDirectory + "/control.sock"), "it is stale")
        let third = try Running(program: "serverpyctl", arguments: arguments)
        #expect(third.waitForError("ready: ") != nil, "\(third.errors)")
        third.signal(.terminate)
        #expect(third.waitForExit() == 0)
    }

    /// Somebody has removed the first one's directory: what is under its name now is another's.
    @Test func theFilesOfALiveOneAreNeverRemovedByAnother() throws {
        let sample = try Sample("one")
        let first = try Serverpy(StubInstance.service([sample.port]), forwarders: 1).ready()
        try FileManager.default.removeItem(atPath: first.runtimeDirectory)
        #expect(first.running.waitForError("has been removed or replaced") != nil)
        let second = try Running(
            program: "serverpyctl",
            arguments: [
                "start", "-c", first.directory + "/c.json", "--runtime-dir", first.runtimeDirectory, "--state-dir",
                first.directory + "/other",
            ])
        #expect(second.waitForError("ready: ") != nil, "\(second.errors)")
        #expect(first.stop() == 0)
        #expect(try Programs.run(["status", "--wait", "ready", "--runtime-dir", first.runtimeDirectory]).status == 0)
        second.signal(.terminate)
        #expect(second.waitForExit() == 0)
        #expect(!FileManager.default.fileExists(atPath: first.runtimeDirectory))
    }

    @Test func aLostControlSocketIsNoMissingSupervisor() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(StubInstance.service([sample.port]), forwarders: 1).ready()
        try FileManager.default.removeItem(atPath: serverpy.runtimeDirectory + "/control.sock")
        let stop = try Programs.run(["stop", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(stop.status == 1 && stop.errors.contains("`kill \(serverpy.running.pid)` stops it"), "\(stop)")
    }

    @Test func severalMayMakeTheSameParentsAtOnce() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = try configuration(directory)
        for round in 0..<5 {
            let both = try ["a", "b"].map { name in
                try Running(
                    program: "serverpyctl",
                    arguments: [
                        "start", "-c", path, "--forwarders", "1", "--runtime-dir", "\(directory)/\(round)/x/y/\(name)",
                        "--state-dir", "\(directory)/s\(round)/x/y",
                    ])
            }
            for one in both { #expect(one.waitForError("ready: ") != nil, "\(one.errors)") }
            for one in both { one.signal(.terminate) }
            for one in both { #expect(one.waitForExit() == 0) }
        }
    }

    @Test func twoInDifferentDirectoriesDoNotMeet() throws {
        let sample = try Sample("one")
        let first = try Serverpy(StubInstance.service([sample.port]), forwarders: 1).ready()
        let second = try Serverpy(StubInstance.service([sample.port]), forwarders: 2).ready()
        #expect(try first.pids("forwarderd").count == 1)
        #expect(try second.pids("forwarderd").count == 2)
        #expect(first.stop() == 0)
        #expect(try Client.get(second.requests, "/a").status == 200)
    }

    /// Sockets are for their owner alone.
    @Test func socketsAndFilesHaveNoPermissionsForOthers() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(StubInstance.service([sample.port]), forwarders: 1).ready()
        #expect(try Files.status(serverpy.runtimeDirectory).mode == 0o700)
        let names = try Files.list(serverpy.runtimeDirectory)
        #expect(names.contains("control.sock") && names.contains("discovery.sock") && names.contains("log"))
        for name in names {
            #expect(try Files.status(serverpy.runtimeDirectory + "/" + name).mode & 0o077 == 0, "\(name)")
        }
    }
}
