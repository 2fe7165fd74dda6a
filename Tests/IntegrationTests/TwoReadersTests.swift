import Foundation
import Shared
import Testing

/// What bounds an answer bounds it for forwarders and for polls alike: an instance that serves is up, and one that is up serves.
@Suite struct TwoReadersTests {
    /// An instance that answers everything, polls included, with the same bytes.
    private func instance(_ answer: String) throws -> (UInt16, Descriptor) {
        let listener = try Socket.listen(on: .loopback(port: 0))
        try listener.setNonBlocking(false)
        Thread.detachNewThread {
            while let (descriptor, _) = try? Socket.accept(listener) {
                Thread.detachNewThread { Self.serve(answer, on: descriptor) }
            }
        }
        return (try #require(try Socket.localAddress(listener)).port, listener)
    }

    private static func serve(_ answer: String, on descriptor: Descriptor) {
        try? descriptor.setNonBlocking(false)
        var bytes = [UInt8](repeating: 0, count: 65_536)
        func receive() -> Int {
            var span = bytes.mutableSpan
            return descriptor.receive(into: &span).count ?? 0
        }
        if receive() > 0 {
            _ = descriptor.send(Array(answer.utf8).span)
            Socket.shutdownWrite(descriptor)
            while receive() > 0 {}
        }
        descriptor.close()
    }

    private static func answer(fields: Int) -> String {
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + String(repeating: "X: y\r\n", count: fields - 1) + "\r\n"
    }

    private static func answer(bytes: Int) -> String {
        let frame = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n"
        return frame.replacing("X: ", with: "X: " + String(repeating: "y", count: bytes - frame.utf8.count))
    }

    @Test(arguments: [
        ("\"header_count\": 16", answer(fields: 15), true), ("\"header_count\": 16", answer(fields: 16), true),
        ("\"header_count\": 16", answer(fields: 17), false), ("\"header_count\": 512", answer(fields: 140), true),
        ("\"header_count\": 1024", answer(fields: 1024), true), ("\"header_count\": 1024", answer(fields: 1025), false),
        ("\"head_size\": \"1KiB\"", answer(bytes: 1024), true), ("\"head_size\": \"1KiB\"", answer(bytes: 1025), false),
        ("\"head_size\": \"28KiB\"", answer(bytes: 28 * 1024), true),
        ("\"head_size\": \"28KiB\"", answer(bytes: 28 * 1024 + 1), false),
    ])
    func aLimitHoldsForBoth(_ limit: String, _ answer: String, _ isGood: Bool) throws {
        let (port, listener) = try instance(answer)
        defer { Socket.shutdownBoth(listener) }
        // Two services at one instance: one is polled by a connection alone, so that its requests go there in any case.
        let serverpy = try Serverpy(
            """
            "polled": {"servers": ["127.0.0.1:\(port)"], "polling": {"method": "health", "endpoint": "/"}, "apis": ["/p"]},
            "asked": {"servers": ["127.0.0.1:\(port)"], "polling": {"method": "ping"}, "apis": ["/a"]}
            """, forwarders: 1, general: ", \"limits\": {\(limit)}"
        ).ready()
        let stats = try Client.get(serverpy.discovery, "/stats?service=polled").text
        #expect(stats.contains("\"status\":\"\(isGood ? "up" : "down")\""), "\(stats)")
        if !isGood {
            let word =
                limit.contains("count")
                ? "more fields than `limits.header_count`" : "head larger than `limits.head_size`"
            #expect(stats.contains("bad HTTP: \(word)"), "\(stats)")
        }
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        #expect(try client.readToEnd().hasPrefix("HTTP/1.1 \(isGood ? 200 : 502) "))
    }

    /// What is wrong with a health answer is told.
    @Test(arguments: [
        ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bare LF"),
        ("HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n", "bare LF"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "more than one Transfer-Encoding"
        ),
        ("HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", "status is not a number from 100 to 599"),
        ("HTTP/1.1 200: OK\r\nContent-Length: 0\r\n\r\n", "bad status line"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "bad Content-Length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1", "more than one Content-Length"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both Content-Length and Transfer-Encoding"
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding other than chunked"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in HTTP/1.0"),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "folded field line (obs-fold)"),
        ("HTTP/1.1 200 OK\r\nX\u{1}: a\r\n\r\n", "bad field name"),
        ("HTTP/1.1 200 OK\r\nX: a\u{1}\r\n\r\n", "control byte"),
        ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "bare CR"),
        ("HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", "bad Connection field"),
        ("HTTP/1.1 200 OK\r\nHost: a\r\nHost: b\r\n\r\n", "more than one Host"),
        ("HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "101 without an upgrade"),
        ("220 mail.example ESMTP\r\n", "not HTTP/1"),
    ])
    func theReasonOfABadAnswerReachesWhoeverAsks(_ answer: String, _ words: String) throws {
        let (port, listener) = try instance(answer)
        defer { Socket.shutdownBoth(listener) }
        let serverpy = try Serverpy(StubInstance.service([port]), forwarders: 1).ready()
        let text = "bad HTTP: \(words)"
        #expect(try Client.get(serverpy.discovery, "/stats").text.contains("\"response\":\"\(text)\""))
        #expect(
            try Client.get(serverpy.discovery, "/dump").text.contains("\"response\":\"\(text)\""),
            "history keeps it, too")
        #expect(serverpy.running.waitForError(text) != nil, "the log names it")
    }
}
