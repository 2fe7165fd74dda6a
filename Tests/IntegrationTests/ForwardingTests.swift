import Foundation
import Shared
import Testing

@Suite struct ForwardingTests {
    @Test func aKilledInstanceIsNotNoticedAndComesBack() throws {
        let (one, two) = (try Sample("one"), try Sample("two"))
        let serverpy = try Serverpy(
            StubInstance.service([one.port, two.port], paths: "\"/hello\"", polling: ", \"frequency\": 0.2")
        ).ready()
        let client = try Client(port: serverpy.requests)
        func names(_ count: Int) throws -> Set<String> {
            var names: Set<String> = []
            for _ in 0..<count {
                try client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
                let answer = try client.read()
                #expect(answer.status == 200)
                names.insert(answer.text.contains("\"one\"") ? "one" : "two")
            }
            return names
        }
        #expect(try names(50) == ["one", "two"])
        one.kill()
        #expect(try names(50) == ["two"])
        #expect(try serverpy.waitForSnapshot { $0.contains("\"status\":\"down\"") })
        try one.startAgain()
        #expect(try serverpy.waitForSnapshot { $0.contains("\"instances\"") && !$0.contains("\"down\"") })
        #expect(try serverpy.waitForSnapshot { !$0.contains("\"down\"") && $0.contains("\"up\"") })
        // The forwarder may still avoid it on its own evidence, for about a second at first.
        var seen: Set<String> = []
        let end = Date(timeIntervalSinceNow: 10)
        while seen.count < 2, end.timeIntervalSinceNow > 0 { seen.formUnion(try names(5)) }
        #expect(seen == ["one", "two"])
    }

    @Test func theSnapshotSocketShowsReadableLines() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(StubInstance.service([sample.port])).ready()
        #expect(
            try serverpy.waitForSnapshot { line in
                guard let root = try? JSONReader.parse(Array(line.utf8)).root else {
                    Issue.record("not JSON: \(line)")
                    return true
                }
                return root["type"]?.string == "instances"
                    && root["instances"]?.elements.first { _ in true }?["url"]?.string == "127.0.0.1:\(sample.port)"
            })
    }

    @Test func answersOfOurOwnHaveTheOriginalsWords() throws {
        let dead = try Socket.listen(on: .loopback(port: 0))
        let port = try #require(try Socket.localAddress(dead)).port
        dead.close()
        let serverpy = try Serverpy(StubInstance.service([port])).ready()
        let root = try Client.get(serverpy.requests, "/")
        #expect(root.status == 200)
        #expect(root.text == "{\"status\":\"Success\"}\n")
        let unknown = try Client.get(serverpy.requests, "/nobody")
        #expect(unknown.status == 404)
        #expect(unknown.text.contains("\"status\":\"No API found with provided endpoint\""))
        let down = try Client.get(serverpy.requests, "/a")
        #expect(down.status == 503)
        #expect(down.text.contains("\"status\":\"An error occurred while processing your request\""))
        #expect(down.values("Proxy-Status").first?.contains("error=destination_unavailable") == true)
        #expect(down.values("Retry-After") == ["1"])
        let ready = try Client.get(serverpy.requests, "/.serverpy/ready")
        #expect(ready.status == 200)
    }

    @Test func sixtyFourClientsOneByOneAreSpreadOverFourForwarders() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(StubInstance.service([sample.port]), forwarders: 4).ready()
        let pids = try serverpy.pids("forwarderd")
        func sockets(_ pid: Int32) -> Int {
            let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd")) ?? []
            return names.filter {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/fd/\($0)"))?.hasPrefix(
                    "socket:") ?? false
            }.count
        }
        let before = pids.map(sockets)
        var clients: [Client] = []
        for _ in 0..<64 {
            let client = try Client(port: serverpy.requests)
            try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(try client.read().status == 200)
            clients.append(client)
        }
        let shares = zip(pids, before).map { sockets($0) - $1 }
        #expect(shares.reduce(0, +) == 64)
        #expect((shares.max() ?? 64) <= 24, "none above 1.5 times its share of 16: \(shares)")
    }
}

