import Foundation
import Shared
import Testing

/// What once went wrong, or would with a careless reading: each a hazard by name.
@Suite struct HazardTests {
    private func with(
        readsBody: Bool = true, _ answer: @escaping @Sendable (String, [UInt8]) -> StubInstance.Answer,
        _ body: (StubInstance, Serverpy) throws -> Void
    ) throws {
        let stub = try StubInstance(readsBody: readsBody, answer)
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1).ready()
        let forwarder = try serverpy.pids("forwarderd")
        try body(stub, serverpy)
        #expect(try serverpy.pids("forwarderd") == forwarder, "the forwarder has died and was started again")
    }

    @Test func trailersThatGrowByASpaceEachFitAtEveryFillOfTheBuffer() throws {
        // The stub does not read the body: it has the same limit for trailers.
        try with(
            readsBody: false,
            { _, _ in .bytesAndClose("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") }
        ) {
            _, serverpy in
            let trailers = (100..<227).map { "\($0):" + String(repeating: "x", count: 58) + "\r\n" }.joined()
            let head =
                "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nP: \(String(repeating: "p", count: 12_000))\r\n\r\n"
            for count in stride(from: 11_700, to: 12_300, by: 10) {
                let client = try Client(port: serverpy.requests)
                try client.send(
                    head + String(count, radix: 16) + "\r\n" + String(repeating: "d", count: count) + "\r\n0\r\n"
                        + trailers + "\r\n")
                let answer = try client.read()
                #expect(answer.status == 200 || answer.status == 502)
            }
        }
    }

    @Test func answersThatEndWithAFullReadAreWhole() throws {
        let total = 4_194_304
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 4194250\r\nX: "
        let padding = String(repeating: "p", count: total - 4_194_250 - head.utf8.count - 4)
        let answer = head + padding + "\r\n\r\n" + String(repeating: "z", count: 4_194_250)
        #expect(answer.utf8.count == total)
        try with({ _, _ in .bytes(answer) }) { _, serverpy in
            let clients = try (0..<4).map { _ in try Client(port: serverpy.requests) }
            for _ in 0..<8 {
                for client in clients { try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n") }
                for client in clients { #expect(try client.read().body.count == 4_194_250) }
            }
        }
    }

    /// The head has said nothing of an end: so the client may send its next request, and gets its answer with the notice.
    @Test func aDrainingForwarderClosesNoConnectionThatWasNotToldSo() throws {
        let stub = try StubInstance { head, _ in
            head.contains("/slow")
                ? .pieces(["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", "cd"])
                : .bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
        }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1).ready()
        let (client, other) = (try Client(port: serverpy.requests), try Client(port: serverpy.requests))
        try other.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try other.read().status == 200)
        try client.send("GET /a/slow HTTP/1.1\r\nHost: h\r\n\r\n")
        stub.release()
        #expect(try client.readSome(until: "ab").contains("200 OK"))
        let forwarder = try #require(try serverpy.pids("forwarderd").first)
        Signal.terminate.send(to: forwarder)
        let isDraining = Eventually.holds {
            guard (try? other.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")) != nil, let answer = try? other.read()
            else { return false }
            return answer.values("Connection") == ["close"]
        }
        #expect(isDraining)
        stub.release()
        #expect(try client.readSome(until: "cd").hasSuffix("cd"))
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        let next = try client.read()
        #expect(next.text == "good")
        #expect(next.values("Connection") == ["close"])
    }

    @Test func bytesBehindAnAnswerNeverBecomeAnotherClientsAnswer() throws {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 65000\r\nX: "
        let whole =
            head + String(repeating: "p", count: 65_536 - 65_000 - head.utf8.count - 4) + "\r\n\r\n"
            + String(repeating: "z", count: 65_000)
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
        try with({ head, _ in
            head.contains("/poison")
                ? .pieces([whole + evil]) : .bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
        }) { stub, serverpy in
            for _ in 0..<10 {
                stub.release()
                let poisoned = try Client.get(serverpy.requests, "/a/poison")
                // What is sent after the next request has gone out is beyond any proxy.
                #expect(stub.waitForPiece())
                #expect(poisoned.body.count == 65_000)
                let next = try Client.get(serverpy.requests, "/a")
                #expect(next.text == "good")
            }
        }
    }

    /// Whatever they are, they are not the response to another request.
    @Test(arguments: ["x", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"])
    func aConnectionWithBytesAfterItsResponseIsNotUsedAgain(_ rest: String) throws {
        try with({ head, _ in
            .bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + (head.contains("/more") ? rest : ""))
        }) { stub, serverpy in
            let client = try Client(port: serverpy.requests)
            for path in ["/a", "/a/more", "/a", "/a"] {
                try client.send("GET \(path) HTTP/1.1\r\nHost: h\r\n\r\n")
                #expect(try client.read().text == "good")
            }
            #expect(stub.ordinals.suffix(3) == [1, 0, 1] || stub.ordinals.suffix(3) == [0, 0, 1], "\(stub.ordinals)")
        }
    }

    @Test func bytesThatComeTogetherWithTheNextRequestAreSeenBeforeTheConnectionIsUsed() throws {
        try with({ head, _ in
            head.contains("/poison")
                ? .pieces([
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL",
                ])
                : .bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
        }) { stub, serverpy in
            let (first, second) = (try Client(port: serverpy.requests), try Client(port: serverpy.requests))
            try second.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try second.read().status == 200)
            try first.send("GET /a/poison HTTP/1.1\r\nHost: h\r\n\r\n")
            stub.release()
            #expect(try first.read().text == "ok")
            #expect(stub.waitForPiece())
            // While it stands still, the next request arrives first and the stray bytes right behind it: one turn sees both.
            let forwarder = try #require(try serverpy.pids("forwarderd").first)
            Signal(SIGSTOP).send(to: forwarder)
            // The signal is sent, not yet obeyed.
            #expect(
                Eventually.holds {
                    (try? Files.read("/proc/\(forwarder)/stat", maxBytes: 4096))
                        .map { String(decoding: $0, as: UTF8.self).contains(") T ") } == true
                })
            try second.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            stub.release()
            #expect(stub.waitForPiece())
            Signal(SIGCONT).send(to: forwarder)
            #expect(try second.read().text == "good")
        }
    }

    @Test func aBadBodyBehindABegunAnswerIsCutAndNotAnsweredInTheMiddle() throws {
        try with(readsBody: false, { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n0123456789") }) {
            stub, serverpy in
            let client = try Client(port: serverpy.requests)
            try client.send("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            #expect(stub.waitForRequest())
            let begun = try client.readSome(until: "0123456789")
            #expect(begun.hasPrefix("HTTP/1.1 200 "))
            try client.send("zz\r\n")
            // Cut, or the end without what was promised: never a second head.
            let rest = (try? client.readToEnd()) ?? ""
            #expect(!rest.contains("HTTP/1.1"))
        }
    }

    @Test func anInstanceThatSpeaksFirstIsHeard() throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        try listener.setNonBlocking(false)
        let port = try #require(try Socket.localAddress(listener)).port
        Thread.detachNewThread {
            while let (descriptor, _) = try? Socket.accept(listener) {
                _ = descriptor.send(
                    Array("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy".utf8).span)
                Socket.shutdownWrite(descriptor)
                Thread.detachNewThread {
                    try? descriptor.setNonBlocking(false)
                    var bytes = [UInt8](repeating: 0, count: 1024)
                    while true {
                        var span = bytes.mutableSpan
                        guard let count = descriptor.receive(into: &span).count, count > 0 else { break }
                    }
                    descriptor.close()
                }
            }
        }
        defer { Socket.shutdownBoth(listener) }
        let serverpy = try Serverpy(StubInstance.service([port]), forwarders: 1).ready()
        for _ in 0..<50 { #expect(try Client.get(serverpy.requests, "/a").text == "busy") }
    }

    @Test func anUploadWhoseAnswerJamsGoesOnWhenTheClientReads() throws {
        let half = 3_000_000
        try with(
            readsBody: false,
            { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: \(half)\r\n\r\n" + String(repeating: "a", count: half))
            }
        ) {
            _, serverpy in
            let client = try Client(port: serverpy.requests)
            try client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: \(half)\r\n\r\n")
            try client.send([UInt8](repeating: 0x62, count: half / 100))
            #expect(try client.read().body.count == half)
        }
    }

    @Test func fieldsThatConnectionNamesDoNotComeBackAsTrailers() throws {
        try with({ _, body in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }) { stub, serverpy in
            let client = try Client(port: serverpy.requests)
            try client.send(
                "POST /a HTTP/1.1\r\nHost: h\r\nConnection: X-Secret\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sECRET: 1\r\nX-Ok: 2\r\n\r\n"
            )
            #expect(try client.read().text == "ok")
            #expect(stub.trailers.last == "X-Ok: 2\r\n")
        }
    }

    @Test func maxForwardsZeroEndsHereAndAStrangeExpectIsRefusedWhereverItStands() throws {
        try with({ _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }) { stub, serverpy in
            let client = try Client(port: serverpy.requests)
            try client.send("OPTIONS /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n")
            #expect(try client.read().status == 200)
            try client.send("OPTIONS /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nMax-Forwards: 5\r\n\r\n")
            #expect(try client.read().status == 200)
            try client.send("TRACE /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n")
            #expect(try client.read().status == 501)
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\nExpect: bogus\r\nExpect: 100-continue\r\n\r\n")
            #expect(try client.read().status == 417)
            #expect(stub.received.isEmpty)
        }
    }

    @Test func aLimitOfForwardsIsKeptHoweverLargeAndTheWholeServerStaysOne() throws {
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
        let serverpy = try Serverpy(StubInstance.service([stub.port], paths: "\"/\""), forwarders: 1).ready()
        let client = try Client(port: serverpy.requests)
        try client.send("OPTIONS http://h HTTP/1.1\r\nHost: h\r\nMax-Forwards: 99999999999999999999999\r\n\r\n")
        #expect(try client.read().status == 200)
        #expect(stub.received[0].hasPrefix("OPTIONS * HTTP/1.1\r\n"))
        #expect(stub.received[0].contains("\r\nMax-Forwards: 2147483646\r\n"), "\(stub.received[0])")
    }

    /// Nine times our own name, however it is written, and not where it only stands in a comment.
    @Test(arguments: [
        ("1.1\tlocal", 508), ("1.1 LOCAL", 508), ("1.1 local (a (b) c)", 508), ("1.1 other (local, 1.1 local)", 200),
    ])
    func aLoopEnds(_ entry: String, _ status: UInt16) throws {
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1, general: ", \"via\": \"local\"")
            .ready()
        let via = Array(repeating: entry, count: 9).joined(separator: ", ")
        #expect(try Client.get(serverpy.requests, "/a", headers: "Via: \(via)\r\n").status == status)
    }

    @Test func aBadTrailerIsABadAnswerAlsoForAClientThatGetsNone() throws {
        let bad = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nfoo\r\n\r\n"
        try with({ _, _ in .bytes(bad) }) { _, serverpy in
            let client = try Client(port: serverpy.requests)
            try client.send("GET /a HTTP/1.0\r\n\r\n")
            let answer = try? client.readToEnd()
            #expect(answer == nil || answer?.hasPrefix("HTTP/1.1 502 ") == true)
        }
    }

    @Test func withoutDescriptorsAcceptingPausesAndGoesOn() throws {
        try with({ _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }) { _, serverpy in
            let pid = try #require(try serverpy.pids("forwarderd").first)
            let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
            let limiter = Foundation.Process()
            limiter.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            limiter.arguments = ["prlimit", "--pid", String(pid), "--nofile=\(open + 6):\(open + 6)"]
            try limiter.run()
            limiter.waitUntilExit()
            try #require(limiter.terminationStatus == 0)
            // The kernel accepts them all; the forwarder has descriptors for some.
            var clients = try (0..<40).map { _ in try Client(port: serverpy.requests) }
            #expect(serverpy.running.waitForError("accepting pauses: no more descriptors") != nil)
            let before = try processorTicks(pid)
            clients.removeAll()
            #expect(try Client.get(serverpy.requests, "/a").status == 200)
            #expect(try processorTicks(pid) - before < 50, "it spun")
        }
    }

    /// User and system time of a process, in hundredths of a second.
    private func processorTicks(_ pid: Int32) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
        let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
        return (Int(fields[11]) ?? 0) + (Int(fields[12]) ?? 0)
    }

    @Test func aClientThatGoesAwayTakesItsWorkWithIt() throws {
        try with({ _, _ in .pieces(["never"]) }) { stub, serverpy in
            for _ in 0..<20 {
                let client = try Client(port: serverpy.requests)
                try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
                #expect(stub.waitForRequest())
                Socket.resetOnClose(client.descriptor)
            }
            // The connections to the instance are closed with those of the clients.
            let pid = try #require(try serverpy.pids("forwarderd").first)
            let end = Date(timeIntervalSinceNow: 10)
            func sockets() -> Int {
                (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd"))?.count ?? 0
            }
            while sockets() > 20, end.timeIntervalSinceNow > 0 { _ = try Client.get(serverpy.requests, "/") }
            #expect(sockets() <= 20)
        }
    }
}
