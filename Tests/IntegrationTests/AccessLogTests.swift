import Foundation
import Shared
import Testing

@Suite struct AccessLogTests {
    private func start(_ stub: StubInstance, _ general: String) throws -> Serverpy {
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1, general: general)
        serverpy.instances = [stub]
        return try serverpy.ready()
    }

    private func stub() throws -> StubInstance {
        try StubInstance { head, _ in
            head.contains("/a/cut")
                ? .bytesAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
                : .bytes("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
        }
    }

    /// The file's lines, once there are so many.
    private func lines(_ path: String, _ count: Int) throws -> [String] {
        let end = Date(timeIntervalSinceNow: 20)
        var lines: [String] = []
        repeat {
            lines = ((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
        } while lines.count < count && end.timeIntervalSinceNow > 0
        return lines
    }

    @Test func eachExchangeIsOneLineOfJSON() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/access.log"
        let stub = try stub()
        let serverpy = try start(stub, ", \"access_log\": \"\(path)\", \"log_format\": \"json\"")
        let client = try Client(port: serverpy.requests)
        try client.send(
            "POST /a/b?c=\"d\" HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\nContent-Length: 5\r\n\r\nhello")
        #expect(try client.read().status == 201)
        try client.send("GET /nobody HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try client.read().status == 404)
        try client.send("GET /a/cut HTTP/1.1\r\nHost: h\r\n\r\n")
        _ = try? client.readToEnd()
        let bad = try Client(port: serverpy.requests)
        try bad.send("nonsense\r\n\r\n")
        #expect(try bad.read().status == 400)
        let records = try lines(path, 4).map { try JSONReader.parse(Array($0.utf8)).root }
        #expect(records.count == 4)
        func texts(_ key: StaticString) -> [String] { records.map { $0[key]?.text ?? "?" } }
        #expect(texts("status") == ["201", "404", "200", "400"])
        #expect(texts("method") == ["POST", "GET", "GET", "-"])
        #expect(texts("target") == ["/a/b?c=\"d\"", "/nobody", "/a/cut", "-"])
        #expect(texts("outcome") == ["answered", "answered", "cut", "answered"])
        #expect(texts("service") == ["stub", "", "stub", ""])
        #expect(texts("route") == ["/a", "", "/a", ""])
        #expect(texts("instance") == ["127.0.0.1:\(stub.port)", "", "127.0.0.1:\(stub.port)", ""])
        #expect(texts("tries") == ["1", "0", "1", "0"])
        #expect(texts("cause")[0] == "" && texts("cause")[1].contains("No API found"))
        #expect(texts("cause")[2].contains("closed"))
        #expect(texts("request_id")[0] == "mine")
        #expect(texts("client").allSatisfy { $0 == "127.0.0.1" })
        let received = records[0]["bytes_received"]?.unsigned ?? 0
        #expect(
            received
                == UInt64(
                    "POST /a/b?c=\"d\" HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\nContent-Length: 5\r\n\r\nhello".utf8
                        .count))
        #expect((records[0]["total_ms"]?.double ?? 0) >= (records[0]["first_byte_ms"]?.double ?? 1))
    }

    @Test func aRenamedFileIsLeftAndANewOneIsMade() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/access.log"
        let serverpy = try start(try stub(), ", \"access_log\": \"\(path)\"")
        _ = try Client.get(serverpy.requests, "/a/1")
        #expect(try lines(path, 1).count == 1)
        try FileManager.default.moveItem(atPath: path, toPath: path + ".1")
        serverpy.running.signal(.user1)
        // Whichever file the next line goes to, the one after the reopening goes to the new one.
        let end = Date(timeIntervalSinceNow: 20)
        while !FileManager.default.fileExists(atPath: path), end.timeIntervalSinceNow > 0 {
            _ = try Client.get(serverpy.requests, "/")
        }
        _ = try Client.get(serverpy.requests, "/a/2")
        let line = try #require(try lines(path, 1).last)
        #expect(
            line.contains("\"GET /a/2 HTTP/1.1\" 201 answered") || line.contains("\"GET / HTTP/1.1\" 200"), "\(line)")
        #expect(try lines(path + ".1", 1)[0].contains("/a/1"))
    }

    @Test func aLineMayGoToStandardErrorAndHoldsNoControlCharacter() throws {
        let serverpy = try start(try stub(), ", \"access_log\": \"stderr\"")
        _ = try Client.get(serverpy.requests, "/a", headers: "X-Request-Id: \"q\" \u{1b}\r\n")
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: \"quoted\" id\r\n\r\n")
        _ = try client.read()
        let line = try #require(serverpy.running.waitForError("id=\\x22quoted\\x22\\x20id"))
        #expect(line.contains(" 127.0.0.1 \"GET /a HTTP/1.1\" 201 answered "))
        #expect(line.contains(" stub /a 127.0.0.1:"))
    }

    @Test func aFileThatCannotBeWrittenStopsNothing() throws {
        let serverpy = try start(try stub(), ", \"access_log\": \"/nonexistent/access.log\"")
        for _ in 0..<20 { #expect(try Client.get(serverpy.requests, "/a").status == 201) }
        #expect(serverpy.running.waitForError("access log: /nonexistent/access.log cannot be opened") != nil)
    }

    /// A pipe that nobody reads is not waited for; with a reader it takes lines, and one that stops reading stops nothing.
    @Test func aPipeIsNotWaitedFor() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/pipe"
        #expect(unsafe mkfifo(path, 0o600) == 0)
        let serverpy = try start(try stub(), ", \"access_log\": \"\(path)\"")
        #expect(try Client.get(serverpy.requests, "/a/nobody").status == 201)
        #expect(serverpy.running.waitForError("access log: \(path) cannot be opened") != nil)
        let reader = try Files.open(path)
        defer { reader.close() }
        serverpy.running.signal(.user1)
        var seen = ""
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        #expect(
            Eventually.holds {
                guard (try? Client.get(serverpy.requests, "/a/reader").status) == 201 else { return false }
                var span = buffer.mutableSpan
                if let count = reader.read(into: &span).count {
                    seen += String(decoding: buffer[..<count], as: UTF8.self)
                }
                return seen.contains("GET /a/reader HTTP/1.1\" 201 answered")
            }, "\(seen)")
        // More than a pipe holds.
        let target = "/a/" + String(repeating: "x", count: 6000)
        for _ in 0..<100 { #expect(try Client.get(serverpy.requests, target).status == 201) }
        #expect(serverpy.stop() == 0)
    }

    /// The client has stopped reading and keeps its connection: that is logged when the time is over, and is no failure of the instance.
    @Test func aClientThatDoesNotTakeItsResponseIsNoFailureOfTheInstance() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/access.log"
        let body = String(repeating: "x", count: 20_000_000)
        let stub = try StubInstance { _, _ in
            .bytes("HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n" + body)
        }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port], policy: ", \"timeouts\": {\"idle\": 1}"), forwarders: 1,
            general: ", \"access_log\": \"\(path)\""
        ).ready()
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        let line = try #require(try lines(path, 1).first)
        #expect(
            line.contains(" 200 client_gone ") && line.contains("cause=\"the client did not take the response\""),
            "\(line)")
        let failures = try Client.get(serverpy.discovery, "/metrics").text.split(separator: "\n").filter {
            $0.hasPrefix("serverpy_request_failures_total{")
        }
        #expect(!failures.isEmpty && failures.allSatisfy { $0.hasSuffix(" 0") }, "\(failures)")
        withExtendedLifetime(client) {}
    }

    @Test func operationalMessagesAreJSONToo() throws {
        let serverpy = try start(try stub(), ", \"log_format\": \"json\"")
        try serverpy.configure("\"x\": 1")
        _ = try serverpy.reload()
        let line = try #require(serverpy.running.waitForError("the new configuration is rejected"))
        let message = try JSONReader.parse(Array(line.utf8)).root
        #expect(message["level"]?.string == "error" && message["program"]?.string == "serverpyctl")
    }
}
