import Foundation
import Shared
import Testing

/// Upgrade (RFC 9110 7.8), as WebSocket uses it.
@Suite struct TunnelTests {
    private static let changed =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A: 1\r\n\r\n"
    private static let plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    private let offer = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"

    private func with(
        policy: String = "", _ answer: @escaping @Sendable (String, [UInt8]) -> StubInstance.Answer,
        _ body: (Client, StubInstance, Serverpy) throws -> Void
    ) throws {
        let stub = try StubInstance(answer)
        let serverpy = try Serverpy(StubInstance.service([stub.port], policy: policy), forwarders: 1).ready()
        let forwarder = try serverpy.pids("forwarderd")
        try body(try Client(port: serverpy.requests), stub, serverpy)
        #expect(try serverpy.pids("forwarderd") == forwarder, "the forwarder has died and was started again")
    }

    @Test func bytesGoBothWaysAndEachDirectionEndsByItself() throws {
        try with({ _, _ in .echo(Self.changed) }) { client, stub, _ in
            try client.send(offer)
            let head = try client.readSome(until: "\r\n\r\n")
            #expect(head.hasPrefix("HTTP/1.1 101 Switching Protocols\r\n"))
            #expect(head.contains("Upgrade: websocket\r\n") && head.contains("Connection: upgrade\r\n"))
            #expect(head.contains("X-A: 1\r\n"))
            #expect(stub.received[0].contains("Upgrade: websocket\r\n"))
            #expect(stub.received[0].contains("Connection: Upgrade\r\n"))
            try client.send("hello")
            #expect(try client.read(count: 5) == Array("hello".utf8))
            try client.send("\u{0}\u{1}GET / HTTP/1.1\r\n\r\n")
            #expect(try client.read(count: 20) == Array("\u{0}\u{1}GET / HTTP/1.1\r\n\r\n".utf8))
            client.endSending()
            #expect(try client.readToEnd() == "bye", "what the instance says after the client's end still arrives")
        }
    }

    @Test func bytesSentBeforeTheAnswerGoIntoTheTunnel() throws {
        try with({ _, _ in .echo(Self.changed) }) { client, _, _ in
            try client.send(offer + "early")
            #expect(try client.readSome(until: "early").hasSuffix("\r\n\r\nearly"))
        }
    }

