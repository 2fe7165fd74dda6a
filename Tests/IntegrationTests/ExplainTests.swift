import Foundation
import Shared
import Testing

/// `explain` is the forwarders' own word: what it says is what happens to a request.
@Suite struct ExplainTests {
    private func start(_ policy: String = "") throws -> (Serverpy, [StubInstance]) {
        let stubs = try (0..<2).map { _ in
            try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        }
        let serverpy = try Serverpy(StubInstance.service(stubs.map(\.port), policy: policy), forwarders: 2)
        serverpy.instances = stubs
        return (try serverpy.ready(), stubs)
    }

    private func explain(_ serverpy: Serverpy, _ arguments: [String]) throws -> (status: Int32, output: String) {
        let result = try Programs.run(["explain"] + arguments + ["--runtime-dir", serverpy.runtimeDirectory])
        return (result.status, result.output + result.errors)
    }

    @Test func itNamesTheRouteTheChoiceAndEachReasonAgainst() throws {
        let (serverpy, stubs) = try start()
        #expect(
            try Programs.run([
                "drain", "stub", "127.0.0.1:\(stubs[1].port)", "--runtime-dir", serverpy.runtimeDirectory, "--wait",
                "5",
            ]).status == 0)
        let (status, text) = try explain(serverpy, ["GET", "/a/b?c"])
        #expect(status == 0)
        #expect(text.contains("service stub by its API path /a"), "\(text)")
        #expect(text.contains("all 2 forwarders agree"), "\(text)")
        let lines = text.split(separator: "\n")
        #expect(lines.contains { $0.hasPrefix("*  127.0.0.1:\(stubs[0].port) ") }, "\(text)")
        #expect(
            lines.contains { $0.contains("127.0.0.1:\(stubs[1].port) ") && $0.contains("draining, since 20") },
            "\(text)")
        let json = try explain(serverpy, ["GET", "/a", "--json"])
        let root = try JSONReader.parse(Array(json.output.utf8)).root
        #expect(root["agree"]?.boolean == true && root["answers"]?.count == 2)
    }

    @Test func aPathOfNobodyAndABadHeadAreAnsweredAsARequestWouldBe() throws {
        let (serverpy, _) = try start()
        #expect(try explain(serverpy, ["GET", "/nowhere"]).output.contains("404 No API found"))
        #expect(try explain(serverpy, ["GET", "/a", "-H", "Content-Length: x"]).output.contains("400 "))
        #expect(try explain(serverpy, ["GET", "a"]).status == 64)
    }

    @Test func theHashOfAHeaderNamesTheInstanceThatTheRequestGetsTo() throws {
        let (serverpy, stubs) = try start(", \"balance\": {\"hash\": \"header:X-User\"}")
        for user in 0..<8 {
            let (_, text) = try explain(serverpy, ["GET", "/a", "--header", "X-User: \(user)"])
            let before = stubs.map(\.received.count)
            let client = try Client(port: serverpy.requests)
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\nX-User: \(user)\r\n\r\n")
            #expect(try client.read().status == 200)
            let chosen = try #require(stubs.indices.first { stubs[$0].received.count > before[$0] })
            #expect(text.contains("*  127.0.0.1:\(stubs[chosen].port) "), "\(user): \(text)")
        }
    }

    @Test func theDiscoveryServerAnswersItToo() throws {
        let (serverpy, stubs) = try start()
        let answer = try Client.get(serverpy.discovery, "/explain?method=GET&path=/a%2Fb")
        let root = try JSONReader.parse(Array(answer.text.utf8)).root
        #expect(answer.status == 200 && root["answers"]?.count == 2)
        #expect(root["evidence"]?.elements.contains { $0["instance"]?.string == "127.0.0.1:\(stubs[0].port)" } == true)
        #expect(try Client.get(serverpy.discovery, "/explain").status == 400)
    }

    /// A forwarder that is stopped is named, and keeps nobody waiting for longer than a second.
    @Test func aForwarderThatDoesNotAnswerIsNamed() throws {
        let (serverpy, _) = try start()
        let pid = try #require(try serverpy.pids("forwarderd").first)
        Signal(SIGSTOP).send(to: pid)
        defer { Signal(SIGCONT).send(to: pid) }
        let (_, text) = try explain(serverpy, ["GET", "/a"])
        #expect(text.contains("forwarderd pid \(pid) did not answer"), "\(text)")
    }
}
