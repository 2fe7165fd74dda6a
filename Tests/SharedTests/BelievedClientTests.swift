import Testing

@testable import Shared

/// What a trusted sender says of the client it speaks for: one value, whichever family of fields says it.
@Suite struct BelievedClientTests {
    private let trusted = ["10.0.0.0/8", "fd00::/8"].compactMap(AddressRange.init)

    private func believed(_ fields: String) throws -> BelievedClient {
        let bytes = Array("GET / HTTP/1.1\r\nHost: own\r\n\(fields)\r\n".utf8)
        var head = RequestHead()
        let isWhole = try head.parse(bytes.span)
        #expect(isWhole)
        let trusted = trusted
        return BelievedClient(head.fields, bytes.span, sender: Array("10.0.0.1".utf8)) { address in
            trusted.contains { $0.contains(address) }
        }
    }

    private func text(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

    /// The fields, then the client's address, whether it used https, and the host it asked for.
    @Test(
        arguments: [
            ("X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4", nil, nil),
            ("X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.9\r\n", "1.2.3.4", nil, nil),
            ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4", nil, nil),
            ("X-Forwarded-For: 10.0.0.7, 10.0.0.9\r\n", "10.0.0.7", nil, nil),
            ("X-Forwarded-For: 1.2.3.4:5678\r\n", "1.2.3.4", nil, nil),
            ("X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7", nil, nil),
            ("X-Forwarded-For: [2001:DB8::7]:80\r\n", "2001:db8::7", nil, nil),
            ("X-Forwarded-For: ::ffff:1.2.3.4\r\n", "1.2.3.4", nil, nil),
            ("X-Forwarded-For: 1.2.3.4, unknown\r\n", "10.0.0.1", nil, nil),
            ("X-Forwarded-For: 1.2.3.4, unknown, 10.0.0.9\r\n", "10.0.0.9", nil, nil),
            ("X-Forwarded-For: \r\n", "10.0.0.1", nil, nil), ("X-Forwarded-For: ,\r\n", "10.0.0.1", nil, nil),
            ("X-Forwarded-Proto: https\r\n", "10.0.0.1", true, nil),
            ("X-Forwarded-Proto: HTTP\r\n", "10.0.0.1", false, nil),
            ("X-Forwarded-Proto: gopher\r\n", "10.0.0.1", nil, nil),
            ("X-Forwarded-For: 1.2.3.4, 10.0.0.9\r\nX-Forwarded-Proto: https, http\r\n", "1.2.3.4", true, nil),
            ("X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nX-Forwarded-Proto: http, https\r\n", "1.2.3.4", true, nil),
            ("X-Forwarded-Host: shop.example\r\n", "10.0.0.1", nil, "shop.example"),
            ("X-Forwarded-Host: a\"b\r\n", "10.0.0.1", nil, nil),
            ("Forwarded: for=1.2.3.4;proto=https;host=shop\r\n", "1.2.3.4", true, "shop"),
            ("Forwarded: For=\"[2001:db8::7]:4711\" ; PROTO=HTTPS\r\n", "2001:db8::7", true, nil),
            ("Forwarded: for=6.6.6.6;proto=http, for=1.2.3.4;proto=https, for=10.0.0.9\r\n", "1.2.3.4", true, nil),
            ("Forwarded: for=1.2.3.4\r\nForwarded: for=10.0.0.9;proto=https\r\n", "1.2.3.4", true, nil),
            ("Forwarded: for=_hidden;proto=https\r\n", "10.0.0.1", true, nil),
            ("Forwarded: for=\"1.2.3.4;proto=https\r\n", "10.0.0.1", nil, nil),
            ("Forwarded: for 1.2.3.4\r\n", "10.0.0.1", nil, nil), ("Forwarded: =x\r\n", "10.0.0.1", nil, nil),
            ("Forwarded: for=1.2.3.4 proto=https\r\n", "10.0.0.1", nil, nil),
            ("Forwarded: ;for=1.2.3.4;;host=\"a\\b\",,\r\n", "1.2.3.4", nil, "ab"),
            ("X-Forwarded-For: 1.2.3.4\r\nForwarded: for=5.6.7.8;proto=https\r\n", "1.2.3.4", true, nil),
        ] as [(String, String, Bool?, String?)])
    func oneValueComesOutOfTwoFamilies(_ fields: String, _ address: String, _ isSecure: Bool?, _ host: String?) throws {
        let client = try believed(fields)
        #expect(text(client.address) == address)
        #expect(client.isSecure == isSecure)
        #expect(text(client.host) == host)
    }

    @Test func forwardedGoesOnAsItIsOnlyWhereItSaysTheSame() throws {
        #expect(try believed("Forwarded: for=1.2.3.4;proto=https\r\n").keepsForwarded)
        #expect(try believed("X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n").keepsForwarded)
        #expect(try !believed("X-Forwarded-For: 1.2.3.4\r\nForwarded: for=6.6.6.6\r\n").keepsForwarded)
        #expect(try !believed("X-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4;proto=http\r\n").keepsForwarded)
        #expect(try !believed("X-Forwarded-Host: a\r\nForwarded: for=1.2.3.4;host=b\r\n").keepsForwarded)
        #expect(try !believed("Forwarded: for=1.2.3.4, rubbish\r\n").keepsForwarded)
        #expect(try !believed("X-Forwarded-Proto: https\r\n").keepsForwarded)
    }

    @Test func aLongChainIsCutToItsNearestMembers() throws {
        let chain = (0..<1000).map { "2001:db8::\(String($0, radix: 16))" }.joined(separator: ",")
        let last = try believed(
            "X-Forwarded-For: 1.2.3.4, \((1...30).map { "10.0.0.\($0)" }.joined(separator: ","))\r\n")
        #expect(text(last.address) == "1.2.3.4" && text(last.hops.first) == "1.2.3.4", "the client stays in it")
        #expect(last.hops.count == Limits.forwardedHops && text(last.hops.last) == "10.0.0.30")
        let client = try believed("X-Forwarded-For: \(chain)\r\n")
        #expect(client.hops.count == Limits.forwardedHops)
        #expect(text(client.hops.last) == "[2001:db8::3e7]")
        #expect(text(client.address) == "2001:db8::3e7")
    }
}
