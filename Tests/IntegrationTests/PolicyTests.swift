import Foundation
import Shared
import Testing

/// What the configuration says about forwarding takes effect.
@Suite struct PolicyTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    private func stub(_ name: String = "ok") throws -> StubInstance {
        try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: \(name.utf8.count)\r\n\r\n\(name)") }
    }

    private func start(_ stubs: [StubInstance], policy: String = "", general: String = "") throws -> Serverpy {
        let serverpy = try Serverpy(
            StubInstance.service(stubs.map(\.port), policy: policy), forwarders: 1, general: general)
        serverpy.instances = stubs
        return try serverpy.ready()
    }

    // MARK: Limits

    @Test func headsBodiesAndTheirFieldsHaveTheConfiguredLimits() throws {
        let stub = try stub()
        let serverpy = try start(
            [stub],
            general: ", \"limits\": {\"head_size\": \"2KiB\", \"header_count\": 20, \"body_size\": 100}")
        func status(_ request: String) throws -> UInt16 {
            let client = try Client(port: serverpy.requests)
            try client.send(request)
            return try client.read().status
        }
        let value = String(repeating: "v", count: 2048)
        #expect(try status("GET /a HTTP/1.1\r\nHost: h\r\nX: \(value)\r\n\r\n") == 431)
        #expect(try status("GET /a HTTP/1.1\r\nHost: h\r\nX: \(value.dropLast(100))\r\n\r\n") == 200)
        let fields = (0..<20).map { "X\($0): 1\r\n" }.joined()
        #expect(try status("GET /a HTTP/1.1\r\nHost: h\r\n\(fields)\r\n") == 431)
        let body = String(repeating: "b", count: 101)
        #expect(try status("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n\(body)") == 413)
        #expect(try status("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n\(body.dropLast())") == 200)
        let chunks = "65\r\n\(body)\r\n0\r\n\r\n"
        #expect(try status("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\(chunks)") == 413)
    }

    @Test func aSmallerHeadLimitHoldsAfterAReload() throws {
        let stub = try stub()
        let serverpy = try start([stub])
        let request = "GET /a HTTP/1.1\r\nHost: h\r\nX: \(String(repeating: "v", count: 2000))\r\n\r\n"
        let client = try Client(port: serverpy.requests)
        try client.send(request)
        #expect(try client.read().status == 200)
        let limits = ", \"limits\": {\"head_size\": 1024}"
        try serverpy.configure(StubInstance.service([stub.port]), general: limits)
        let reload = try serverpy.reload()
        #expect(reload.status == 0 && reload.output.contains("~ limits.head_size 16KiB -> 1KiB"), "\(reload)")
        try client.send(request)
        #expect(try client.read().status == 431)
    }

    @Test func theConnectionIdleLongestMakesRoomForANewOne() throws {
        let stub = try stub()
        let serverpy = try start([stub], general: ", \"limits\": {\"connections\": 3}")
        let clients = try (0..<3).map { _ in
            let client = try Client(port: serverpy.requests)
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            _ = try client.read()
            return client
        }
        // The first is used again and is not the oldest any more.
        try clients[0].send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        _ = try clients[0].read()
        let fourth = try Client(port: serverpy.requests)
        try fourth.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try fourth.read().status == 200)
        // Of the two that came to rest in about the same millisecond one has gone, the other still serves.
        var closed = 0
        for client in clients[1...] {
            try? client.send("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            if (try? client.readToEnd())?.hasPrefix("HTTP/1.1 200") != true { closed += 1 }
        }
        #expect(closed == 1)
        try clients[0].send("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        #expect(try clients[0].read().status == 200)
    }

    @Test func oneConnectionTooManyIsToldSoWhileAllOthersAreBusy() throws {
        let stub = try StubInstance { _, _ in .pieces([Self.ok]) }
        let serverpy = try start([stub], general: ", \"limits\": {\"connections\": 1}")
        let busy = try Client(port: serverpy.requests)
        try busy.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(stub.waitForRequest())
        let refused = try Client(port: serverpy.requests)
        try refused.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        let answer = try refused.read()
        #expect(answer.status == 503 && answer.values("Retry-After") == ["1"])
        #expect(answer.text.contains("1 connections are open, which is the limit"))
        stub.release()
        #expect(try busy.read().status == 200)
    }

    // MARK: Room at instances

    @Test func requestsBeyondAnInstancesLimitWaitInOrder() throws {
        let stub = try StubInstance { _, _ in .pieces([Self.ok]) }
        let serverpy = try start([stub], policy: ", \"max_connections\": 1, \"queue\": 2")
        let clients = try (0..<4).map { _ in try Client(port: serverpy.requests) }
        for (index, client) in clients.enumerated() {
            try client.send("GET /a?\(index) HTTP/1.1\r\nHost: h\r\n\r\n")
            // The order of arrival is the order of waiting.
            if index == 0 { #expect(stub.waitForRequest()) } else { _ = try Client.get(serverpy.requests, "/") }
        }
        let refused = try clients[3].read()
        #expect(refused.status == 503 && refused.values("Retry-After") == ["1"])
        #expect(refused.text.contains("2 requests wait already"), "\(refused.text)")
        #expect(stub.received.count == 1)
        for client in clients[..<3] {
            stub.release()
            #expect(try client.read().status == 200)
        }
        #expect(
            stub.received.compactMap { $0.split(separator: " ").dropFirst().first } == ["/a?0", "/a?1", "/a?2"])
    }

    @Test func requestsThatWaitForARemovedServiceAreRefused() throws {
        let stub = try StubInstance { _, _ in .pieces([Self.ok]) }
        let serverpy = try start([stub], policy: ", \"max_connections\": 1, \"queue\": 2")
        let clients = try (0..<2).map { _ in try Client(port: serverpy.requests) }
        try clients[0].send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(stub.waitForRequest())
        try clients[1].send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        _ = try Client.get(serverpy.requests, "/")
        try serverpy.configure(StubInstance.service([stub.port], paths: "\"/b\"").replacing("stub", with: "other"))
        #expect(try serverpy.reload().status == 0)
        let answer = try clients[1].read()
        #expect(answer.status == 503, "\(answer.text)")
        stub.release()
        #expect(try clients[0].read().status == 200, "what has begun is finished")
        #expect(try Client.get(serverpy.requests, "/a").status == 404)
    }

    @Test func queuedRequestsAreNotOvertaken() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let gate = try StubInstance { _, _ in .pieces([Self.ok]) }
        let serverpy = try Serverpy(
            "\"one\": {\"servers\": [\"127.0.0.1:\(gate.port)\"], \"polling\": {\"method\": \"health\", \"endpoint\": \"/health\"}, \"apis\": [\"/a\"], \"max_connections\": 1}",
            forwarders: 1
        ).ready()
        serverpy.instances = [stub, gate]
        let greedy = try Client(port: serverpy.requests)
        try greedy.send(String(repeating: "GET /a?greedy HTTP/1.1\r\nHost: h\r\n\r\n", count: 20))
        #expect(gate.waitForRequest())
        let other = try Client(port: serverpy.requests)
        try other.send("GET /a?other HTTP/1.1\r\nHost: h\r\n\r\n")
        _ = try Client.get(serverpy.requests, "/")
        for _ in 0..<3 { gate.release() }
        #expect(try other.read().status == 200, "after the greedy one's first, not after all of its requests")
        #expect(gate.received.prefix(2).map { $0.contains("greedy") } == [true, false])
        for _ in 0..<20 { gate.release() }
    }

    @Test func aRequestThatMayNotUseTheFreeInstanceBlocksNoOther() throws {
        let first = try StubInstance { head, _ in head.contains("fails") ? .close : .pieces([Self.ok]) }
        let second = try StubInstance { _, _ in .pieces([Self.ok]) }
        let polling = "\"method\": \"health\", \"endpoint\": \"/health\""
        let serverpy = try Serverpy(
            "\"s\": {\"servers\": {\"127.0.0.1:\(first.port)\": {\(polling), \"priority\": \"high\"}, \"127.0.0.1:\(second.port)\": {\(polling), \"priority\": \"low\"}}, \"apis\": [\"/a\"], \"max_connections\": 1}",
            forwarders: 1
        ).ready()
        serverpy.instances = [first, second]
        func send(_ path: String) throws -> Client {
            let client = try Client(port: serverpy.requests)
            try client.send("GET \(path) HTTP/1.1\r\nHost: h\r\n\r\n")
            return client
        }
        let atFirst = try send("/a")
        #expect(first.waitForRequest())
        let atSecond = try send("/a")
        #expect(second.waitForRequest(), "the next priority where the first is full")
        first.release()
        #expect(try atFirst.read().status == 200)
        let choosy = try send("/a/fails")
        #expect(first.waitForRequest())
        let other = try send("/a")
        #expect(first.waitForRequest(), "it does not wait behind the one that cannot go there")
        first.release()
        #expect(try other.read().status == 200)
        second.release()
        #expect(try atSecond.read().status == 200)
        second.release()
        #expect(try choosy.read().status == 200)
    }

    @Test func waitingForRoomHasItsTime() throws {
        let stub = try StubInstance { _, _ in .pieces([Self.ok]) }
        let serverpy = try start([stub], policy: ", \"max_connections\": 1, \"timeouts\": {\"queue\": 0.2}")
        let busy = try Client(port: serverpy.requests)
        try busy.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(stub.waitForRequest())
        let waiting = try Client(port: serverpy.requests)
        try waiting.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        let answer = try waiting.read()
        #expect(answer.status == 503 && answer.text.contains("no instance had room for 200 ms"))
        stub.release()
        #expect(try busy.read().status == 200)
    }

    @Test func aClientThatLeavesTheQueueLosesItsPlace() throws {
        let stub = try StubInstance { _, _ in .pieces([Self.ok]) }
        let serverpy = try start([stub], policy: ", \"max_connections\": 1")
        let busy = try Client(port: serverpy.requests)
        try busy.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(stub.waitForRequest())
        do {
            let leaving = try Client(port: serverpy.requests)
            try leaving.send("GET /a?leaving HTTP/1.1\r\nHost: h\r\n\r\n")
            _ = try Client.get(serverpy.requests, "/")
            Socket.resetOnClose(leaving.descriptor)
        }
        let patient = try Client(port: serverpy.requests)
        try patient.send("GET /a?patient HTTP/1.1\r\nHost: h\r\n\r\n")
        stub.release()
        #expect(try busy.read().status == 200)
        stub.release()
        #expect(try patient.read().status == 200)
        #expect(!stub.received.contains { $0.contains("leaving") })
    }

    // MARK: Balance and retries

    @Test func turnsAlternate() throws {
        let serverpy = try start([try stub("one"), try stub("two")], policy: ", \"balance\": \"round_robin\"")
        let client = try Client(port: serverpy.requests)
        let names = try (0..<6).map { _ in
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            return try client.read().text
        }
        #expect(Set(names[0..<2]) == ["one", "two"])
        #expect(names == Array(names[0..<2]) + Array(names[0..<2]) + Array(names[0..<2]))
    }

    @Test func aKeyKeepsItsInstance() throws {
        let stubs = try ["one", "two", "three"].map { try stub($0) }
        let serverpy = try start(stubs, policy: ", \"balance\": {\"hash\": \"cookie:sid\"}")
        func name(_ sid: Int) throws -> String {
            try Client.get(serverpy.requests, "/a", headers: "Cookie: a=1; sid=\(sid); b=2\r\n").text
        }
        let first = try (0..<12).map(name)
        #expect(Set(first).count > 1)
        #expect(try (0..<12).map(name) == first)
    }

    @Test func withRetriesOffAFailedInstanceIsTheAnswer() throws {
        let dying = try StubInstance { _, _ in .close }
        let serverpy = try start([dying, try stub()], policy: ", \"retry\": \"off\", \"balance\": \"round_robin\"")
        let statuses = try (0..<4).map { _ in try Client.get(serverpy.requests, "/a").status }
        #expect(statuses.count { $0 == 502 } == 2, "\(statuses)")
    }

    // MARK: Who asks

    @Test func onlyTrustedSendersSayForWhomTheyAsk() throws {
        let headers =
            "X-Forwarded-For: 198.51.100.1, 198.51.100.2\r\nX-Forwarded-For: 198.51.100.3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: site\r\nForwarded: for=198.51.100.1\r\n"
        for (trusted, chain, proto, host, forwarded) in [
            (
                "127.0.0.0/8", "198.51.100.1, 198.51.100.2, 198.51.100.3, 127.0.0.1", "https", "site",
                "for=198.51.100.1;host=\"site\";proto=https, for=198.51.100.2, for=198.51.100.3, for=127.0.0.1"
            ),
            ("192.0.2.0/24", "127.0.0.1", "http", "localhost", "for=127.0.0.1"),
        ] {
            let stub = try stub()
            let serverpy = try start([stub], general: ", \"trusted_proxies\": [\"\(trusted)\"]")
            #expect(try Client.get(serverpy.requests, "/a", headers: headers).status == 200)
            let head = stub.received[0]
            #expect(head.contains("X-Forwarded-For: \(chain)\r\n"), "\(head)")
            #expect(head.contains("X-Forwarded-Proto: \(proto)\r\n"))
            #expect(head.contains("X-Forwarded-Host: \(host)\r\n"))
            #expect(head.contains("Forwarded: \(forwarded);host="))
            #expect(head.split(separator: "\r\n").count { $0.hasPrefix("X-Forwarded-") } == 3)
        }
    }

    @Test func theProxyProtocolIsMandatoryFromTrustedAddresses() throws {
        let stub = try stub()
        let serverpy = try start(
            [stub], general: ", \"trusted_proxies\": [\"127.0.0.1\"], \"proxy_protocol\": true")
        let request = "GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
        let announced = try Client(port: serverpy.requests)
        try announced.send("PROXY TCP4 198.51.100.9 192.0.2.1 4711 80\r\n" + request)
        #expect(try announced.read().status == 200)
        #expect(stub.received[0].contains("X-Forwarded-For: 198.51.100.9\r\n"), "a client's own claim does not count")
        try announced.send(request)
        #expect(try announced.read().status == 200, "once a connection is enough")
        let binary = try Client(port: serverpy.requests)
        let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
        let addresses: [UInt8] = [203, 0, 113, 5, 192, 0, 2, 1, 0, 9, 0, 80]
        for byte in signature + [0x21, 0x11, 0, 12] + addresses { try binary.send([byte]) }
        try binary.send(request)
        #expect(try binary.read().status == 200)
        #expect(stub.received[2].contains("X-Forwarded-For: 203.0.113.5\r\n"))
        let bare = try Client(port: serverpy.requests)
        try bare.send(request)
        #expect(try bare.readToEnd() == "")
        #expect(stub.received.count == 3)
    }

    @Test func aStrangersProxyHeaderIsNoRequest() throws {
        let stub = try stub()
        let serverpy = try start(
            [stub], general: ", \"trusted_proxies\": [\"192.0.2.1\"], \"proxy_protocol\": true")
        let client = try Client(port: serverpy.requests)
        try client.send("PROXY TCP4 198.51.100.9 192.0.2.1 4711 80\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try client.read().status == 400)
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
    }

    // MARK: Readiness and draining

    @Test func theNameInViaIsTheInstallations() throws {
        let stub = try stub()
        let serverpy = try start([stub], general: ", \"via\": \"edge-1\"")
        #expect(try Client.get(serverpy.requests, "/a").values("Via") == ["1.1 edge-1"])
        #expect(stub.received[0].contains("Via: 1.1 edge-1\r\n"))
        let loop = "Via: " + Array(repeating: "1.1 edge-1", count: 9).joined(separator: ", ") + "\r\n"
        #expect(try Client.get(serverpy.requests, "/a", headers: loop).status == 508)
        #expect(
            try Client.get(serverpy.requests, "/a", headers: loop.replacing("edge-1", with: "edge-2")).status == 200)
    }

    @Test func ownPathsCanBeSwitchedOff() throws {
        let serverpy = try start([try stub()], general: ", \"ready_path\": false")
        #expect(try Client.get(serverpy.requests, "/.serverpy/ready").status == 404)
        #expect(try Client.get(serverpy.requests, "/").status == 404)
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
    }

    @Test func aDrainIsAnnouncedBeforeAcceptingEnds() throws {
        let serverpy = try start([try stub()], general: ", \"drain_delay\": 1")
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try client.read().values("Connection") == [])
        serverpy.running.signal(.terminate)
        // Still accepting, but not ready; the first answers may come before the signal has arrived.
        var ready = try Client.get(serverpy.requests, "/.serverpy/ready")
        while ready.status == 200 { ready = try Client.get(serverpy.requests, "/.serverpy/ready") }
        #expect(ready.status == 503 && ready.text.contains("draining") && ready.values("Retry-After") == ["1"])
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try client.read().values("Connection") == ["close"])
        #expect(serverpy.running.waitForExit() == 0)
    }

    // MARK: The discovery server

    @Test func theTokenIsAskedForExceptForHealthAndReadiness() throws {
        let token = "0123456789abcdef+/="
        let serverpy = try start([try stub()], general: ", \"discovery_token\": \"\(token)\"")
        func status(_ path: String, _ headers: String = "") throws -> UInt16 {
            try Client.get(serverpy.discovery, path, headers: headers).status
        }
        #expect(try status("/health") == 200)
        #expect(try status("/ready") == 200)
        for path in ["/", "/stats", "/dump", "/nothing"] { #expect(try status(path) == 401, "\(path)") }
        for wrong in [token + "x", String(token.dropLast()), "", "0123456789abcdef+/?", token.uppercased()] {
            #expect(try status("/stats", "Authorization: Bearer \(wrong)\r\n") == 401, "\(wrong)")
        }
        #expect(try status("/stats", "Authorization: Basic \(token)\r\n") == 401)
        #expect(try status("/stats", "Authorization: Bearer \(token)\r\nAuthorization: Bearer x\r\n") == 401)
        #expect(try status("/stats", "Authorization: bearer \(token)\r\n") == 200)
        let refused = try Client.get(serverpy.discovery, "/stats")
        #expect(refused.values("WWW-Authenticate") == ["Bearer realm=\"serverpy\""])
        #expect(!serverpy.running.errors.contains { $0.contains(token) })
    }

    @Test func aChangeOfStatusIsPosted() throws {
        let posts = try StubInstance { _, _ in .bytesAndClose("HTTP/1.1 204 No Content\r\n\r\n") }
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port], polling: ", \"frequency\": 0.1"), forwarders: 1,
            general: ", \"on_change\": \"http://127.0.0.1:\(posts.port)/hook?x\""
        ).ready()
        sample.kill()
        #expect(posts.waitForRequest())
        try sample.startAgain()
        #expect(posts.waitForRequest())
        #expect(posts.received.allSatisfy { $0.hasPrefix("POST /hook?x HTTP/1.1\r\n") })
        let bodies = posts.bodies.compactMap { try? JSONReader.parse($0).root }
        #expect(bodies.map { $0["instance"]?.string } == ["127.0.0.1:\(sample.port)", "127.0.0.1:\(sample.port)"])
        #expect(bodies.map { $0["status"]?.string } == ["down", "up"])
        #expect(bodies.map { $0["previous"]?.string } == ["up", "down"])
        #expect(try Client.get(serverpy.discovery, "/health").status == 200)
    }

    @Test func aReceiverThatIsGoneDelaysNothing() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port], polling: ", \"frequency\": 0.1"), forwarders: 1,
            general: ", \"on_change\": \"http://127.0.0.1:1/hook\""
        ).ready()
        sample.kill()
        #expect(try serverpy.waitForSnapshot { $0.contains("\"down\"") })
        #expect(serverpy.running.waitForError("given up after 3 tries") != nil)
    }
}
