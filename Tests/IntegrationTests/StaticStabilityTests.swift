import Foundation
import Shared
import Testing

/// Without a discoveryd that answers, callers notice nothing.
@Suite struct StaticStabilityTests {
    private func start() throws -> (Serverpy, StubInstance) {
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1)
        serverpy.instances = [stub]
        return (try serverpy.ready(), stub)
    }

    private func snapshotFile(_ serverpy: Serverpy) throws -> String {
        let states = serverpy.directory + "/state"
        return states + "/" + (try #require(try Files.list(states).first)) + "/snapshot"
    }

    @Test func aForwarderThatStartsWhileDiscoverydHangsServesFromTheLastSnapshot() throws {
        let (serverpy, _) = try start()
        let file = try snapshotFile(serverpy)
        #expect(Eventually.holds { (try? Files.status(file).size) ?? 0 > 0 })
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        Signal(SIGSTOP).send(to: discoveryd)
        defer { Signal(SIGCONT).send(to: discoveryd) }
        #expect(try Client.get(serverpy.requests, "/a").text == "ok")
        Signal.kill.send(to: try #require(try serverpy.pids("forwarderd").first))
        // The listener stands: the request waits for the next forwarder.
        #expect(try Client.get(serverpy.requests, "/a").text == "ok")
        #expect(serverpy.running.waitForError(" from \(file) holds until there is one") != nil)
    }

    private static let hasPython = FileManager.default.isExecutableFile(atPath: "/usr/bin/python3")

    /// The protocol's page is enough to write a subscriber in another language.
    @Test(.enabled(if: hasPython)) func theExampleSubscriberFollowsChanges() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port], polling: ", \"frequency\": 0.2"), forwarders: 1
        ).ready()
        let example =
            #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/deploy/examples/subscriber.py"
        let subscriber = try Running(program: "/usr/bin/python3", arguments: [example, serverpy.runtimeDirectory])
        #expect(subscriber.waitForOutput("stub 127.0.0.1:\(sample.port) up 127.0.0.1:\(sample.port)") != nil)
        sample.kill()
        #expect(subscriber.waitForOutput("stub 127.0.0.1:\(sample.port) down") != nil)
        subscriber.signal(.kill)
    }

    private static let spoilt: [(reason: String, spoil: @Sendable (String) -> String)] = [
        ("it is no saved snapshot", { _ in "garbage\n" }), ("it is not whole", { String($0.dropLast(10)) }),
        (
            "another configuration",
            { $0.replacingOccurrences(of: "\"configuration\":\"", with: "\"configuration\":\"0") }
        ),
        ("digest", { $0.replacingOccurrences(of: "\"/a\"", with: "\"/b\"") }),
    ]

    @Test(arguments: spoilt.indices) func aSavedSnapshotOfAnotherConfigurationIsNotUsed(_ index: Int) throws {
        let (reason, spoil) = Self.spoilt[index]
        let (serverpy, _) = try start()
        let file = try snapshotFile(serverpy)
        #expect(Eventually.holds { (try? Files.status(file).size) ?? 0 > 0 })
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        let forwarder = try #require(try serverpy.pids("forwarderd").first)
        Signal(SIGSTOP).send(to: discoveryd)
        defer { Signal(SIGCONT).send(to: discoveryd) }
        let whole = try String(contentsOfFile: file, encoding: .utf8)
        try Data(spoil(whole).utf8).write(to: URL(fileURLWithPath: file), options: .atomic)
        Signal.kill.send(to: forwarder)
        #expect(try Client.get(serverpy.requests, "/a").status == 503)
        #expect(serverpy.running.waitForError(reason) != nil, "\(reason)")
    }

    /// What has been put in its place is neither waited for nor followed.
    @Test(arguments: [
        ("pipe", "not a regular file"), ("link", "Too many levels of symbolic links"),
        ("directory", "not a regular file"),
    ])
    func aPipeLinkOrDirectoryIsNotUsedAsSavedSnapshot(_ plant: String, _ reason: String) throws {
        let (serverpy, _) = try start()
        let file = try snapshotFile(serverpy)
        #expect(Eventually.holds { (try? Files.status(file).size) ?? 0 > 0 })
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        let forwarder = try #require(try serverpy.pids("forwarderd").first)
        Signal(SIGSTOP).send(to: discoveryd)
        try FileManager.default.moveItem(atPath: file, toPath: file + ".good")
        switch plant {
        case "pipe": #expect(unsafe mkfifo(file, 0o600) == 0)
        case "link": try FileManager.default.createSymbolicLink(atPath: file, withDestinationPath: file + ".good")
        default: try FileManager.default.createDirectory(atPath: file, withIntermediateDirectories: false)
        }
        Signal.kill.send(to: forwarder)
        #expect(try Client.get(serverpy.requests, "/a").status == 503)
        #expect(
            serverpy.running.waitForError("cannot be used (")?.contains(reason) == true, "\(serverpy.running.errors)")
        Signal(SIGCONT).send(to: discoveryd)
        #expect(Eventually.holds { (try? Client.get(serverpy.requests, "/a").text) == "ok" })
        #expect(serverpy.stop() == 0)
    }
}