/// Bytes in, bytes out: what an instance gets and what a client gets.
@Suite struct ExactForwardingTests {
    /// A serverpy with one forwarder before one stub.
    private func with(
        readsBody: Bool = true, _ answer: @escaping @Sendable (String, [UInt8]) -> StubInstance.Answer,
        _ body: (Client, StubInstance, Serverpy) throws -> Void
    ) throws {
        let stub = try StubInstance(readsBody: readsBody, answer)
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1).ready()
        try body(try Client(port: serverpy.requests), stub, serverpy)
    }

    @Test func statusReasonFieldsAndBodyComeThroughByteForByte() throws {
        try with({ _, _ in
            .bytes(
                "HTTP/1.1 299 Weird Reason\r\nx-A: 1\r\nX-a:  2 \r\nSet-Cookie: a\r\nSet-Cookie: b\r\nDate: then\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\n\0\u{1}abc"
            )
        }) {
            client, _, _ in
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            let answer = try client.read()
            let via = answer.values("Via").first ?? ""
            #expect(
                answer.head
                    == "HTTP/1.1 299 Weird Reason\r\nx-A: 1\r\nX-a: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nDate: then\r\nContent-Length: 5\r\nVia: \(via)\r\n\r\n"
            )
            #expect(answer.body == [0, 1, 0x61, 0x62, 0x63])
        }
    }

    @Test func bodiesOfEveryFramingArriveWholeAtEverySplit() throws {
        try with({ _, body in
            .bytes("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n" + String(decoding: body, as: UTF8.self))
        }) { client, stub, _ in
            let requests = [
                "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world",
                "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
            ]
            for request in requests {
                for split in stride(from: 1, to: request.utf8.count, by: 7) {
                    try client.send(Array(request.utf8.prefix(split)))
                    try client.send(Array(request.utf8.dropFirst(split)))
                    #expect(try client.read().text == "hello world")
                }
            }
            #expect(stub.received.last?.contains("Transfer-Encoding: chunked\r\n\r\n") == true)
            #expect(stub.received.last?.contains("Content-Length") == false)
        }
    }

    @Test func answersOfEveryFramingArriveWhole() throws {
        try with({ head, _ in
            if head.contains("/chunked") {
                return .bytes(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n"
                )
            }
            if head.contains("/close") { return .bytesAndClose("HTTP/1.1 200 OK\r\n\r\nabcde") }
            if head.contains("/old") { return .bytesAndClose("HTTP/1.0 200 OK\r\n\r\nabcde") }
            if head.contains("/none") { return .bytes("HTTP/1.1 204 No Content\r\n\r\n") }
            return .bytes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (head.hasPrefix("HEAD") ? "" : "abcde"))
        }) { client, _, serverpy in
            for path in ["/a/chunked", "/a/close", "/a/old", "/a"] {
                try client.send("GET \(path) HTTP/1.1\r\nHost: h\r\n\r\n")
                #expect(try client.read().text == "abcde", "\(path)")
            }
            try client.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
            let head = try client.read(isHead: true)
            #expect(head.values("Content-Length") == ["5"])
            try client.send("GET /a/none HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try client.read().status == 204)
            // HTTP/1.0 gets no chunks: the end of the connection is the end of the body.
            let old = try Client(port: serverpy.requests)
            try old.send("GET /a/chunked HTTP/1.0\r\n\r\n")
            let text = try old.readToEnd()
            #expect(text.hasSuffix("\r\n\r\nabcde"))
            #expect(!text.contains("chunked"))
        }
    }

    @Test func interimAnswersPassAndAnExpectingClientIsToldToGoOn() throws {
        try with(
            readsBody: false,
            { head, _ in
                head.contains("/early")
                    ? .bytes(
                        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    : .pieces([
                        "HTTP/1.1 100 Continue\r\n\r\n",
                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                    ])
            }
        ) { client, stub, serverpy in
            var interim: [UInt16] = []
            try client.send("GET /a/early HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try client.read(interim: &interim).status == 200)
            #expect(interim == [103])
            let uploader = try Client(port: serverpy.requests)
            try uploader.send("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            stub.release()
            stub.release()
            interim = []
            #expect(try uploader.read(interim: &interim).status == 200)
            #expect(interim == [100])
            let other = try Client(port: serverpy.requests)
            try other.send("POST /a HTTP/1.1\r\nHost: h\r\nExpect: magic\r\nContent-Length: 3\r\n\r\n")
            #expect(try other.read().status == 417)
        }
    }

    @Test func aRequestThatMayHaveRunIsNotSentTwice() throws {
        try with({ _, _ in .close }) { client, stub, serverpy in
            try client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
            let answer = try client.read()
            #expect(answer.status == 502)
            #expect(answer.values("Proxy-Status").first?.contains("sent=?1") == true)
            #expect(stub.received.count == 1)
            // A GET may: once more on the same evidence is not allowed either, and there is no other instance.
            let getter = try Client(port: serverpy.requests)
            try getter.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try getter.read().status == 502)
            #expect(stub.received.count <= 3)
        }
    }

    @Test func anAnswerThatEndsEarlyIsCutSoThatTheClientSeesTheLoss() throws {
        try with({ head, _ in
            head.contains("/chunked")
                ? .bytesAndClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")
                : .bytesAndClose("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        }) { _, _, serverpy in
            for path in ["/a", "/a/chunked"] {
                let client = try Client(port: serverpy.requests)
                try client.send("GET \(path) HTTP/1.1\r\nHost: h\r\n\r\n")
                #expect(throws: (any Error).self) { try client.read() }
            }
        }
    }

    @Test func ambiguousRequestsNeverReachAnInstance() throws {
        try with({ _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }) { _, stub, serverpy in
            for bad in [
                "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n",
                "GET /a HTTP/1.1\r\nHost: h\r\nX: a\nY: b\r\n\r\n", "GET /a HTTP/1.1\r\nHost : h\r\n\r\n",
                "GET /a HTTP/1.1\nHost: h\n\n",
            ] {
                let client = try Client(port: serverpy.requests)
                try client.send(bad)
                let text = try client.readToEnd()
                #expect(text.hasPrefix("HTTP/1.1 400 "), "\(text)")
                #expect(text.contains("\r\nConnection: close\r\n"))
            }
            #expect(stub.received.isEmpty)
            // A bad chunk is noticed while the request is on its way: the client is told, nothing is taken as a next request.
            let client = try Client(port: serverpy.requests)
            try client.send(
                "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGET /a/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
            )
            #expect(try client.readToEnd().hasPrefix("HTTP/1.1 400 "))
            #expect(stub.received.filter { $0.contains("smuggled") }.isEmpty)
        }
    }

    @Test func aServiceMayStripItsPrefixAndSendTheInstancesHost() throws {
        let stub = try StubInstance { _, body in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port], paths: "\"/a/b\"").dropLast()
                + ", \"host\": \"instance\", \"strip_prefix\": true}", forwarders: 1
        ).ready()
        for (target, expected) in [("/a/b/c?d=e", "/c?d=e"), ("/a/b", "/"), ("/a/b?x", "/?x"), ("/a/b/", "/")] {
            let client = try Client(port: serverpy.requests)
            try client.send(
                "PUT \(target) HTTP/1.1\r\nHost: public.example\r\nContent-Length: 30000\r\n\r\n"
                    + String(repeating: "x", count: 30_000))
            #expect(try client.read().status == 200)
            let head = try #require(stub.received.last)
            #expect(head.hasPrefix("PUT \(expected) HTTP/1.1\r\nHost: 127.0.0.1:\(stub.port)\r\n"), "\(head)")
            #expect(head.contains("X-Forwarded-Host: public.example\r\n"))
        }
    }

    @Test func anInstanceThatDoesNotAnswerInTimeIs504AndItMayHaveRun() throws {
        let stub = try StubInstance { _, _ in .pieces(["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]).dropLast() + ", \"timeouts\": {\"first_byte\": 0.2}}", forwarders: 1
        ).ready()
        let answer = try Client.get(serverpy.requests, "/a")
        #expect(answer.status == 504)
        #expect(answer.text.contains("\"sent\":true"))
        #expect(stub.received.count == 1, "a time-out is never retried")
    }

    @Test func pollsCarryTheirHeaders() throws {
        let stub = try StubInstance { head, _ in .bytes("HTTP/1.1 204 No Content\r\n\r\n") }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port], polling: ", \"headers\": {\"X-Key\": \"k\", \"Host\": \"inner\"}")
                .replacingOccurrences(of: "/health", with: "/alive"),
            forwarders: 1
        ).ready()
        let head = try #require(stub.received.first)
        #expect(head.hasPrefix("GET /alive HTTP/1.1\r\n"))
        #expect(
            head.contains("X-Key: k\r\n") && head.contains("Host: inner\r\n") && head.contains("User-Agent: serverpy/"))
        #expect(try Client.get(serverpy.discovery, "/stats").text.contains("\"response\":\"status 204\""))
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() throws {
        try with({ head, _ in
            let path = String(head.split(separator: " ")[1])
            return .bytes("HTTP/1.1 200 OK\r\nContent-Length: \(path.utf8.count)\r\n\r\n\(path)")
        }) { client, _, _ in
            let paths = (0..<300).map { $0 % 3 == 0 ? "/none/\($0)" : "/a/\($0)" }
            try client.send(paths.map { "GET \($0) HTTP/1.1\r\nHost: h\r\n\r\n" }.joined())
            for path in paths {
                let answer = try client.read()
                if path.hasPrefix("/none") { #expect(answer.status == 404) } else { #expect(answer.text == path) }
            }
        }
    }

    @Test func aLargeAnswerToASlowReaderArrivesWhole() throws {
        let size = 20_000_000
        try with({ _, _ in
            .bytes(
                "HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n" + String(repeating: "0123456789", count: size / 10)
            )
        }) { client, stub, _ in
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(stub.waitForRequest())
            let answer = try client.read()
            #expect(answer.body.count == size)
            #expect(answer.body.suffix(10) == Array("0123456789".utf8)[...])
        }
    }

    @Test func aClientThatHalfClosesStillGetsItsAnswer() throws {
        try with({ _, _ in .pieces(["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]) }) { client, stub, _ in
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            Socket.shutdownWrite(client.descriptor)
            #expect(stub.waitForRequest())
            stub.release()
            #expect(try client.read().text == "ok")
        }
    }

    /// Whatever an instance does not take at once waits, framed or not, and reaches it in order.
    @Test(arguments: [true, false]) func anUploadToAnInstanceThatReadsLateArrivesWhole(_ isChunked: Bool) throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        try listener.setNonBlocking(false)
        defer { Socket.shutdownBoth(listener) }
        let port = try #require(try Socket.localAddress(listener)?.port)
        let (pieces, size) = (600, 20_000)
        let isSent = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            while let (peer, _) = try? Socket.accept(listener) {
                try? peer.setNonBlocking(false)
                var (input, head, total, position) = ([UInt8](), RequestHead(), 0, 0)
                var decoder: BodyDecoder?
                var isRight = true
                var chunk = [UInt8](repeating: 0, count: 1 << 16)
                while decoder?.isComplete != true {
                    var span = chunk.mutableSpan
                    guard let count = peer.receive(into: &span).count, count > 0 else { break }
                    input += chunk[..<count]
                    if decoder == nil {
                        guard (try? head.parse(input.span)) == true else { continue }
                        decoder = BodyDecoder(head.framing, status: 400)
                        position = head.byteCount
                        // Until the forwarder has nowhere to put more.
                        _ = isSent.wait(timeout: .now() + 0.5)
                    }
                    while position < input.count, decoder?.isComplete == false {
                        guard case .data(let start, let count) = try? decoder?.next(input.span, &position) else {
                            continue
                        }
                        for index in start..<start + count {
                            isRight = isRight && input[index] == UInt8(truncatingIfNeeded: total / size)
                            total += 1
                        }
                    }
                    input.removeAll(keepingCapacity: true)
                    position = 0
                }
                let text = isRight ? "\(total)" : "wrong"
                try? peer.writeAll(Array("HTTP/1.1 200 OK\r\nContent-Length: \(text.utf8.count)\r\n\r\n\(text)".utf8))
                peer.close()
            }
        }
        let serverpy = try Serverpy(
            "\"s\": {\"servers\": [\"127.0.0.1:\(port)\"], \"polling\": {\"method\": \"ping\"}, \"apis\": [\"/a\"]}",
            forwarders: 1
        ).ready()
        let client = try Client(port: serverpy.requests)
        let framing = isChunked ? "Transfer-Encoding: chunked" : "Content-Length: \(pieces * size)"
        try client.send("POST /a HTTP/1.1\r\nHost: h\r\n\(framing)\r\n\r\n")
        for number in 0..<pieces {
            let piece = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: size)
            try client.send(isChunked ? Array("4e20\r\n".utf8) + piece + [0x0d, 0x0a] : piece)
        }
        if isChunked { try client.send("0\r\n\r\n") }
        isSent.signal()
        #expect(try client.read().text == "\(pieces * size)")
    }
}
