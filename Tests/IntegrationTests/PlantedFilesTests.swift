import Foundation
import Shared
import Testing

/// Whatever has the name of a file of ours: a start says so in a line, sets it aside or goes without, serves, and ends when told to.
@Suite struct PlantedFilesTests {
    private enum Plant: String, CaseIterable {
        case pipe, directory, link, danglingLink, loop, socket, garbage, empty, zeros, large, unreadable

        /// What a link of this path leads to: a file of somebody else.
        static func victim(_ path: String) -> String {
            let slash = path.lastIndex(of: "/") ?? path.startIndex
            return path[..<slash] + "/not-ours-" + path[path.index(after: slash)...]
        }

        func make(_ path: String) throws {
            let manager = FileManager.default
            try? manager.removeItem(atPath: path)
            switch self {
            case .pipe: #expect(unsafe mkfifo(path, 0o600) == 0)
            case .directory:
                try manager.createDirectory(atPath: path, withIntermediateDirectories: false)
                try Data("x".utf8).write(to: URL(fileURLWithPath: path + "/x"))
            case .link:
                try manager.createSymbolicLink(atPath: path, withDestinationPath: Self.victim(path))
                try Data("not ours\n".utf8).write(to: URL(fileURLWithPath: Self.victim(path)))
            case .danglingLink: try manager.createSymbolicLink(atPath: path, withDestinationPath: "/nowhere/at/all")
            case .loop: try manager.createSymbolicLink(atPath: path, withDestinationPath: path)
            case .socket:
                // Its own path may be too long to bind.
                let short = "/tmp/" + String(SystemRandom.word(), radix: 36)
                try UnixSocket.bind(.stream, path: short).close()
                try manager.moveItem(atPath: short, toPath: path)
            case .garbage:
                try Data((0..<300).map { _ in UInt8.random(in: 0...255) }).write(to: URL(fileURLWithPath: path))
            case .unreadable:
                // Of root nothing is hidden: then it is garbage.
                try Data("hidden\n".utf8).write(to: URL(fileURLWithPath: path))
                try manager.setAttributes([.posixPermissions: 0], ofItemAtPath: path)
            case .empty: try Data().write(to: URL(fileURLWithPath: path))
            case .zeros: try Data(count: 65).write(to: URL(fileURLWithPath: path))
            case .large: try Data(repeating: 0x37, count: 200_000).write(to: URL(fileURLWithPath: path))
            }
        }
    }

    /// Starts it where all of `names` are such files; asserts that it serves and ends.
    private func start(_ plant: Plant, _ names: [String], runtime: [String] = []) throws {
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1).ready()
        #expect(serverpy.stop() == 0)
        let states = serverpy.directory + "/state"
        let state = states + "/" + (try #require(try Files.list(states).first))
        for name in names { try plant.make(state + "/" + name) }
        try FileManager.default.createDirectory(
            atPath: serverpy.runtimeDirectory, withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o700])
        for name in runtime { try plant.make(serverpy.runtimeDirectory + "/" + name) }
        for round in ["first", "second"] {
            let running = try Running(
                program: "serverpyctl",
                arguments: [
                    "start", "-c", serverpy.directory + "/c.json", "--runtime-dir", serverpy.runtimeDirectory,
                    "--state-dir",
                    states, "--forwarders", "1",
                ])
            defer { running.signal(.kill) }
            let line = try #require(running.waitForError("ready: "), "\(round) start with \(plant): \(running.errors)")
            let port = try #require(UInt16(line.split(separator: "http://127.0.0.1:")[1].prefix { $0.isNumber }))
            #expect(try Client.get(port, "/a").status == 200)
            #expect(!running.errors.contains { $0.contains("killed by") || $0.contains("exited") }, "\(running.errors)")
            running.signal(.terminate)
            #expect(running.waitForExit() == 0, "\(round) start with \(plant): \(running.errors)")
        }
        let places = names.map { state + "/" + $0 } + runtime.map { serverpy.runtimeDirectory + "/" + $0 }
        for path in places where plant == .link {
            #expect(try Files.read(Plant.victim(path), maxBytes: 9_999) == Array("not ours\n".utf8), "\(path)")
        }
    }

    @Test(arguments: Plant.allCases.map(\.rawValue)) func theStateDirectory(_ plant: String) throws {
        try start(
            #require(Plant(rawValue: plant)),
            ["epoch", "instances", "snapshot", "history-09-0000000000000001", "history-63-0000000000000002"])
    }

    @Test(arguments: Plant.allCases.map(\.rawValue)) func theRuntimeDirectory(_ plant: String) throws {
        try start(
            #require(Plant(rawValue: plant)), [],
            runtime: [
                "discovery.sock", "control.sock", "notify.sock", "log", "log.1", "counters.0000",
                "counters.0123456789abcdef",
            ])
    }

    /// Every number that the name of a file can hold.
    @Test(arguments: [
        "history-09-ffffffffffffffff", "history-09-fffffffffffffffe", "history-09-7fffffffffffffff",
        "history-09-4000000000000000",
        "history-99-0000000000000001", "history-63-0000000000000000", "history-00-0000000000000001",
        "history--1-0000000000000001",
        "history-09-00000000000000001", "history-09-", "history-", "history-09-+000000000000001",
    ])
    func aNumberInTheNameOfAFileOfHistory(_ name: String) throws {
        try start(.empty, [name])
        try start(.garbage, [name])
    }

    @Test(arguments: [
        "18446744073709551615", "18446744073709551616", "9223372036854775807", "-1", "1e3", "0", "  7", "7\n\n",
        "99999999999999999999999",
    ])
    func aNumberInTheFileOfTheEpoch(_ text: String) throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(StubInstance.service([sample.port], paths: "\"/hello\""), forwarders: 1).ready()
        let states = serverpy.directory + "/state"
        let state = states + "/" + (try #require(try Files.list(states).first))
        for _ in 0..<2 {
            try Data(text.utf8).write(to: URL(fileURLWithPath: state + "/epoch"))
            Signal.kill.send(to: try #require(try serverpy.pids("discoveryd").first))
            #expect(Eventually.holds { (try? Client.get(serverpy.discovery, "/ready").status) == 200 })
        }
        #expect(serverpy.running.errors.count { $0.contains("discoveryd") && $0.contains("killed by") } == 2)
        #expect(try Client.get(serverpy.requests, "/hello").status == 200)
        #expect(serverpy.stop() == 0)
    }
}
