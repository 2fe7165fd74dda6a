import Foundation
import Shared
import Testing

/// The duties of an intermediary (RFC 9110, RFC 9112) and the known holes that no other suite covers, over the wire.
@Suite struct ChecklistTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    private static let empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    /// What must never arrive as a request.
    private static let smuggled = "GET /a/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    private static let chunked = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

    private func with(
        readsBody: Bool = true, paths: String = "\"/a\"", policy: String = "", general: String = "",
        _ answer: @escaping @Sendable (String, [UInt8]) -> StubInstance.Answer = { _, _ in .bytes(empty) },
        _ body: (Client, StubInstance, Serverpy) throws -> Void
    ) throws {
        let stub = try StubInstance(readsBody: readsBody, answer)
        let serverpy = try Serverpy(
            StubInstance.service([stub.port], paths: paths, policy: policy), forwarders: 1, general: general)
        serverpy.instances = [stub]
        let forwarder = try serverpy.ready().pids("forwarderd")
        try body(try Client(port: serverpy.requests), stub, serverpy)
        #expect(try serverpy.pids("forwarderd") == forwarder, "the forwarder has died and was started again")
    }

    /// All that comes back on a connection of its own, to its end.
    private func all(_ serverpy: Serverpy, _ request: String) throws -> String {
        let client = try Client(port: serverpy.requests)
        try client.send(request)
        return try client.readToEnd()
    }

    private func lines(_ head: String?) -> [String] { head?.components(separatedBy: "\r\n") ?? [] }

    private static let refused: [(request: String, status: Int)] =
        [
            ": x\r\nContent-Length: 5", "Content-Length: ", "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Host: h", "Transfer-Encoding: \u{b}chunked", "X\0: 1", "X: 1\u{0}2", "Content-Length : 5", "X: a\u{1b}",
        ].map { ("GET /a HTTP/1.1\r\nHost: h\r\n\($0)\r\n\r\n", 400) }
        + [
            "GET /a#b HTTP/1.1", "GET /a b HTTP/1.1", "GET /a\0 HTTP/1.1", "GE\0T /a HTTP/1.1", "G\u{1b}T /a HTTP/1.1",
            "G\nT /a HTTP/1.1", "GET /a\u{1b}[2J HTTP/1.1", "GET /a\nX HTTP/1.1", "GET http://u@h/a HTTP/1.1",
            "\r\n\r\nGET /a HTTP/1.1", "GET /a http/1.1", "GET /a HTTP/1.0\r\nTransfer-Encoding: chunked",
        ].map { ("\($0)\r\nHost: h\r\n\r\n", 400) }
        + [
            ("GET /a HTTP/2.0\r\nHost: h\r\n\r\n", 505), ("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
            ("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
            ("GET /a\(String(repeating: "a", count: Limits.targetBytes)) HTTP/1.1\r\nHost: h\r\n\r\n", 414),
            ("GET /a HTTP/1.1\r\n\(String(repeating: "X: y\r\n", count: Limits.headFields + 1))\r\n", 431),
            ("GET /a HTTP/1.1\r\n" + String(repeating: "X: \(String(repeating: "y", count: 995))\r\n", count: 65), 431),
        ]

    @Test func anAmbiguousRequestIsAnsweredOnceAndItsConnectionCloses() throws {
        try with { _, stub, serverpy in
            for (request, status) in Self.refused {
                let text = try all(serverpy, request + Self.smuggled)
                let name = request.prefix(80)
                #expect(text.hasPrefix("HTTP/1.1 \(status) ") && text.contains("\r\nConnection: close\r\n"), "\(name)")
                let parts = text.components(separatedBy: "\r\n\r\n")
                #expect(parts.count == 2, "one answer: \(name)")
                #expect(try JSONReader.parse(Array(parts[1].utf8)).root["status"]?.string != nil, "\(name)")
            }
            #expect(stub.received.isEmpty)
        }
    }

    @Test func aLongFieldNameHidesNothing() throws {
        try with { client, stub, _ in
            for count in [128, 256, 512, 1024, 4096, 8192] {
                // By a length that overflows, the first would be a Content-Length or the second none.
                let name = "Content-Length" + String(repeating: "x", count: count)
                let head = "POST /a HTTP/1.1\r\nHost: h\r\n\(name): 1\r\nContent-Length: 5\r\n\r\n"
                try client.succeeds(head + "hello")
                #expect(stub.bodies.last == Array("hello".utf8) && lines(stub.received.last).contains("\(name): 1"))
                try client.succeeds(Self.smuggled)
            }
        }
    }

    @Test(arguments: ["text", "json"])
    func controlBytesReachNoLogAsTheyAre(_ format: String) throws {
        try with(general: ", \"access_log\": \"stderr\", \"log_format\": \"\(format)\"") { client, _, serverpy in
            for bad in ["G\u{1b}T /a", "G\nT /a", "GET /a\u{1b}[2J", "GET /a\nforged"] {
                let text = try all(serverpy, "\(bad) HTTP/1.1\r\nHost: h\r\nX-Request-Id: \u{1b}\r\n\r\n")
                #expect(!text.contains("\u{1b}"))
            }
            let good = "GET /a/%0a\"\\last HTTP/1.1\r\nHost: h\r\nX-Request-Id: \u{9b}2J\r\n\r\n"
            try client.succeeds(good)
            let line = try #require(serverpy.running.waitForError("last"))
            if format == "text" {
                #expect(line.contains("\"GET /a/%0a\\x22\\x5clast HTTP/1.1\" 200") && line.contains("id=\\xc2\\x9b2J"))
            } else {
                #expect(try JSONReader.parse(Array(line.utf8)).root["target"]?.string == "/a/%0a\"\\last")
            }
            let errors = serverpy.running.errors
            #expect(errors.count { $0.contains(format == "text" ? "\" 400 answered" : "\"status\":400") } == 4)
            #expect(errors.allSatisfy { $0.utf8.allSatisfy { $0 >= 0x20 } && !$0.hasPrefix("forged") })
        }
    }

    @Test func pathsAreRoutedAndForwardedByTheSameBytes() throws {
        let other = try StubInstance { _, _ in .bytes(Self.empty) }
        let stub = try StubInstance { _, _ in .bytes(Self.empty) }
        let second = StubInstance.service([other.port], paths: "\"/b\"").replacing("\"stub\"", with: "\"other\"")
        let serverpy = try Serverpy(StubInstance.service([stub.port]) + ", " + second, forwarders: 1)
        serverpy.instances = [stub, other]
        let client = try Client(port: try serverpy.ready().requests)
        for target in [
            "/a//b", "/a/%0d%0aX:%20y", "/a/%2f%2Fb", "/a/..b/...", "/a?/../b//%2e%2e", "/a/%62", "/a/%zz%",
            "/a/?", "/a/\"<>|^`{}\\", "/a/;x=../b",
        ] {
            try client.succeeds("GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(stub.received.last?.hasPrefix("GET \(target) HTTP/1.1\r\nHost: h\r\n") == true, "\(target)")
        }
        let count = stub.received.count
        for target in ["/%61", "//a", "/A", "/ab", "/x/a", "/%2fa", "http://h//a"] {
            #expect(try Client.get(serverpy.requests, target).status == 404, "\(target)")
        }
        for target in ["/a/../b", "/a/%2e%2E/b", "/a%2f..%2fb", "/a/.%2e", "/a\\..\\b", "/a%5c..%5cb", "/a/./b"] {
            #expect(try Client.get(serverpy.requests, target).status == 400, "\(target)")
        }
        #expect(stub.received.count == count && other.received.isEmpty)
    }

    @Test func noRequestNamesItsInstance() throws {
        let elsewhere = try StubInstance { _, _ in .bytes(Self.empty) }
        let authority = "127.0.0.1:\(elsewhere.port)"
        try with { client, stub, _ in
            for (target, host) in [("/a?q", authority + " \t"), ("http://\(authority)/a?q", "h")] {
                let claims = "X-Forwarded-Host: \(authority)\r\nForwarded: host=\(authority)"
                try client.succeeds("GET \(target) HTTP/1.1\r\nHost: \(host)\r\n\(claims)\r\n\r\n")
                let head = stub.received.last ?? ""
                #expect(head.hasPrefix("GET /a?q HTTP/1.1\r\nHost: \(authority)\r\n"), "\(head)")
                #expect(lines(head).count { $0.hasPrefix("Host:") } == 1)
            }
            #expect(elsewhere.received.isEmpty)
        }
    }

    @Test func aQuestionToTheServerGoesToWhoeverClaimsTheRoot() throws {
        let star = "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"
        try with { client, stub, _ in
            try client.succeeds(star)
            try client.send("TRACE /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n")
            #expect(try client.read().status == 501)
            #expect(stub.received.isEmpty)
        }
        try with(paths: "\"/\"") { client, stub, _ in
            try client.succeeds(star)
            #expect(stub.received.last?.hasPrefix("OPTIONS * HTTP/1.1\r\nHost: h\r\n") == true)
        }
    }

    @Test(arguments: ["GET", "HEAD", "DELETE", "OPTIONS", "get", "M-SEARCH"])
    func aBodyIsABodyWhateverTheMethod(_ method: String) throws {
        try with { client, stub, _ in
            let size = String(Self.smuggled.utf8.count, radix: 16)
            for framed in [
                "Content-Length: \(Self.smuggled.utf8.count)\r\nX: 1\r\n\r\n\(Self.smuggled)",
                "Transfer-Encoding: chunked\r\nX: 1\r\n\r\n\(size)\r\n\(Self.smuggled)\r\n0\r\n\r\n",
                "X: 1\r\ntransfer-encoding:  Chunked \r\n\r\n\(size)\r\n\(Self.smuggled)\r\n0\r\n\r\n",
            ] {
                try client.send("\(method) /a HTTP/1.1\r\nHost: h\r\n\(framed)GET /a?next HTTP/1.1\r\nHost: h\r\n\r\n")
                #expect(try client.read(isHead: method == "HEAD").status == 200)
                #expect(try client.read().status == 200)
                #expect(stub.bodies.suffix(2).first == Array(Self.smuggled.utf8))
                let starts = stub.received.suffix(2).map { lines($0)[0] }
                #expect(starts == ["\(method) /a HTTP/1.1", "GET /a?next HTTP/1.1"])
            }
        }
    }

    @Test(arguments: [
        Self.smuggled, "X : 1\r\n\r\n" + smuggled, ": 1\r\n\r\n", String(repeating: "X:\r\n", count: 200) + "\r\n",
    ])
    func badTrailersEndTheConnectionAndAreNoRequest(_ trailers: String) throws {
        try with(readsBody: false, { head, _ in head.hasPrefix("GET") ? .bytes(Self.ok) : .pieces([Self.ok]) }) {
            client, stub, _ in
            try client.send(Self.chunked + "5\r\nhello\r\n0\r\n")
            #expect(stub.waitForRequest())
            try client.send(trailers)
            client.endSending()
            let text = try client.readToEnd()
            #expect(text.hasPrefix("HTTP/1.1 4") && text.contains("\r\nConnection: close\r\n"), "\(text)")
            #expect(text.components(separatedBy: "HTTP/1.1 ").count == 2 && stub.received.count == 1, "\(text)")
        }
    }

    @Test func theUnreadBodyOfARefusedRequestIsNoRequestAndDoesNotEatTheAnswer() throws {
        try with { _, stub, serverpy in
            let body = String(repeating: Self.smuggled, count: 1200)
            for framing in ["Content-Length: \(body.utf8.count)\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nb000\r\n"]
            {
                let text = try all(serverpy, "POST /nobody HTTP/1.1\r\nHost: h\r\n" + framing + body)
                #expect(text.hasPrefix("HTTP/1.1 404 ") && text.contains("\r\nConnection: close\r\n"))
                #expect(text.components(separatedBy: "HTTP/1.1 ").count == 2)
            }
            #expect(stub.received.isEmpty)
        }
    }

    @Test func aClientThatSendsNothingTimesOut() throws {
        let policy = ", \"max_connections\": 1, \"timeouts\": {\"idle\": 0.3, \"queue\": 20}"
        try with(policy: policy, general: ", \"timeouts\": {\"head\": 0.3}") { client, stub, serverpy in
            try client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
            // Once around: it has its place.
            #expect(try Client.get(serverpy.requests, "/").status == 200)
            let (second, third) = (try Client(port: serverpy.requests), try Client(port: serverpy.requests))
            try second.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            try third.send("GET /a HTTP/1.1\r\nHost: h\r\n")
            for silent in [client, third] {
                let text = try silent.readToEnd()
                #expect(text.hasPrefix("HTTP/1.1 408 ") && text.contains("\r\nConnection: close\r\n"), "\(text)")
            }
            #expect(try second.read().status == 200)
            #expect(stub.received.count == 1)
        }
    }

    @Test func aResetCancelsTenThousandPipelinedRequests() throws {
        try with(policy: ", \"max_connections\": 1", { _, _ in .pieces([Self.ok]) }) { client, stub, serverpy in
            try client.send(String(repeating: "GET /a HTTP/1.1\r\nHost:h\r\n\r\n", count: 10_000))
            for _ in 0..<3 {
                #expect(stub.waitForRequest())
                stub.release()
            }
            #expect(stub.waitForRequest())
            Socket.resetOnClose(client.descriptor)
            client.close()
            // The only place at the instance is free again, and none of the rest takes it.
            let honest = try Client(port: serverpy.requests)
            try honest.send("GET /a?honest HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(stub.waitForRequest())
            for _ in 0..<2 { stub.release() }
            #expect(try honest.read().text == "ok")
            #expect(stub.received.count == 5 && stub.received.last?.hasPrefix("GET /a?honest ") == true)
        }
    }

    @Test func hopByHopFieldsAreRemoved() throws {
        let answer =
            "HTTP/1.0 200 OK\r\nConnection: X-Own, Via\r\nX-Own: 1\r\nProxy-Connection: x\r\nTE: x\r\nUpgrade: x\r\n"
            + "Proxy-Authenticate: x\r\nProxy-Authorization: x\r\nKeep-Alive: x\r\nX-Kept : caf\u{e9}\r\n"
        let chunked =
            answer.replacing("1.0", with: "1.1") + "Transfer-Encoding: chunked\r\n\r\n2;e\r\nok\r\n0\r\nX-Own: 1\r\n"
            + "Content-Length: 9\r\nConnection: close\r\nHost: x\r\nX-Good: 1\r\n\r\n"
        try with({ head, _ in head.contains("/chunked") ? .bytes(chunked) : .bytesAndClose(answer + "\r\nok") }) {
            _, _, serverpy in
            for (path, end) in [("/a", "2\r\nok\r\n0\r\n\r\n"), ("/a/chunked", "2\r\nok\r\n0\r\nX-Good: 1\r\n\r\n")] {
                let text = try all(serverpy, "GET \(path) HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                let parts = text.components(separatedBy: "\r\n\r\n")
                #expect(parts.dropFirst().joined(separator: "\r\n\r\n") == end)
                let names = parts[0].components(separatedBy: "\r\n").map { $0.prefix { $0 != ":" } }
                #expect(names[1...].sorted() == ["Connection", "Date", "Transfer-Encoding", "Via", "X-Kept"])
                #expect(parts[0].contains("\r\nX-Kept: caf\u{e9}\r\n") && parts[0].contains("\r\nConnection: close"))
                #expect(parts[0].contains(path == "/a" ? "\r\nVia: 1.0 " : "\r\nVia: 1.1 "))
            }
        }
    }

    @Test func upgradeOf426AndTEAreForwarded() throws {
        let required =
            "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: a/1, b\r\nContent-Length: 0\r\n\r\n"
        try with({ head, _ in .bytes(head.contains("/426") ? required : Self.ok) }) { client, stub, _ in
            try client.send("GET /a/426 HTTP/1.1\r\nHost: h\r\n\r\n")
            let answer = try client.read()
            // RFC 9110 15.5.22: it says to what.
            #expect(answer.status == 426 && answer.values("Upgrade") == ["a/1, b"])
            #expect(answer.values("Connection").map { $0.lowercased() } == ["upgrade"])
            // RFC 9110 10.1.4: trailers are understood on this side too; other codings of the transfer are ours to say.
            try client.succeeds("GET /a HTTP/1.1\r\nHost: h\r\nTE: gzip;q=0.5, trailers\r\nConnection: TE\r\n\r\n")
            #expect(lines(stub.received.last).filter { $0.hasPrefix("TE:") } == ["TE: trailers"])
            #expect(lines(stub.received.last).contains("Connection: TE"))
            try client.succeeds("GET /a HTTP/1.1\r\nHost: h\r\nTE: gzip\r\nConnection: TE\r\n\r\n")
            #expect(stub.received.last?.contains("TE:") == false)
        }
    }

    /// RFC 9110 6.6.2: what is announced can only come behind chunks.
    @Test func trailersAreAnnouncedWhereThereCanBeSome() throws {
        try with { client, stub, _ in
            let chunks = "1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"
            for (framing, isAnnounced) in [
                ("\r\n", false), ("Content-Length: 0\r\n\r\n", false), ("Content-Length: 1\r\n\r\nx", false),
                ("Transfer-Encoding: chunked\r\n\r\n" + chunks, true),
            ] {
                try client.succeeds("POST /a HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\n" + framing)
                #expect(lines(stub.received.last).contains("Trailer: X-Sum") == isAnnounced, "\(framing)")
            }
        }
    }

    @Test func fieldsOfTheForwarderCannotBeRemovedByConnection() throws {
        try with { client, stub, _ in
            try client.succeeds(
                "GET /a HTTP/1.1\r\nHost: h\r\nConnection: X-Request-Id, Host, Via, X-Forwarded-For, Content-Length\r\n"
                    + "X-Request-Id: theirs\r\n\r\n")
            let names = lines(stub.received.last).map { $0.prefix { $0 != ":" } }
            for name in ["Host", "Via", "X-Forwarded-For", "X-Request-Id"] {
                #expect(names.filter { $0 == name }.count == 1, "\(name)")
            }
        }
    }

    @Test func aRequestThatGoesInCirclesEnds() throws {
        try with { client, stub, serverpy in
            try client.succeeds("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            let own = try #require(lines(stub.received.first).first { $0.hasPrefix("Via: 1.1 ") }?.dropFirst(5))
            let (line, list) = ("Via: \(own)\r\n", "Via: \(own), 1.1 other,\(own) (comment)\r\n")
            let others = String(repeating: "Via: \(own)x, 1.1 other\r\n", count: 20)
            for (via, status) in [(4, 200), (5, 508)].map({ (String(repeating: list, count: $0), $1) }) + [
                (String(repeating: line, count: 8), 200), (String(repeating: line, count: 9), 508), (others, 200),
            ] {
                #expect(try Client.get(serverpy.requests, "/a", headers: via).status == status, "\(via)")
            }
        }
    }

    private static let badAnswers = [
        "no colon\r\n", ": nameless\r\n", "X: a\r\n folded\r\n", "X: a\u{0}b\r\n", "X: a\rb\r\n", "X: a\nY: b\r\n",
        "X\u{1}: a\r\n", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 4, 4\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n", "Content-Length:\r\n", "Content-Length: +4\r\n",
        "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: \u{b}chunked\r\n",
        // Bad chunks right behind the head: nothing of it has been sent on.
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "Transfer-Encoding: chunked\r\n\r\n4;\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n00000000000000004\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n",
    ]

    @Test func anAnswerThatCouldBeReadTwoWaysIsABadGateway() throws {
        try with({ head, _ in
            guard let index = Int(head.split { " /".contains($0) }[2]) else { return .bytes(Self.ok) }
            return .bytes("HTTP/1.1 200 OK\r\n\(Self.badAnswers[index])Content-Length: 4\r\n\r\nevil")
        }) { client, _, _ in
            for index in Self.badAnswers.indices {
                let name = Self.badAnswers[index]
                try client.send("GET /a/\(index) HTTP/1.1\r\nHost: h\r\n\r\nGET /a/good HTTP/1.1\r\nHost: h\r\n\r\n")
                let answer = try client.read()
                #expect(answer.status == 502 && !answer.text.contains("evil"), "\(name)")
                #expect(try client.read().text == "ok", "\(name)")
            }
        }
    }

    @Test func aBadChunkInABegunAnswerIsSeenByTheClient() throws {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        try with({ _, _ in .pieces([head, "zz\r\n0\r\n\r\n"]) }) { client, stub, _ in
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            stub.release()
            #expect(try client.readSome(until: "abc\r\n").hasPrefix("HTTP/1.1 200 "))
            stub.release()
            #expect(try client.readToEnd() == "", "the last chunk is missing")
        }
    }

    @Test func answersWithoutABodyHaveNoneWhateverTheirFieldsSay() throws {
        try with({ head, _ in
            let parts = head.split { " /".contains($0) }
            let field = parts[3] == "c" ? "Transfer-Encoding: chunked" : "Content-Length: 5"
            return .bytes("HTTP/1.1 \(parts[2]) X\r\n\(field)\r\n\r\n")
        }) { client, _, _ in
            for (request, lengths) in [
                ("HEAD /a/200/l", ["5"]), ("HEAD /a/200/c", []), ("GET /a/304/l", ["5"]), ("GET /a/304/c", []),
                ("GET /a/204/l", []), ("GET /a/204/c", []),
            ] {
                try client.send("\(request) HTTP/1.1\r\nHost: h\r\n\r\nGET /none HTTP/1.1\r\nHost: h\r\n\r\n")
                let answer = try client.read(isHead: request.hasPrefix("HEAD"))
                #expect(answer.values("Content-Length") == lengths && answer.values("Connection") == [], "\(request)")
                #expect(answer.status != 204 || answer.values("Transfer-Encoding") == [])
                #expect(try client.read().status == 404, "the next answer follows at once: \(request)")
            }
        }
    }

    @Test func interimAnswersKeepTheirOrderAndDoNotReachOldClients() throws {
        let interim = [102, 103, 103, 199].map { "HTTP/1.1 \($0) X\r\nX-A: \($0)\r\n" }
        let answer =
            interim.joined(separator: "Content-Length: 5\r\n\r\n") + "Transfer-Encoding: chunked\r\n\r\n" + Self.ok
        try with({ _, _ in .bytes(answer) }) { _, _, serverpy in
            let text = try all(serverpy, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            #expect(text.hasPrefix(interim.joined(separator: "\r\n") + "\r\nHTTP/1.1 200 "), "\(text)")
            let old = try all(serverpy, "GET /a HTTP/1.0\r\n\r\n")
            #expect(old.hasPrefix("HTTP/1.1 200 ") && old.components(separatedBy: "HTTP/1.1 ").count == 2)
        }
    }

    @Test func aFinalAnswerInsteadOf100EndsBothConnections() throws {
        let head =
            "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: \(Self.smuggled.utf8.count)\r\n\r\n"
        try with(readsBody: false, { _, _ in .bytes("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno") }) {
            client, stub, serverpy in
            let pid = try #require(try serverpy.pids("forwarderd").first)
            let path = "/proc/\(pid)/fd"
            func sockets() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: path).count }
            try client.succeeds("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            let before = try sockets()
            try client.send(head)
            let answer = try client.read()
            #expect(answer.status == 403 && answer.values("Connection") == ["close"])
            try client.send(Self.smuggled)
            client.endSending()
            #expect(try client.readToEnd() == "")
            // A connection kept for reuse would stay.
            let end = Date(timeIntervalSinceNow: 10)
            while try sockets() >= before, end.timeIntervalSinceNow > 0 { _ = try Client.get(serverpy.requests, "/") }
            #expect(try sockets() < before, "the client's is gone and none is kept")
            #expect(stub.received.count == 1)
        }
        try with { client, stub, _ in
            try client.send(head + Self.smuggled)
            var interim: [UInt16] = []
            #expect(try client.read(interim: &interim).status == 200, "who does not wait is relayed")
            #expect(interim.isEmpty && stub.bodies == [Array(Self.smuggled.utf8)])
        }
    }

    @Test(arguments: [
        ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", ["close"], 1), ("GET /a HTTP/1.0\r\n", ["close"], 1),
        ("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n", ["keep-alive"], 2),
        ("GET /a HTTP/1.0\r\nConnection: keep-alive, close\r\n", ["close"], 1),
        ("GET /a/chunked HTTP/1.0\r\nConnection: keep-alive\r\n", ["close"], 1),
    ])
    func aConnectionLastsAsLongAsBothSidesSay(_ request: String, _ connection: [String], _ answers: Int) throws {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        try with({ head, _ in .bytes(head.contains("/chunked") ? chunked : Self.ok) }) { client, stub, _ in
            try client.send(request + "\r\n" + "GET /a?2 HTTP/1.0\r\n\r\n")
            let text = try client.readToEnd()
            #expect(text.components(separatedBy: "HTTP/1.1 200 ").count == answers + 1 && text.hasSuffix("\r\n\r\nok"))
            let first = lines(text.components(separatedBy: "\r\n\r\n").first)
            #expect(first.filter { $0.hasPrefix("Connection: ") } == connection.map { "Connection: \($0)" })
            #expect(stub.received.count == answers && stub.received[0].contains(" HTTP/1.1\r\n"), "our own version")
        }
    }
}

extension Client {
    fileprivate func succeeds(_ request: String, _ location: SourceLocation = #_sourceLocation) throws {
        try send(request)
        #expect(try read().status == 200, "\(request.prefix(80))", sourceLocation: location)
    }
}
