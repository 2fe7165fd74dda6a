import Foundation
import Shared
import Testing

/// An instance is taken out of service, and that is acknowledged only when nobody has a request there any more.
@Suite struct DrainTests {
    private func start() throws -> (Serverpy, StubInstance, StubInstance) {
        let stubs = try ["one", "two"].map { name in
            try StubInstance { head, _ in
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\(name)"
                return head.contains("/a/hang") ? .pieces([answer]) : .bytes(answer)
            }
        }
        let serverpy = try Serverpy(
            StubInstance.service(stubs.map(\.port), policy: ", \"balance\": \"round_robin\""), forwarders: 2)
        serverpy.instances = stubs
        return (try serverpy.ready(), stubs[0], stubs[1])
    }

    private func run(_ command: String, _ stub: StubInstance, _ serverpy: Serverpy, _ options: [String] = []) throws
        -> (
            status: Int32, output: String, errors: String
        )
    {
        try Programs.run(
            [command, "stub", "127.0.0.1:\(stub.port)", "--runtime-dir", serverpy.runtimeDirectory] + options)
    }

    private func names(_ serverpy: Serverpy) throws -> Set<String> {
        Set(try (0..<8).map { _ in try Client.get(serverpy.requests, "/a").text })
    }

    @Test func aDrainedInstanceGetsNothingMoreUntilItIsTakenBack() throws {
        let (serverpy, one, _) = try start()
        #expect(try names(serverpy) == ["one", "two"])
        let drained = try run("drain", one, serverpy, ["--wait", "10"])
        #expect(
            drained.status == 0 && drained.output.hasPrefix("127.0.0.1:\(one.port) is drained"), "\(drained.errors)")
        #expect(try names(serverpy) == ["two"])
        #expect(try Client.get(serverpy.discovery, "/stats").text.contains("\"draining\":true"))
        // It is known through restarts and reloads.
        Signal.kill.send(to: try #require(try serverpy.pids("discoveryd").first))
        #expect(Eventually.holds { (try? Client.get(serverpy.discovery, "/ready").status) == 200 })
        #expect(try Client.get(serverpy.discovery, "/stats").text.contains("\"draining\":true"))
        for pid in try serverpy.pids("forwarderd") { Signal.kill.send(to: pid) }
        #expect(try names(serverpy) == ["two"])
        #expect(try run("undrain", one, serverpy).status == 0)
        #expect(Eventually.holds { (try? names(serverpy)) == ["one", "two"] })
    }

    @Test func theBarrierWaitsForWhatIsUnderWayAndSaysWhoHasIt() throws {
        let (serverpy, one, two) = try start()
        // One of two hanging requests is at each instance.
        let clients = try (0..<2).map { _ in
            let client = try Client(port: serverpy.requests)
            try client.send("GET /a/hang HTTP/1.1\r\nHost: h\r\n\r\n")
            return client
        }
        #expect(Eventually.holds { one.received.count + two.received.count == 2 })
        let busy = one.received.isEmpty ? two : one
        let late = try run("drain", busy, serverpy, ["--wait", "1"])
        #expect(late.status == 1 && late.errors.contains("under way there"), "\(late.errors)")
        #expect(late.errors.contains("is not drained after 1 s:\n  forwarderd "))
        let status = ["status", "--wait", "drained", "--runtime-dir", serverpy.runtimeDirectory, "--timeout"]
        let busyStatus = try Programs.run(status + ["0"])
        #expect(
            busyStatus.status == 1
                && busyStatus.errors.contains("127.0.0.1:\(busy.port) is not drained:\n  forwarderd ")
                && busyStatus.errors.contains("has 1 request under way there"), "\(busyStatus)")
        for _ in 0..<2 {
            one.release()
            two.release()
        }
        for client in clients { #expect(try client.read().status == 200) }
        #expect(try run("drain", busy, serverpy, ["--wait", "10"]).status == 0)
        #expect(try Programs.run(status + ["10"]).status == 0)
    }

