import Foundation
import Shared
import Testing

/// Forwarders come and go under load, and clients notice nothing but `Connection: close`.
@Suite struct RollingTests {
    private func start(forwarders: Int) throws -> Serverpy {
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: forwarders)
        serverpy.instances = [stub]
        return try serverpy.ready()
    }

    private func run(_ arguments: [String], _ serverpy: Serverpy) throws -> (
        status: Int32, output: String, errors: String
    ) { try Programs.run(arguments + ["--runtime-dir", serverpy.runtimeDirectory]) }

    @Test func aRestartReplacesEachAndFailsNoRequest() throws {
        let serverpy = try start(forwarders: 2)
        let before = try serverpy.pids("forwarderd")
        let restart = try Running(
            program: "serverpyctl", arguments: ["restart", "forwarder", "--runtime-dir", serverpy.runtimeDirectory])
        let (good, bad) = try keptRequests(serverpy) { restart.waitForExit(seconds: 0) == nil }
        #expect(good > 0 && bad.isEmpty, "\(bad)")
        #expect(restart.output == ["2 forwarders replaced"], "\(restart.output) \(restart.errors)")
        let isReplaced = Eventually.holds {
            let now = (try? serverpy.pids("forwarderd")) ?? []
            return now.count == 2 && Set(now).isDisjoint(with: before)
        }
        #expect(isReplaced)
    }

    @Test func scalingUpAndDownFailsNoRequest() throws {
        let serverpy = try start(forwarders: 1)
        for count in [3, 1, 2, 1] {
            let scaled = try run(["scale", "forwarder=\(count)"], serverpy)
            #expect(scaled.status == 0 && scaled.output.contains(" -> \(count)"), "\(scaled)")
            var turns = 0
            let (good, bad) = try keptRequests(serverpy) {
                turns += 1
                return turns < 300
            }
            #expect(good > 0 && bad.isEmpty, "\(bad)")
            #expect(Eventually.holds { (try? serverpy.pids("forwarderd").count) == count })
        }
    }

    /// The socket on which they say so holds ten messages where nobody has raised that.
    @Test func manyForwardersBecomeReadyAtOnce() throws {
        let serverpy = try start(forwarders: 24)
        #expect(try run(["status", "--wait", "ready", "--timeout", "20"], serverpy).status == 0)
        #expect(try run(["scale", "forwarder=48"], serverpy).status == 0)
        let ready = try run(["status", "--wait", "ready", "--timeout", "20"], serverpy)
        #expect(ready.status == 0, "\(ready.errors)")
        #expect(try serverpy.pids("forwarderd").count == 48)
    }

    @Test func wrongNumbersAndTargetsAreRefused() throws {
        let serverpy = try start(forwarders: 1)
        for arguments in [
            ["scale", "forwarder=0"], ["scale", "four"], ["scale"], ["restart", "everything"], ["restart", "all", "x"],
        ] {
            let refused = try run(arguments, serverpy)
            #expect(refused.status == 64 && !refused.errors.isEmpty, "\(arguments) \(refused)")
        }
    }

    /// Its predecessor of the same number still finishes what it has.
    @Test func scalingUpAgainDoesNotWaitForOneThatDrains() throws {
        let serverpy = try start(forwarders: 2)
        // Idle connections are kept for some seconds, so both forwarders drain for as long.
        let clients = try (0..<16).map { _ in try Client(port: serverpy.requests) }
        for client in clients {
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try client.read().status == 200)
        }
        for count in [1, 2, 1, 3] { #expect(try run(["scale", "forwarder=\(count)"], serverpy).status == 0) }
        let isScaled = Eventually.holds {
            let status = (try? run(["status", "--json"], serverpy).output) ?? ""
            let processes = (try? JSONReader.parse(Array(status.utf8)).root["processes"]?.elements.map { $0 }) ?? []
            let ready = processes.filter { $0["state"]?.string == "ready" }.compactMap { $0["name"]?.string }
            return Set(ready).isSuperset(of: ["forwarderd 0", "forwarderd 1", "forwarderd 2"])
        }
        #expect(isScaled)
        for client in clients { client.close() }
    }

    /// Those that are just starting are replaced too: they may be of old programs.
    @Test func aRestartRightAfterScalingReplacesThoseThatAreStarting() throws {
        let serverpy = try start(forwarders: 1)
        let client = try control(
            serverpy,
            "{\"command\": \"scale\", \"forwarders\": 4}\n{\"command\": \"restart\", \"target\": \"forwarders\"}\n")
        client.endSending()
        #expect(try client.readToEnd().contains("4 forwarders replaced"))
        let isScaled = Eventually.holds { (try? serverpy.pids("forwarderd").count) == 4 }
        #expect(isScaled)
    }

    /// What it still has under way is waited for, so it must hear what goes on.
    @Test func oneThatDrainsFindsAnotherDiscoveryd() throws {
        let stub = try StubInstance { head, _ in
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            return head.contains("/a/hang") ? .pieces([answer]) : .bytes(answer)
        }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 2)
        serverpy.instances = [stub]
        try serverpy.ready()
        // The kernel says who accepts: until the one that is to drain has a request.
        let leaving = try #require(try serverpy.processes().first { $0.name == "forwarderd 1" }?.pid)
        var clients: [Client] = []
        while try !has(leaving, serverpy), clients.count < 100 {
            let client = try Client(port: serverpy.requests)
            try client.send("GET /a/hang HTTP/1.1\r\nHost: h\r\n\r\n")
            clients.append(client)
            #expect(stub.waitForRequest())
        }
        #expect(try run(["scale", "forwarder=1"], serverpy).status == 0)
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        Signal.kill.send(to: discoveryd)
        #expect(Eventually.holds { (try? Client.get(serverpy.discovery, "/ready").status) == 200 })
        // A reload is in force when all that live work with it.
        try serverpy.configure(StubInstance.service([stub.port], policy: ", \"balance\": \"round_robin\""))
        let reload = try serverpy.reload()
        #expect(reload.status == 0, "\(reload.errors)")
        let drain = try run(["drain", "stub", "127.0.0.1:\(stub.port)", "--wait", "1"], serverpy)
        #expect(drain.status == 1 && drain.errors.contains("(pid \(leaving)) has "), "\(drain.errors)")
        for _ in clients { stub.release() }
        for client in clients { #expect(try client.read().status == 200) }
        #expect(try run(["status", "--wait", "drained", "--timeout", "10"], serverpy).status == 0)
    }

    /// Whether a forwarder has a request under way.
    private func has(_ pid: Int32, _ serverpy: Serverpy) throws -> Bool {
        let stats = try JSONReader.parse(Client.get(serverpy.discovery, "/stats").body).root
        let forwarder = stats["request_processor"]?["forwarders"]?.elements.first { $0["pid"]?.unsigned == UInt64(pid) }
        return (forwarder?["in_flight"]?.unsigned ?? 0) > 0
    }

    // MARK: The control socket

    private func control(_ serverpy: Serverpy, _ text: String) throws -> Client {
        let client = try Client(UnixSocket.connect(.stream, path: serverpy.runtimeDirectory + "/control.sock"))
        try client.send(text)
        return client
    }

    @Test func oneWhoSendsNoMoreGetsItsAnswerAllTheSame() throws {
        let serverpy = try start(forwarders: 1)
        let client = try control(serverpy, "{\"command\": \"restart\", \"target\": \"forwarders\"}\n")
        client.endSending()
        #expect(try client.readToEnd().contains("1 forwarder replaced"))
    }

    @Test func whoAsksWithoutEndOrLeavesInTheMiddleStopsNothing() throws {
        let serverpy = try start(forwarders: 1)
        let commands = "{\"command\": \"scale\", \"forwarders\": 2}\n{\"command\": \"upgrade\"}\n"
        try control(serverpy, commands).close()
        let flood = try control(serverpy, "")
        let line = Array("{\"command\": \"status\"}\n".utf8)
        for _ in 0..<200 {
            guard (try? flood.send((0..<100).flatMap { _ in line })) != nil else { break }
        }
        flood.close()
        #expect(Eventually.holds { (try? run(["status", "--wait", "ready", "--timeout", "5"], serverpy).status) == 0 })
        #expect(try serverpy.pids("serverpyctl").isEmpty && serverpy.running.waitForExit(seconds: 0) == nil)
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
    }
}