    /// One side has ended properly and then resets: nothing is received from it any more, and its tunnel ends all the same.
    @Test(arguments: ["client", "instance"]) func aResetAfterAnEndEndsTheTunnel(_ side: String) throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        try listener.setNonBlocking(false)
        defer { Socket.shutdownBoth(listener) }
        let port = try #require(try Socket.localAddress(listener)?.port)
        let serverpy = try Serverpy(
            "\"s\": {\"servers\": [\"127.0.0.1:\(port)\"], \"polling\": {\"method\": \"ping\"}, \"apis\": [\"/a\"]}",
            forwarders: 1
        ).ready()
        let client = try Client(port: serverpy.requests)
        try client.send(offer)
        /// The connection that the request comes on: polls come, too.
        func accept() throws -> Descriptor {
            while true {
                let (peer, _) = try Socket.accept(listener)
                try peer.setNonBlocking(false)
                var bytes = [UInt8](repeating: 0, count: 4096)
                var span = bytes.mutableSpan
                let count = peer.receive(into: &span).count ?? 0
                if String(decoding: bytes[..<count], as: UTF8.self).hasPrefix("GET /a ") { return peer }
                peer.close()
            }
        }
        let peer = try accept()
        try peer.writeAll(Array(Self.changed.utf8))
        _ = try client.readSome(until: "\r\n\r\n")
        let forwarder = try #require(try serverpy.pids("forwarderd").first)
        let before = try Files.list("/proc/\(forwarder)/fd").count
        if side == "client" {
            client.endSending()
            var byte = [UInt8](repeating: 0, count: 1)
            var span = byte.mutableSpan
            #expect(peer.receive(into: &span).count == 0, "the end has been passed on")
            Socket.resetOnClose(client.descriptor)
            client.close()
        } else {
            Socket.shutdownWrite(peer)
            #expect(try client.readToEnd().isEmpty, "the end has been passed on")
            Socket.resetOnClose(peer)
            peer.close()
        }
        #expect(Eventually.holds { (try? Files.list("/proc/\(forwarder)/fd").count) == before - 2 })
        if side == "client" { peer.close() }
    }

    @Test func aGreatDealGoesBothWaysThroughBoundedMemory() throws {
        try with({ _, _ in .echo(Self.changed) }) { client, _, serverpy in
            try client.send(offer)
            _ = try client.readSome(until: "\r\n\r\n")
            let piece = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            for _ in 0..<20 {
                // Sent without reading: the echo jams, and goes on when it is read.
                try client.send(Array(piece[..<200_000]))
                try client.send(Array(piece[200_000..<400_000]))
                #expect(try client.read(count: 400_000) == Array(piece[..<400_000]))
            }
            client.endSending()
            #expect(try client.readToEnd() == "bye")
        }
    }

    @Test func anOrdinaryAnswerLeavesOrdinaryHTTP() throws {
        try with({ _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }) { client, stub, _ in
            try client.send(offer + "GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try client.read().text == "ok")
            #expect(try client.read().text == "ok", "what was sent early is the next request")
            #expect(stub.received.count == 2)
        }
    }

    @Test(arguments: [
        ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "websocket"),
        ("GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "websocket"),
        ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "foo"),
        ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "h2c"),
        ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2, h2c\r\n\r\n", "h2c"),
        (
            "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: HTTP/2.0\r\nHTTP2-Settings: x\r\n\r\n",
            "HTTP/2.0"
        ),
        ("GET /a HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "websocket"),
        (
            "POST /a HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
            "websocket"
        ),
    ])
    func aChangeThatWasNotOfferedIsABadAnswer(_ request: String, _ chosen: String) throws {
        try with({ _, _ in
            .bytesAndClose(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: \(chosen)\r\nConnection: Upgrade\r\n\r\nsecret")
        }) { client, stub, _ in
            try client.send(request)
            let answer = try client.read()
            #expect(answer.status == 502)
            #expect(!answer.text.contains("secret"))
            if chosen != "foo" {
                #expect(!stub.received[0].contains("Upgrade"), "what is not tunnelled does not reach the instance")
            }
            #expect(!stub.received[0].contains("HTTP2"))
        }
    }

    @Test func anInstanceThatBreaksOffTakesTheTunnelWithIt() throws {
        try with({ _, _ in .bytesAndClose(Self.changed + "last words") }) { client, _, _ in
            try client.send(offer)
            #expect(try client.readToEnd().hasSuffix("last words"))
        }
    }

    @Test func aTunnelThatBreaksIsNoProperEndForTheOtherSide() throws {
        try with({ _, _ in .echo(Self.changed) }) { client, stub, _ in
            try client.send(offer)
            _ = try client.readSome(until: "\r\n\r\n")
            try client.send("half a mess")
            #expect(try client.read(count: 11).count == 11)
            Socket.resetOnClose(client.descriptor)
            client.close()
            #expect(stub.waitForBreak(), "the instance sees a reset")
        }
    }

    @Test func aSilentTunnelEndsAfterItsTime() throws {
        try with(policy: ", \"timeouts\": {\"tunnel\": 0.3}", { _, _ in .echo(Self.changed) }) { client, _, _ in
            try client.send(offer)
            _ = try client.readSome(until: "\r\n\r\n")
            #expect(throws: Errno.connectionReset) { try client.readToEnd() }
        }
    }

    @Test func aTunnelOutlivesADrainUpToItsTime() throws {
        let stub = try StubInstance { _, _ in .echo(Self.changed) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1, general: ", \"drain_timeout\": 1"
        ).ready()
        let client = try Client(port: serverpy.requests)
        try client.send(offer)
        _ = try client.readSome(until: "\r\n\r\n")
        serverpy.running.signal(.terminate)
        _ = serverpy.running.waitForError("drain:", seconds: 0.1)
        try client.send("still")
        #expect(try client.read(count: 5) == Array("still".utf8))
        #expect(throws: Errno.connectionReset) { try client.readToEnd() }
        #expect(serverpy.running.waitForExit() == 0)
    }

    /// HTTP itself is each connection's own: nobody is asked to begin it here.
    @Test(arguments: [
        ("h2c", ""), ("a/1, h2c, b", "a/1, b"), ("HTTP/2.0, TLS/1.0", "TLS/1.0"), ("H2", ""), ("a b", ""), ("", ""),
    ])
    func a426NamesOnlyProtocolsThatCanBeOffered(_ wanted: String, _ passed: String) throws {
        let required =
            "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: \(wanted)\r\nContent-Length: 0\r\n\r\n"
        try with({ head, _ in .bytes(head.contains("/426") ? required : Self.plain) }) { client, _, _ in
            try client.send("GET /a/426 HTTP/1.1\r\nHost: h\r\n\r\n")
            let answer = try client.read()
            #expect(answer.status == 426)
            #expect(answer.values("Upgrade") == (passed.isEmpty ? [] : [passed]))
            #expect(answer.values("Connection").map { $0.lowercased() } == (passed.isEmpty ? [] : ["upgrade"]))
        }
    }
}
