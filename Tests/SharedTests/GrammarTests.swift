import Testing

@testable import Shared

@Suite struct GrammarTests {
    private static let lettersAndDigits = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".utf8)

    @Test func theSetsHoldWhatTheStandardsSay() {
        for byte in UInt8.min...UInt8.max {
            let isPlain = Self.lettersAndDigits.contains(byte)
            #expect(Grammar.token.contains(byte) == (isPlain || "!#$%&'*+-.^_`|~".utf8.contains(byte)), "\(byte)")
            // unreserved and sub-delims
            #expect(Grammar.host.contains(byte) == (isPlain || "-._~!$&'()*+,;=".utf8.contains(byte)), "\(byte)")
            #expect(Grammar.plainName.contains(byte) == (isPlain || byte == 0x2d), "\(byte)")
        }
    }

    @Test func aSetEndsAtTheFirstOtherByteOrAtTheEnd() {
        let bytes = Array("Host: x".utf8)
        for (start, end) in [(0, 4), (4, 4), (6, 7), (7, 7)] {
            let found = bytes.span.end(of: Grammar.token, from: start)
            #expect(found == end)
        }
    }

    /// Read eight bytes at a time: each byte in each place ends a token exactly where it is no part of one.
    @Test func aTokenEndsAtTheFirstByteThatIsNone() {
        for length in [0, 1, 3, 7, 8, 9, 15, 16, 17, 30] {
            for place in 0..<length {
                for byte in UInt8.min...UInt8.max {
                    var bytes = [UInt8](repeating: 0x61, count: length)
                    for index in bytes.indices where index % 5 == 3 { bytes[index] = index % 2 == 0 ? 0x2d : 0x5a }
                    bytes[place] = byte
                    let wanted = bytes.firstIndex { !Grammar.isToken($0) } ?? length
                    let found = Grammar.endOfToken(bytes.span, 0)
                    if found != wanted { Issue.record("\(byte) at \(place) of \(length): \(found)") }
                    let shifted = [0x3a, 0x3a] + bytes
                    let later = Grammar.endOfToken(shifted.span, 2)
                    if later != wanted + 2 { Issue.record("\(byte) at \(place) of \(length), shifted: \(later)") }
                }
            }
        }
    }

    /// Names are compared eight bytes at a time: every byte in every place counts, and case only where there is a letter.
    @Test(arguments: [
        "te", "http2", "keep-alive", "x-request-id", "content-length", "http2-settings", "transfer-encoding",
    ])
    func namesAreComparedWithoutCaseInEveryPlace(_ name: String) throws {
        let text: StaticString =
            switch name {
            case "te": "te"
            case "http2": "http2"
            case "keep-alive": "keep-alive"
            case "x-request-id": "x-request-id"
            case "content-length": "content-length"
            case "http2-settings": "http2-settings"
            default: "transfer-encoding"
            }
        let lower = Array(name.utf8)
        for place in lower.indices {
            for byte in UInt8.min...UInt8.max {
                var bytes = lower
                bytes[place] = byte
                let isLetter = lower[place] >= 0x61 && lower[place] <= 0x7a
                let isSame = byte == lower[place] || isLetter && byte == lower[place] - 0x20
                let padded = [0x20] + bytes + [0x20]
                let isFound = padded.span.equalsIgnoringCase(text, at: 1, count: bytes.count)
                #expect(isFound == isSame, "\(place) \(byte)")
            }
        }
    }

    @Test(arguments: [
        ("a", true), ("example.com:80", true), ("127.0.0.1:8080", true), ("[::1]:1", true), ("a%20b:1", true),
        ("a%2", false), ("a%zz", false), ("%", false), ("", false), (":80", false), ("a:", true), ("a:1x", false),
        ("a b", false), ("user@host", false), ("a/b", false), ("a:123456", false),
    ])
    func anAuthorityIsAHostAndAPort(_ text: String, _ isValid: Bool) {
        let bytes = Array(text.utf8)
        // What stands behind it does not count.
        for behind in ["", "9%41"] {
            let all = bytes + Array(behind.utf8)
            let found = Grammar.isAuthority(all.span, 0, bytes.count)
            #expect(found == isValid)
        }
    }
}
