import Testing

@testable import Shared

@Suite struct AddressRangeTests {
    private func address(_ text: String) throws -> SocketAddress { try #require(SocketAddress(literal: text, port: 1)) }

    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false), ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.8", false), ("0.0.0.0/0", "203.0.113.9", true), ("0.0.0.0/0", "::1", false),
        ("192.0.2.128/25", "192.0.2.127", false), ("192.0.2.128/25", "192.0.2.200", true),
        ("fd00::/8", "fdff::1", true), ("fd00::/8", "fe00::1", false), ("2001:db8::/64", "2001:db8::ffff", true),
        ("2001:db8::/64", "2001:db8:0:1::", false), ("2001:db8::8/125", "2001:db8::f", true),
        ("2001:db8::8/125", "2001:db8::10", false), ("::/0", "2001:db8::1", true), ("::1", "::1", true),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
    ])
    func holdsWhatSharesItsPrefix(_ range: String, _ other: String, _ isIn: Bool) throws {
        #expect(try #require(AddressRange(range)).contains(try address(other)) == isIn)
    }

    @Test(arguments: [
        "", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.1/8", "fd00::1/8", "::/129", "host", "10.0.0", "/8",
        "10.0.0.0/8/8",
    ])
    func whatIsNoBlockIsRefused(_ text: String) { #expect(AddressRange(text) == nil) }
}

/// The cases follow HAProxy's proxy-protocol.txt.
@Suite struct ProxyHeaderTests {
    private func parse(_ bytes: [UInt8]) throws(HTTPFault) -> ProxyHeader.Parsed { try ProxyHeader.parse(bytes.span) }
    private func line(_ text: String) throws(HTTPFault) -> ProxyHeader.Parsed { try parse(Array(text.utf8)) }

    private static let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
    private static let four: [UInt8] =
        signature + [0x21, 0x11, 0, 12] + [192, 0, 2, 1, 192, 0, 2, 2, 0x1f, 0x90, 0, 80]
    private static let six: [UInt8] =
        signature + [0x21, 0x21, 0, 36] + [0x20, 0x01, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [7]
        + [UInt8](repeating: 0, count: 15) + [1] + [0, 9, 0, 80]

    @Test func aLineNamesTheSource() throws {
        let text = "PROXY TCP4 192.0.2.1 192.0.2.2 8080 80\r\n"
        #expect(
            try line(text + "GET")
                == .header(
                    byteCount: text.utf8.count, source: SocketAddress(literal: "192.0.2.1", port: 8080)))
        #expect(
            try line("PROXY TCP6 2001:db8::7 ::1 9 80\r\n")
                == .header(byteCount: 33, source: SocketAddress(literal: "2001:db8::7", port: 9)))
        #expect(try line("PROXY UNKNOWN\r\n") == .header(byteCount: 15, source: nil))
        #expect(try line("PROXY UNKNOWN whatever else\r\n") == .header(byteCount: 29, source: nil))
    }

    @Test func aBinaryHeaderNamesTheSource() throws {
        #expect(
            try parse(Self.four) == .header(byteCount: 28, source: SocketAddress(literal: "192.0.2.1", port: 8080)))
        #expect(
            try parse(Self.six + [1, 2])
                == .header(
                    byteCount: 52, source: SocketAddress(literal: "2001:db8::7", port: 9)))
        var attached = Self.four
        attached[15] += 8
        let header = try parse(attached + [0x20, 0, 2, 7, 7, 0x04, 0, 0])
        #expect(header == .header(byteCount: 36, source: SocketAddress(literal: "192.0.2.1", port: 8080)))
        // LOCAL, and a family other than TCP: the connection speaks for itself. What is attached is skipped.
        #expect(try parse(Self.signature + [0x20, 0, 0, 2, 9, 9]) == .header(byteCount: 18, source: nil))
        #expect(try parse(Self.signature + [0x20, 0x11, 0, 0]) == .header(byteCount: 16, source: nil))
        #expect(try parse(Self.signature + [0x21, 0x31, 0, 0]) == .header(byteCount: 16, source: nil))
        #expect(try parse(Self.signature + [0x21, 0, 0, 3, 9, 9, 9]) == .header(byteCount: 19, source: nil))
        #expect(
            try parse(Self.signature + [0x21, 0x12, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2])
                == .header(byteCount: 28, source: nil))
    }

    @Test func everyBeginningNeedsMoreAndNothingElse() throws {
        for header in [Self.four, Self.six, Array("PROXY TCP4 192.0.2.1 192.0.2.2 8080 80\r\n".utf8)] {
            for count in 0..<header.count { #expect(try parse(Array(header.prefix(count))) == .needsMore) }
        }
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 8080\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP5 1.1.1.1 1.1.1.1 1 2\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 70000 2\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 2\n\n", "PROXY  TCP4 1.1.1.1 1.1.1.1 1 2\r\n", "PROXY TCP4 1.1.1.1 x 1 2\r\n",
        "proxy TCP4 1.1.1.1 1.1.1.1 1 2\r\n", "\r\n\r\nGET",
    ])
    func whatIsNoHeaderIsRefused(_ text: String) { #expect(throws: HTTPFault.self) { try line(text) } }

    @Test func lengthsAreBounded() {
        #expect(throws: HTTPFault.self) { try line("PROXY UNKNOWN " + String(repeating: "x", count: 100)) }
        #expect(throws: HTTPFault.self) { try parse(Self.signature + [0x21, 0x11, 0xff, 0xff]) }
        #expect(throws: HTTPFault.self) { try parse(Self.signature + [0x21, 0x11, 0, 11]) }
        #expect(throws: HTTPFault.self) { try parse(Self.signature + [0x31, 0x11, 0, 12]) }
    }
}

@Suite struct SameHostTests {
    @Test func thePortDoesNotCountAndEverythingElseDoes() throws {
        let texts = ["1.2.3.4:5", "1.2.3.5:5", "[::1]:5", "[::2]:5", "[1::1]:5", "[::ffff:1.2.3.4]:5"]
        for one in texts {
            for other in texts {
                let a = try #require(SocketAddress(hostPort: one))
                var b = try #require(SocketAddress(hostPort: other))
                b.port = 9
                #expect(a.hasSameHost(as: b) == (one == other), "\(one) \(other)")
            }
        }
    }
}
