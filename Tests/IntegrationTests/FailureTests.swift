import Foundation
import Shared
import Testing

/// What clients get when instances or requests fail.
@Suite struct FailureTests {
    private func start(_ stubs: [StubInstance], policy: String = "", general: String = "") throws -> Serverpy {
        let serverpy = try Serverpy(
            StubInstance.service(stubs.map(\.port), policy: policy), forwarders: 1, general: general)
        serverpy.instances = stubs
        return try serverpy.ready()
    }

    @Test(arguments: [(0, 2), (100, 5)])
    func theBudgetBoundsHowManyInstancesARequestIsSentTo(_ budget: Int, _ expected: Int) throws {
        let stubs = try (0..<5).map { _ in try StubInstance { _, _ in .close } }
        let serverpy = try start(stubs, policy: ", \"retry\": {\"budget\": \(budget)}")
        #expect(try Client.get(serverpy.requests, "/a").status == 502)
        #expect(stubs.map(\.received.count).reduce(0, +) == expected)
    }

    @Test func aRequestThatMustNotRunTwiceIsSentOnce() throws {
        let stubs = try (0..<3).map { _ in try StubInstance { _, _ in .close } }
        let serverpy = try start(stubs)
        let client = try Client(port: serverpy.requests)
        try client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
        #expect(try client.read().status == 502)
        #expect(stubs.map(\.received.count).reduce(0, +) == 1)
    }

    @Test func errorsInARowEjectAtMostHalfOfTheInstances() throws {
        let bad = try StubInstance { _, _ in .bytes("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") }
        let good = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
        let serverpy = try start([bad, good], policy: ", \"balance\": \"round_robin\"")
        let statuses = try (0..<60).map { _ in try Client.get(serverpy.requests, "/a").status }
        // Five, and one trial for each second that this takes.
        #expect((5...12).contains(statuses.count { $0 == 500 }), "\(statuses)")
        let worse = try StubInstance { _, _ in .bytes("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") }
        let all = try start([bad, worse], policy: ", \"balance\": \"round_robin\"")
        let before = (bad.received.count, worse.received.count)
        for _ in 0..<30 { #expect(try Client.get(all.requests, "/a").status == 500, "there is still somebody to ask") }
        let counts = [bad.received.count - before.0, worse.received.count - before.1].sorted()
        #expect(counts[0] >= 5 && counts[1] > counts[0], "\(counts)")
    }

    @Test func anAnswerToHEADHasNoBodyHoweverBadTheRequestIs() throws {
        let serverpy = try start([try StubInstance { _, _ in .close }])
        for bad in ["Host: a\r\nHost: b\r\n", "Host: a\r\nContent-Length: x\r\n", "Host: a\r\n folded\r\n"] {
            let client = try Client(port: serverpy.requests)
            try client.send("HEAD /a HTTP/1.1\r\n\(bad)\r\n")
            let answer = try client.readToEnd()
            #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.hasSuffix("\r\n\r\n"), "\(answer)")
        }
    }

    @Test func anErrorNamesTheRequestByTheClientsOwnID() throws {
        let serverpy = try start([try StubInstance { _, _ in .close }])
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: order-\"66\"\r\n\r\n")
        #expect(try client.read().text.contains(#""request_id":"order-\"66\"""#))
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        let text = try client.read().text
        #expect(!text.contains("order") && !text.contains(#""request_id":"0000000000"#), "\(text)")
    }

