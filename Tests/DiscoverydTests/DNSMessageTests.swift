import Shared
import Testing

@testable import discoveryd

/// Messages of name servers, as they come and as nobody should send them.
@Suite struct DNSMessageTests {
    private static func bytes(_ text: String) -> [UInt8] {
        let digits = text.utf8.compactMap(Text.hexValue)
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// `www.example.com A`: a CNAME to `web.example.com` (300 s), which has 192.0.2.1 (60 s), with compressed names.
    static let alias = bytes(
        """
        beef 8180 0001 0002 0000 0000 03777777076578616d706c6503636f6d00 0001 0001
        c00c 0005 0001 0000012c 0006 03776562c010
        c02d 0001 0001 0000003c 0004 c0000201
        """)

    private func response(_ bytes: [UInt8]) throws -> DNSResponse { try DNSResponse(bytes.span) }

    @Test func anAliasIsFollowedAndTheShortestTimeCounts() throws {
        let response = try response(Self.alias)
        #expect(response.id == 0xbeef && response.question == DNSQuestion(name: DNSName("www.example.com")!, type: .a))
        #expect(
            DNSOutcome(response)
                == .records([.address(SocketAddress(ipv4: 0xc000_0201, port: 0))], seconds: 60))
    }

    @Test func aNameIsReadWithoutCaseAndWrittenAsPeopleDo() throws {
        let name = try #require(DNSName("WWW.Example.COM."))
        #expect(name == DNSName("www.example.com") && name.text == "www.example.com")
        #expect(name.wire == Self.bytes("03777777076578616d706c6503636f6d00"))
        #expect(DNSName("a..b") == nil && DNSName("") == nil && DNSName(".") == nil)
        #expect(DNSName(String(repeating: "a", count: 63)) != nil && DNSName(String(repeating: "a", count: 64)) == nil)
        let long = String(repeating: "abcdefg.", count: 31)
        #expect(DNSName(long + "abcdef") == nil && DNSName(long + "abcd") != nil)
    }

    /// Without an answer section, what the authority says of absence counts: the smaller of the SOA's TTL and its last field.
    @Test func absenceIsAnAnswerWithATime() throws {
        let soa = "c00c 0006 0001 00000e10 0018 c00c c00c 00000001 00000002 00000003 00000004 0000003c"
        for (code, text) in [("8183", "no such name"), ("8180", "no such record")] {
            let bytes = Self.bytes("0001 \(code) 0001 0000 0001 0000 016103636f6d00 001c 0001 \(soa)")
            #expect(DNSOutcome(try response(bytes)) == .absent(seconds: 60), "\(text)")
        }
    }

    @Test func whatTheServerCannotSayIsNoAnswer() throws {
        for (code, words) in [("8182", "SERVFAIL"), ("8185", "REFUSED"), ("8184", "error 4")] {
            let outcome = DNSOutcome(try response(Self.bytes("0001 \(code) 0001 0000 0000 0000 016100 0001 0001")))
            guard case .noAnswer(let reason) = outcome else {
                Issue.record("\(code) is \(String(describing: outcome))")
                continue
            }
            #expect(reason.contains(words))
        }
        // Truncated: to be asked over TCP, whatever it holds.
        #expect(DNSOutcome(try response(Self.bytes("0001 8380 0001 0001 0000 0000 016100 0001 0001"))) == nil)
    }

    @Test func recordsOfAServiceAreRead() throws {
        let bytes = Self.bytes(
            """
            0001 8180 0001 0001 0000 0001 055f68747470045f746370016100 0021 0001
            c00c 0021 0001 0000000a 000b 0001 0032 1f90 01620161 00
            00 0029 0200 00000000 0000
            """)
        #expect(
            DNSOutcome(try response(bytes))
                == .records(
                    [.service(priority: 1, weight: 50, port: 8080, target: DNSName("b.a")!)], seconds: 10))
    }

    @Test(arguments: [
        "", "beef", "beef 0180 0001 0000 0000 0000 016100 0001 0001",
        "beef 8180 0000 0000 0000 0000", "beef 8180 0002 0000 0000 0000 016100 0001 0001 016200 0001 0001",
        "beef 8180 0001 0000 0000 0000 016100 0010 0001",
        // An IPv4 address of three bytes; a record that is cut; a name that leads to itself; a label of an unknown kind.
        "beef 8180 0001 0001 0000 0000 016100 0001 0001 c00c 0001 0001 00000001 0003 c00002",
        "beef 8180 0001 0001 0000 0000 016100 0001 0001 c00c 0001 0001 00000001 0004 c00002",
        "beef 8180 0001 0001 0000 0000 c00c 0001 0001",
        "beef 8180 0001 0001 0000 0000 016100 0001 0001 c013 0001 0001 00000001 0004 c0000201",
        "beef 8180 0001 0001 0000 0000 816100 0001 0001",
        // A name of a record that goes on behind the record.
        "beef 8180 0001 0001 0000 0000 016100 0001 0001 c00c 0005 0001 00000001 0002 03777777 00",
    ]) func nonsenseIsRefused(_ text: String) {
        #expect(throws: DNSResponse.Fault.self) { try response(Self.bytes(text)) }
    }

    /// Whatever is cut off or changed, reading ends and does not trap.
    @Test func damagedMessagesDoNoHarm() {
        var random = SplitMix(seed: 3)
        for cut in 0..<Self.alias.count { _ = try? response(Array(Self.alias[..<cut])) }
        for _ in 0..<100_000 {
            var bytes = Self.alias
            for _ in 0...random.next() % 4 {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            if let response = try? response(bytes) { _ = DNSOutcome(response) }
        }
    }

    /// Aliases in a circle end.
    @Test func aCircleOfAliasesIsNothing() throws {
        let bytes = Self.bytes(
            """
            0001 8180 0001 0002 0000 0000 016100 0001 0001
            c00c 0005 0001 00000001 0003 016200
            016200 0005 0001 00000001 0002 c00c
            """)
        #expect(DNSOutcome(try response(bytes)) == .absent(seconds: nil))
    }

    @Test func aQuestionIsWrittenAsTheStandardSays() {
        let question = DNSQuestion(name: DNSName("a.b")!, type: .aaaa)
        #expect(
            question.message(id: 0x1234, withOptions: false)
                == Self.bytes("1234 0100 0001 0000 0000 0000 0161016200 001c 0001"))
        #expect(
            question.message(id: 0x1234, withOptions: true)
                == Self.bytes("1234 0100 0001 0000 0000 0001 0161016200 001c 0001 00 0029 04d0 00000000 0000"))
    }
}
