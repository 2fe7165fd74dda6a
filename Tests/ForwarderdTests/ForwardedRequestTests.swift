import Shared
import Testing

@testable import forwarderd

@Suite struct ForwardedRequestTests {
    private func forward(_ text: String) throws -> String {
        let bytes = Array(text.utf8)
        var head = RequestHead()
        let isWhole = try head.parse(bytes.span)
        #expect(isWhole)
        var out = Buffer(capacity: Limits.requestBufferBytes)
        ForwardedRequest.write(
            head, bytes.span, peer: Array("192.0.2.7".utf8), requestID: (1, 2), identity: Identity(name: "me"),
            authority: Array("inst:1".utf8), to: &out)
        return String(decoding: out.bytes.array(0, out.count), as: UTF8.self)
    }

    private let added =
        "Via: 1.1 me\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nForwarded: for=192.0.2.7;host=\"a\";proto=http\r\nX-Request-Id: 00000000000000010000000000000002\r\n"

    @Test func isCanonicalAndKeepsOrderCaseAndDuplicates() throws {
        #expect(
            try forward("GET /p?q HTTP/1.1\r\nx-B:  2\r\nHost:\ta \r\nX-a: 1\r\nx-B: 3\r\n\r\n")
                == "GET /p?q HTTP/1.1\r\nHost: a\r\nx-B: 2\r\nX-a: 1\r\nx-B: 3\r\n" + added + "\r\n")
    }

    @Test func hopByHopFieldsAreRemoved() throws {
        let text = try forward(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret, Host, Content-Length, X-Forwarded-For, Via\r\nKeep-Alive: 5\r\nX-Secret: 1\r\nTE: gzip\r\nUpgrade: x\r\nProxy-Authorization: y\r\nProxy-Connection: z\r\nContent-Length: 0\r\nVia: 1.0 other\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nHTTP2-Settings: q\r\n\r\n"
        )
        #expect(text == "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nVia: 1.0 other\r\n" + added + "\r\n")
    }

    @Test func anAbsoluteTargetBecomesItsOriginFormAndItsHost() throws {
        #expect(
            try forward("GET http://a/x HTTP/1.1\r\nHost: evil\r\n\r\n").hasPrefix("GET /x HTTP/1.1\r\nHost: a\r\nVia"))
        #expect(
            try forward("GET http://a?x HTTP/1.1\r\nHost: evil\r\n\r\n").hasPrefix("GET /?x HTTP/1.1\r\nHost: a\r\n"))
        #expect(try forward("GET /x HTTP/1.0\r\n\r\n").hasPrefix("GET /x HTTP/1.1\r\nHost: inst:1\r\n"))
    }

    @Test func aGivenRequestIDIsKeptAndMaxForwardsCountsDown() throws {
        let text = try forward("TRACE /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nMax-Forwards: 10\r\n\r\n")
        #expect(text.contains("X-Request-Id: mine\r\n"))
        #expect(text.contains("Max-Forwards: 9\r\n"))
        #expect(!text.contains("0000000000000001"))
    }

    @Test func theLargestHeadFitsTheBuffer() throws {
        let host = String(repeating: "h", count: 253)
        let value = String(repeating: "v", count: Limits.headBytes - host.count - 60)
        let text = try forward("GET / HTTP/1.1\r\nHost: \(host)\r\nX: \(value)\r\n\r\n")
        #expect(text.utf8.count <= Limits.requestBufferBytes)
    }
}