    /// Whoever has ended its side has probably given up; as long as there is room it is served all the same.
    @Test func placesOfClientsThatHaveEndedTheirSideAreTakenWhenNeeded() throws {
        let stub = try StubInstance { head, _ in
            head.contains("/a/hang")
                ? .pieces(["never"]) : .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        }
        let serverpy = try start([stub], policy: ", \"max_connections\": 1, \"queue\": 0")
        let gone = try Client(port: serverpy.requests)
        try gone.send("GET /a/hang HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(stub.waitForRequest())
        #expect(try Client.get(serverpy.requests, "/a").status == 503, "it is waited for")
        gone.endSending()
        // The end may be seen a moment later.
        #expect(Eventually.holds { (try? Client.get(serverpy.requests, "/a").status) == 200 })
        #expect(try gone.readToEnd().hasPrefix("HTTP/1.1 503 "))
    }

    @Test func newClientsAreRefusedAtOnceDuringAStop() throws {
        let stub = try StubInstance { _, _ in .pieces(["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]) }
        let serverpy = try start([stub])
        let busy = try Client(port: serverpy.requests)
        try busy.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(stub.waitForRequest())
        serverpy.running.signal(.terminate)
        #expect(Eventually.holds { (try? Client(port: serverpy.requests)) == nil })
        stub.release()
        #expect(try busy.read().text == "ok")
        #expect(serverpy.running.waitForExit() == 0)
    }

    @Test func aRefusedConnectionsAnswerHasAnID() throws {
        let serverpy = try start(
            [try StubInstance { _, _ in .pieces(["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]) }],
            general: ", \"limits\": {\"connections\": 1}")
        let busy = try Client(port: serverpy.requests)
        try busy.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(serverpy.instances[0].waitForRequest())
        let refused = try Client(port: serverpy.requests).read()
        #expect(refused.status == 503 && !refused.text.contains("\"0000000000"), "\(refused.text)")
    }

    /// An upload that nobody wants: its answer is not lost by what the client goes on sending.
    @Test func anEarlyAnswerReachesAClientThatIsStillSending() throws {
        let serverpy = try start([try StubInstance { _, _ in .close }])
        let client = try Client(port: serverpy.requests)
        let size = 20 << 20
        try client.send("PUT /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: \(size)\r\n\r\n")
        for _ in 0..<20 { try client.send([UInt8](repeating: 7, count: 1 << 20)) }
        #expect(try client.read().status == 404)
    }

    /// With a length or chunks the loss shows by itself: what had come is not eaten by a reset.
    @Test(arguments: ["Content-Length: 4000000", "Transfer-Encoding: chunked"])
    func bytesThatAnInstanceSentBeforeItDiedArrive(_ framing: String) throws {
        let body = String(repeating: "z", count: 2_000_000)
        let head = "HTTP/1.1 200 OK\r\n\(framing)\r\n\r\n"
        let chunk = framing.hasPrefix("T") ? "1e8480\r\n\(body)\r\n" : body
        let stub = try StubInstance { _, _ in .bytesAndClose(head + chunk) }
        let serverpy = try start([stub])
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(stub.waitForRequest())
        let answer = try client.readToEnd()
        #expect(answer.utf8.count { $0 == UInt8(ascii: "z") } == body.utf8.count)
        #expect(!answer.hasSuffix("0\r\n\r\n"), "the end must not look like the proper one")
    }

    @Test func anAnswerWithoutLengthThatBreaksOffIsReset() throws {
        let stub = try StubInstance { _, _ in
            .pieces(["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "zz\r\n"])
        }
        let serverpy = try start([stub])
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.0\r\n\r\n")
        #expect(stub.waitForRequest())
        stub.release()
        _ = try client.readSome(until: "abc")
        stub.release()
        #expect(throws: Errno.connectionReset) { try client.readToEnd() }
    }

    /// An instance that stops right behind an answer hangs all the same; one that goes on answering has one slow request.
    @Test(arguments: [false, true])
    func oneTimeOutEjectsASilentInstanceButNotASlowOne(_ isAlive: Bool) throws {
        let stubs = try (0..<2).map { _ in
            try StubInstance { head, _ in
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                return head.contains("/a/hang") ? .pieces([answer]) : .bytes(answer)
            }
        }
        let serverpy = try Serverpy(
            StubInstance.service(
                stubs.map(\.port), policy: ", \"balance\": \"round_robin\", \"timeouts\": {\"first_byte\": 1}"),
            forwarders: 1)
        serverpy.instances = stubs
        try serverpy.ready()
        let slow = try Client(port: serverpy.requests)
        try slow.send("GET /a/hang HTTP/1.1\r\nHost: h\r\n\r\n")
        let end = Clock.monotonicMilliseconds() + (isAlive ? 900 : 20)
        let other = try Client(port: serverpy.requests)
        repeat {
            try other.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try other.read().status == 200)
        } while Clock.monotonicMilliseconds() < end
        #expect(try slow.read().status == 504)
        for stub in stubs { stub.release() }
        // What was said is all there when it has ended.
        #expect(serverpy.stop() == 0)
        #expect(serverpy.running.errors.contains { $0.contains("ejected for") } == !isAlive)
    }

    /// Further moves of requests count in the budget as long as they are in flight: a broken service is not asked twice as much.
    @Test func retriesBeyondTheBudgetAreRefused() throws {
        let broken = try (0..<4).map { _ in try BrokenListener() }
        let slow = try StubInstance { _, _ in .pieces(["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]) }
        let servers = (broken.map(\.port) + [slow.port]).map { "\"127.0.0.1:\($0)\"" }.joined(separator: ",")
        let serverpy = try Serverpy(
            "\"s\": {\"servers\": [\(servers)], \"polling\": {\"method\": \"ping\", \"frequency\": 60}, \"apis\": [\"/a\"]}",
            forwarders: 1
        ).ready()
        let clients = try (0..<40).map { _ in try Client(port: serverpy.requests) }
        for client in clients { try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n") }
        for _ in clients { slow.release() }
        let statuses = try clients.map { try $0.read().status }
        #expect(statuses.allSatisfy { $0 == 200 || $0 == 502 }, "\(statuses)")
        #expect(statuses.contains(200) && statuses.contains(502), "\(statuses)")
        // What was counted is given back: later requests have a budget again.
        for _ in 0..<3 {
            slow.release()
            #expect(try Client.get(serverpy.requests, "/a").status == 200)
        }
    }

    /// Takes each request and resets its connection.
    private final class BrokenListener {
        let port: UInt16
        private let listener: Descriptor

        init() throws {
            let listener = try Socket.listen(on: .loopback(port: 0))
            try listener.setNonBlocking(false)
            self.listener = listener
            port = try Socket.localAddress(listener)?.port ?? 0
            Thread.detachNewThread {
                while let (peer, _) = try? Socket.accept(listener) {
                    try? peer.setNonBlocking(false)
                    var bytes = [UInt8](repeating: 0, count: 4096)
                    var span = bytes.mutableSpan
                    if peer.receive(into: &span).count ?? 0 > 0 { Socket.resetOnClose(peer) }
                    peer.close()
                }
            }
        }

        deinit { Socket.shutdownBoth(listener) }
    }
}