    /// A forwarder that has not heard of the drain may send a request there any moment.
    @Test func nothingIsDrainedWhileAForwarderDoesNotKnowOfIt() throws {
        let (serverpy, one, _) = try start()
        let deaf = try #require(try serverpy.pids("forwarderd").first)
        Signal(SIGSTOP).send(to: deaf)
        defer { Signal(SIGCONT).send(to: deaf) }
        #expect(try run("drain", one, serverpy).status == 0)
        let status = ["status", "--wait", "drained", "--runtime-dir", serverpy.runtimeDirectory, "--timeout"]
        let early = try Programs.run(status + ["0"])
        #expect(early.status == 1 && early.errors.contains("(pid \(deaf)) does not know of it yet"), "\(early)")
        Signal(SIGCONT).send(to: deaf)
        #expect(try Programs.run(status + ["10"]).status == 0)
    }

    @Test func wrongNamesAreSaidWithTheNearest() throws {
        let (serverpy, one, _) = try start()
        let service = try Programs.run(
            ["drain", "stubb", "127.0.0.1:\(one.port)", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(service.status == 1 && service.errors.contains("did you mean `stub`?"))
        let missing = try Programs.run(["drain", "stub", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(missing.status == 64 && missing.errors.contains("INSTANCE is missing"))
        #expect(serverpy.stop() == 0)
        #expect(try run("drain", one, serverpy).status == 69)
    }

    /// The mark is on the disk before anyone is told: where it cannot be, nobody is.
    @Test func aDrainThatCannotBeRememberedIsRefused() throws {
        let (serverpy, one, _) = try start()
        let states = serverpy.directory + "/state"
        let state = states + "/" + (try #require(try Files.list(states).first))
        #expect(Eventually.holds { FileManager.default.fileExists(atPath: state + "/instances") })
        try FileManager.default.removeItem(atPath: state + "/instances")
        try FileManager.default.createDirectory(atPath: state + "/instances", withIntermediateDirectories: false)
        let refused = try run("drain", one, serverpy)
        #expect(refused.status == 1 && refused.errors.contains("could not be written"), "\(refused)")
        #expect(try names(serverpy) == ["one", "two"])
    }

    /// When the time for a drain is over, nobody takes a part of an answer for the whole, and each exchange has its line.
    @Test func aClientSeesThatADrainHasCutItsResponse() throws {
        let part = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"
        let stub = try StubInstance { head, _ in
            head.contains("/a/tunnel")
                ? .echo("HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n") : .bytes(part)
        }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1,
            general: ", \"drain_timeout\": 0.2, \"access_log\": \"stderr\""
        ).ready()
        let (old, new, tunnel) = (
            try Client(port: serverpy.requests), try Client(port: serverpy.requests),
            try Client(port: serverpy.requests)
        )
        try old.send("GET /a/old HTTP/1.0\r\nHost: h\r\n\r\n")
        #expect(try old.readSome(until: "part").contains("200 OK"))
        try new.send("GET /a/new HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try new.readSome(until: "part\r\n").contains("200 OK"))
        try tunnel.send("GET /a/tunnel HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        #expect(try tunnel.readSome(until: "\r\n\r\n").contains(" 101 "))
        serverpy.running.signal(.terminate)
        // Without a length the end of the connection is the end of the answer: only a reset is another.
        #expect(throws: (any Error).self) { try old.readToEnd() }
        #expect(throws: (any Error).self) { try tunnel.readToEnd() }
        #expect(try !new.readToEnd().hasSuffix("0\r\n\r\n"))
        #expect(serverpy.running.waitForExit() != nil)
        for path in ["/a/old", "/a/new", "/a/tunnel"] {
            #expect(
                serverpy.running.errors.contains { $0.contains(path) && $0.contains(" cut") },
                "\(path): \(serverpy.running.errors)")
        }
    }
}
