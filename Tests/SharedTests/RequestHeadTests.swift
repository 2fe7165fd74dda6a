import Testing

@testable import Shared

@Suite struct RequestHeadTests {
    /// The status of a refusal; 0 when the head is accepted, nil when it is not whole.
    private func verdict(_ text: String) -> UInt16? { verdict(Array(text.utf8)) }

    private func verdict(_ bytes: [UInt8]) -> UInt16? {
        var head = RequestHead()
        do {
            return try head.parse(bytes.span) ? 0 : nil
        } catch {
            return error.status
        }
    }

    private static let good = "POST /a/b?c=d HTTP/1.1\r\nHost: example:80\r\nContent-Length: 5\r\nX-Y:  z \t\r\n\r\n"

    @Test func findsItsParts() throws {
        let bytes = Array(Self.good.utf8)
        var head = RequestHead()
        let isWhole = try head.parse(bytes.span)
        #expect(isWhole)
        #expect(head.method == .post)
        #expect(Array(bytes[head.targetStart..<head.targetStart + head.targetCount]) == Array("/a/b?c=d".utf8))
        #expect(head.pathCount == 4)
        #expect(head.framing == .length(5))
        #expect(head.keepsAlive)
        let line = head.fields.lines[2]
        #expect(bytes[Int(line.valueStart)..<Int(line.valueStart + line.valueCount)] == Array("z".utf8)[...])
        #expect(head.byteCount == bytes.count)
    }

    @Test func isPartialAtEverySplitPointAndWholeAtTheEnd() {
        let bytes = Array(Self.good.utf8)
        for end in 0..<bytes.count { #expect(verdict(Array(bytes[..<end])) == nil, "\(end)") }
        #expect(verdict(bytes) == 0)
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: nameless\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\nX",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/.. HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /./b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/%2e%2E/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a%2f..%2fb HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/..\\b HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n",
    ])
    func refusesWhatCouldBeReadTwoWays(_ text: String) {
        #expect(verdict(text) == 400, "\(text.debugDescription)")
    }

    @Test(arguments: [
        "h%", "h%4", "h%zz", "%", "[1::2::3]", "[1.2.3.4]", "[:::]", "[1:2]", "[12345::]", "[::1.2.3.999]", "[::1.2.3]",
        "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7:8::]", "[::01.2.3.4]", "[fe80::1%eth0]", "[::1", "h:65536", "h:8x",
    ])
    func refusesWhatIsNoHost(_ host: String) {
        #expect(verdict("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n") == 400)
        #expect(verdict("GET http://\(host)/ HTTP/1.1\r\nHost: a\r\n\r\n") == 400)
    }

    @Test(arguments: [
        "h%41", "[::]", "[::1]", "[1::]", "[::ffff:1.2.3.4]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7::]",
        "[2001:db8::7]:80",
        "a_b.c-d:1", "1.2.3.4",
    ])
    func acceptsEveryKindOfHost(_ host: String) {
        #expect(verdict("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n") == 0)
    }

    @Test func aLengthIsPassedOnAsEverybodyWritesIt() throws {
        let bytes = Array("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00050\r\n\r\n".utf8)
        var head = RequestHead()
        let isWhole = try head.parse(bytes.span)
        #expect(isWhole && head.fields.contentLength == 50)
        let line = head.fields.lines[1]
        #expect(bytes[Int(line.valueStart)..<Int(line.valueStart + line.valueCount)] == Array("50".utf8)[...])
    }

    @Test(
        arguments: [
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505), ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            ("GET /\(String(repeating: "a", count: Limits.targetBytes)) HTTP/1.1\r\n", 414),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "a", count: Limits.headBytes))", 431),
            ("GET / HTTP/1.1\r\nHost: a\r\n\(String(repeating: "X: y\r\n", count: Limits.headFields))\r\n", 431),
        ] as [(String, UInt16)])
    func otherRefusalsHaveTheirOwnStatus(_ text: String, _ status: UInt16) {
        #expect(verdict(text) == status)
    }

    @Test(arguments: [
        "GET / HTTP/1.0\r\n\r\n", "get / HTTP/1.1\r\nhOST: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a:80/b?c HTTP/1.1\r\nHost: x\r\n\r\n", "GET https://a HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /..a/b..c/...?/../ HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%2fa%0d%0a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "M-SEARCH /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.7\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
    ])
    func acceptsWhatTheSpecificationAllows(_ text: String) {
        #expect(verdict(text) == 0, "\(text.debugDescription)")
    }

    @Test func anyByteAnywhereIsReadOrRefusedAndNeverTraps() {
        let bytes = Array(Self.good.utf8)
        for index in bytes.indices {
            for byte in UInt8.min...UInt8.max {
                var changed = bytes
                changed[index] = byte
                _ = verdict(changed)
            }
        }
    }
}
