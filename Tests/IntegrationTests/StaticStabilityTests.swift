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

    @Test func whatIsNoSnapshotOfThisConfigurationIsNotUsed() throws {
        let (serverpy, _) = try start()
        let file = try snapshotFile(serverpy)
        #expect(Eventually.holds { (try? Files.status(file).size) ?? 0 > 0 })
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        Signal(SIGSTOP).send(to: discoveryd)
        defer { Signal(SIGCONT).send(to: discoveryd) }
        let whole = try String(contentsOfFile: file, encoding: .utf8)
        for (text, reason) in [
            ("garbage\n", "it is no saved snapshot"), (String(whole.dropLast(10)), "it is not whole"),
            (
                whole.replacingOccurrences(of: "\"configuration\":\"", with: "\"configuration\":\"0"),
                "another configuration"
            ),
            (whole.replacingOccurrences(of: "\"/a\"", with: "\"/b\""), "digest"),
        ] {
            try Data(text.utf8).write(to: URL(fileURLWithPath: file), options: .atomic)
            Signal.kill.send(to: try #require(try serverpy.pids("forwarderd").first))
            #expect(try Client.get(serverpy.requests, "/a").status == 503)
            #expect(serverpy.running.waitForError(reason) != nil, "\(reason)")
        }
    }
}
