import Foundation
import Shared
import Testing

/// What peers of discoveryd and serverpyctl may do to them: each a hazard by name.
@Suite struct DiscoveryHazardTests {
    /// A serverpy before one sample; at the end discoveryd must be the one that was started.
    private func with(_ body: (Serverpy) throws -> Void) throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(StubInstance.service([sample.port], paths: "\"/hello\""), forwarders: 1).ready()
        let before = try serverpy.pids("discoveryd")
        try body(serverpy)
        #expect(try serverpy.pids("discoveryd") == before, "discoveryd has died and was started again")
        #expect(try Client.get(serverpy.discovery, "/health").status == 200)
        #expect(serverpy.stop() == 0)
    }

    private func subscriber(_ serverpy: Serverpy) throws -> Descriptor {
        try UnixSocket.connect(.stream, path: serverpy.runtimeDirectory + "/discovery.sock")
    }

    @Test func aSubscriberThatSaysHelloAndGoesHurtsNobody() throws {
        try with { serverpy in
            for _ in 0..<50 {
                let socket = try subscriber(serverpy)
                _ = socket.send(SubscriberLines.hello(role: .observer, pid: 1, index: nil).span)
                socket.close()
            }
        }
    }

    @Test(arguments: [
        "garbage\n", "{\"type\":\"hello\",\"role\":\"king\"}\n",
        "{\"type\":\"hello\",\"role\":\"observer\",\"protocol\":[7,9]}\n",
        "{\"type\":\"observed\",\"service\":\"a\"}\n", "[[[[\n", "{\"type\":\"applied\",\"epoch\":-1}\n", "\n", "\0\n",
    ])
    func aMalformedLineEndsItsConnectionAndNothingElse(_ line: String) throws {
        try with { serverpy in
            for _ in 0..<5 {
                let socket = try subscriber(serverpy)
                _ = socket.send(Array(line.utf8).span)
                socket.close()
            }
        }
    }

    @Test func aLineWithoutEndIsRefusedByALimit() throws {
        try with { serverpy in
            let socket = try subscriber(serverpy)
            defer { socket.close() }
            try socket.setNonBlocking(false)
            let junk = [UInt8](repeating: 0x61, count: 65_536)
            var sent = 0
            while sent < 16 << 20, let count = socket.send(junk.span).count { sent += count }
            #expect(sent < 16 << 20, "the connection must have been closed")
        }
    }

    @Test func manySilentConnectionsLeaveRoomForForwarders() throws {
        try with { serverpy in
            var sockets: [Descriptor] = []
            for _ in 0..<300 { if let socket = try? subscriber(serverpy) { sockets.append(socket) } }
            let forwarder = try #require(try serverpy.pids("forwarderd").first)
            Signal.kill.send(to: forwarder)
            #expect(serverpy.running.waitForError("forwarderd 0 (pid \(forwarder)) killed") != nil)
            #expect(try Client.get(serverpy.requests, "/hello").status == 200)
            for socket in sockets { socket.close() }
        }
    }

    @Test func askingTheSupervisorAndLeavingLeaksNothing() throws {
        try with { serverpy in
            for _ in 0..<150 {
                let socket = try UnixSocket.connect(.stream, path: serverpy.runtimeDirectory + "/control.sock")
                _ = socket.send(Array("{\"command\":\"status\"}\n{\"command\":\"nonsense\"}\n".utf8).span)
                socket.close()
            }
        }
    }

    @Test func theHTTPPortRefusesStrangersMethodsAndPaths() throws {
        try with { serverpy in
            let port = serverpy.discovery
            let missing = try Client.get(port, "/nothing")
            #expect(missing.status == 404)
            #expect(missing.text.contains("/stats"))
            let client = try Client(port: port)
            try client.send("POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            let post = try client.read()
            #expect(post.status == 405)
            #expect(post.values("Allow") == ["GET, HEAD"])
            try client.send("HEAD /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
            #expect(try client.read(isHead: true).status == 200)
            try client.send("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            #expect(try client.read().status == 421)
            try client.send("GET /dump?service=stub HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            let dump = try client.read().text
            #expect(dump.contains("\"stats_packets\":[{\"start_time\""))
            #expect(dump.hasSuffix("\"complete\":true}\n"))
            try client.send("GET /stats?service=other HTTP/1.1\r\nHost: [::1]:1\r\n\r\n")
            #expect(
                try client.read().text
                    == "{\"service_statistics\":[],\"api_statistics\":[],\"traffic_by_service\":[]}\n")
            try client.send("GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\nb\r\n\r\n")
            #expect(try client.read().status == 400)
        }
    }

    /// A body that nobody needs is read and does not become the next request.
    @Test func aConnectionOutlivesARequestWithABody() throws {
        try with { serverpy in
            let client = try Client(port: serverpy.discovery)
            for framing in [
                "Content-Length: 5\r\n\r\nGET /", "Transfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n",
            ] {
                try client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\(framing)")
                let answer = try client.read()
                #expect(answer.status == 200 && answer.values("Connection").isEmpty)
            }
            try client.send(
                "GET /health HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
            try client.send("x")
            var interim: [UInt16] = []
            #expect(try client.read(interim: &interim).status == 200 && interim == [100])
            try client.send("GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            #expect(try client.read().status == 400)
        }
    }

    /// A client that is still sending gets to see the answer (RFC 9112 9.6).
    @Test(arguments: ["POST /health", "PUT /stats", "GET /health", "POST /nothing"])
    func anAnswerReachesWhoeverIsStillSending(_ line: String) throws {
        try with { serverpy in
            let client = try Client(port: serverpy.discovery)
            let body = [UInt8](repeating: 0x78, count: 5_000_000)
            try client.send("\(line) HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(body.count)\r\n\r\n")
            try client.send(body)
            let answer = try client.read()
            #expect(answer.status == (line.contains("GET") ? 200 : line.contains("nothing") ? 404 : 405))
            #expect(answer.values("Connection") == ["close"])
        }
    }

    @Test func anErrorToHEADHasNoBodyWhateverStandsBeforeIt() throws {
        try with { serverpy in
            let client = try Client(port: serverpy.discovery)
            try client.send("\r\nHEAD /health HTTP/1.1\r\n\r\n")
            #expect(try client.readToEnd().hasSuffix("\r\n\r\n"))
            let old = try Client(port: serverpy.discovery)
            try old.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            #expect(try old.readToEnd().contains("Connection: close\r\n"))
        }
    }

    /// For whom a request is: an absolute target's authority counts instead of Host (RFC 9112, 3.2.2).
    @Test(arguments: [
        ("/ready", "localhost", 200), ("/ready", "127.0.0.1:7", 200), ("/ready", "[::1]", 200),
        ("/ready", "evil.test", 421),
        ("/ready", "localhost.", 200), ("/ready", "localhost.evil.test", 421), ("/ready", "127.0.0.1.evil.test", 421),
        ("/ready", "evil.test:localhost", 400), ("/ready", "a@localhost", 400),
        ("http://evil.test/ready", "localhost", 421), ("http://evil.test/ready", "evil.test", 421),
        ("http://localhost/ready", "evil.test", 200), ("http://localhost/ready", "localhost", 200),
        ("http://localhost:99/ready", "localhost", 200), ("http://LOCALHOST/ready", "x", 200),
        ("http://[::1]/ready", "x", 200),
        ("http://localhost@evil.test/ready", "localhost", 400), ("http://evil.test@localhost/ready", "localhost", 400),
        ("http://evil.test", "localhost", 421), ("https://evil.test/ready", "localhost", 421),
        ("HTTP://evil.test/ready", "localhost", 421),
        ("http:///ready", "localhost", 400), ("ftp://localhost/ready", "localhost", 400),
        ("//evil.test/ready", "localhost", 404),
    ])
    func theHTTPPortIsForThoseWhoNameIt(_ target: String, _ host: String, _ status: UInt16) throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(StubInstance.service([sample.port]), forwarders: 1).ready()
        for version in ["1.1", "1.0"] {
            let client = try Client(port: serverpy.discovery)
            try client.send("GET \(target) HTTP/\(version)\r\nHost: \(host)\r\nConnection: close\r\n\r\n")
            #expect(try client.read().status == status, "\(target) \(host) \(version)")
        }
    }

    @Test func metricsAreInThePrometheusTextFormat() throws {
        try with { serverpy in
            let answer = try Client.get(serverpy.discovery, "/metrics")
            #expect(answer.status == 200)
            #expect(answer.values("Content-Type") == ["text/plain; version=0.0.4; charset=utf-8"])
            var typed: Set<Substring> = []
            for line in answer.text.split(separator: "\n") {
                if line.hasPrefix("# HELP ") { continue }
                if line.hasPrefix("# TYPE ") {
                    #expect(typed.insert(line.split(separator: " ")[2]).inserted, "a family twice: \(line)")
                    continue
                }
                let name = line.prefix { $0 != "{" && $0 != " " }
                let family = ["_bucket", "_sum", "_count"].reduce(name) { name, suffix in
                    name.hasSuffix(suffix) && typed.contains(name.dropLast(suffix.count))
                        ? name.dropLast(suffix.count) : name
                }
                #expect(typed.contains(family), "a sample without a type: \(line)")
                #expect(Double(line.split(separator: " ").last ?? "") != nil, "no number: \(line)")
            }
            #expect(answer.text.contains("serverpy_instances{status=\"up\"} 1\n"))
            #expect(answer.text.contains("serverpy_polls_total{outcome=\"ok\"} "))
            #expect(answer.text.contains("serverpy_instance_up{service=\"stub\",instance=\"127.0.0.1:"))
        }
    }

    @Test func statsThatHaveNotChangedAreNotSentAgain() throws {
        try with { serverpy in
            let client = try Client(port: serverpy.discovery)
            // A poll may fall between the two requests; not each time.
            let isUnchanged = Eventually.holds {
                guard let tag = try? Client.get(serverpy.discovery, "/stats").values("ETag").first,
                    (try? client.send(
                        "HEAD /stats HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"x\", \(tag)\r\n\r\n")) != nil,
                    let answer = try? client.read(isHead: true)
                else { return false }
                return answer.status == 304 && answer.values("ETag") == [tag]
            }
            #expect(isUnchanged)
            try client.send("GET /stats HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: W/\"0.0-0\"\r\n\r\n")
            #expect(try client.read().status == 200)
        }
    }

    /// Stopped as a whole for longer than every time-out, it finds polls that have failed and due times that have passed: none
    /// of it is the instance's fault.
    @Test func nothingFlipsWhenDiscoverydWasStopped() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service(
                [sample.port], paths: "\"/hello\"", polling: ", \"frequency\": 0.2, \"timeout\": 0.2"),
            forwarders: 1
        ).ready()
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        Signal(SIGSTOP).send(to: discoveryd)
        Thread.sleep(forTimeInterval: 2)
        Signal(SIGCONT).send(to: discoveryd)
        #expect(serverpy.running.waitForError("stood still for") != nil)
        #expect(try Client.get(serverpy.discovery, "/health").text.contains("\"state\":\"degraded\""))
        let stats = try Client.get(serverpy.discovery, "/stats").text
        #expect(stats.contains("\"status\":\"up\"") && stats.contains("\"changes\":0"), "\(stats)")
        #expect(serverpy.stop() == 0)
    }

    /// At most the last second of history is lost, and never a file.
    @Test func aKilledDiscoverydComesBackWithItsHistory() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port], paths: "\"/hello\"", polling: ", \"frequency\": 0.1"), forwarders: 1
        ).ready()
        func packets() throws -> [String] {
            try Client.get(serverpy.discovery, "/dump").text.components(separatedBy: "\"start_time\":").dropFirst().map
            {
                String($0.prefix(26))
            }
        }
        for _ in 0..<3 {
            // More than a second of it, so that some must be on the disk.
            #expect(Eventually.holds { (try? packets().count) ?? 0 > 20 })
            let before = try packets()
            // One write may have been on its way; the next one has what came before.
            for _ in 0..<2 {
                let size = historyBytes(serverpy)
                #expect(Eventually.holds { historyBytes(serverpy) > size })
            }
            Signal.kill.send(to: try #require(try serverpy.pids("discoveryd").first))
            #expect(Eventually.holds { (try? packets())?.starts(with: before) == true }, "\(before)")
        }
        #expect(serverpy.stop() == 0)
    }

    private func historyBytes(_ serverpy: Serverpy) -> Int {
        let state = serverpy.directory + "/state"
        let directories = (try? Files.list(state)) ?? []
        return directories.flatMap { directory in
            ((try? Files.list("\(state)/\(directory)")) ?? []).filter { $0.hasPrefix("history-") }.map {
                (try? Files.status("\(state)/\(directory)/\($0)").size) ?? 0
            }
        }.reduce(0, +)
    }

    @Test func aKilledDiscoverydComesBackWithWhatItKnew() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service(
                [sample.port], paths: "\"/hello\"", polling: ", \"frequency\": 60"), forwarders: 1
        ).ready()
        func since() throws -> Substring? {
            let text = try Client.get(serverpy.discovery, "/stats").text
            return text.contains("\"status\":\"up\"")
                ? text.split(separator: ",").first { $0.hasPrefix("\"since\"") } : nil
        }
        let before = try #require(try since())
        let state = serverpy.directory + "/state"
        #expect(
            Eventually.holds {
                let directories = (try? Files.list(state)) ?? []
                return directories.contains { (try? Files.status("\(state)/\($0)/instances").size) ?? 0 > 100 }
            })
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        Signal.kill.send(to: discoveryd)
        #expect(Eventually.holds { (try? since()) ?? nil != nil })
        #expect(try since() == before, "the status is the one of before, not a new one")
        #expect(serverpy.stop() == 0)
    }
}
