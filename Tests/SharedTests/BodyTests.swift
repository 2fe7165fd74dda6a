import Testing

@testable import Shared

@Suite struct BodyTests {
    /// The data of a chunked body given in pieces of `size`, or the fault's status; the rest behind it is counted.
    private func decode(_ text: String, pieces size: Int) -> Result<
        (data: String, rest: Int, trailers: String), HTTPFault
    > {
        var decoder = ChunkedDecoder(status: 400)
        let bytes = Array(text.utf8)
        var data: [UInt8] = []
        var offset = 0
        do throws(HTTPFault) {
            while offset < bytes.count {
                let part = Array(bytes[offset..<min(bytes.count, offset + size)])
                var position = 0
                var isMore = true
                while isMore {
                    switch try decoder.next(part.span, &position) {
                    case .data(let start, let count): data += part[start..<start + count]
                    case .needsMore: isMore = false
                    case .end:
                        let trailers = String(decoding: try decoder.forwardableTrailers(), as: UTF8.self)
                        return .success(
                            (String(decoding: data, as: UTF8.self), bytes.count - offset - position, trailers))
                    }
                }
                offset += size
            }
        } catch {
            return .failure(error)
        }
        return .failure(HTTPFault(0, "incomplete"))
    }

    @Test func chunksGiveTheirDataAtEverySplit() throws {
        let text = "5;a=b\r\nhello\r\n00A ;x\r\n0123456789\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\nGET"
        for size in 1...text.utf8.count {
            let (data, rest, trailers) = try decode(text, pieces: size).get()
            #expect(data == "hello0123456789")
            #expect(rest == 3)
            #expect(trailers == "X-T: 1\r\n")
        }
    }

    @Test(arguments: [
        "5\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "g\r\n", "\r\n", " 5\r\nhello\r\n",
        "-5\r\n", "0x5\r\nhello\r\n", "5 \r\nhello\r\n", "5 x\r\nhello\r\n", "5 5\r\n",
        "10000000000000000\r\n", "00000000000000001\r\n", "ffffffffffffffff\r\n", "5;a\nb\r\n", "5;a\rb\r\nhello\r\n",
        "5;\r\nhello\r\n", "5; \r\nhello\r\n", "5;;\r\nhello\r\n", "5;a;\r\nhello\r\n", "5;a b\r\nhello\r\n",
        "5;a \r\nhello\r\n", "5;=x\r\nhello\r\n", "5;a=\r\nhello\r\n", "5;a= \r\nhello\r\n", "5;a=b c\r\nhello\r\n",
        "5;a=b=c\r\nhello\r\n", "5;a=\"b\r\nhello\r\n", "5;a=\"b\"c\r\nhello\r\n", "5;a=\"b\\\r\nhello\r\n",
        "5;a=b\"c\"\r\nhello\r\n", "5;a@b\r\nhello\r\n", "5;a=(b)\r\nhello\r\n", "5,a\r\nhello\r\n",
        "5;a=\"b\nc\"\r\nhello\r\n", "5;a=\"\u{7f}\"\r\nhello\r\n", "5;\"a\"=b\r\nhello\r\n",
        "0\r\nX: a\nY: b\r\n\r\n",
        "0\r\n folded\r\n\r\n", "0\r\nX : y\r\n\r\n", "0\r\n\rX", "5;\u{0}\r\nhello\r\n",
    ])
    func refusesChunksThatCouldBeReadTwoWays(_ text: String) {
        for size in [1, 2, 3, 100] {
            guard case .failure(let fault) = decode(text, pieces: size) else {
                Issue.record("accepted")
                return
            }
            #expect(fault.status == 400, "\(fault.reason)")
        }
    }

    @Test(arguments: [
        "", ";a", ";a=b", " ;a", "\t ; a = b", ";a;b=c;d", ";a =b;c= d", ";a=\"\"", ";a=\"b c;\\\"\\\\=\"",
        ";a=\"b\" ;c", ";a ;b",
        ";!#$%&'*+-.^_`|~0=!x", ";a=\"\u{e9}\t\"",
    ])
    func extensionsThatKeepToTheGrammarAreSkipped(_ text: String) throws {
        for size in [1, 2, 3, 100] {
            #expect(try decode("5\(text)\r\nhello\r\n0\(text)\r\n\r\n", pieces: size).get().data == "hello")
        }
    }

    @Test func extensionsAndTrailersAreBounded() {
        let extensions = String(repeating: "1;" + String(repeating: "x", count: 200) + "\r\na\r\n", count: 50)
        guard case .failure(let first) = decode(extensions, pieces: 1000) else { return #expect(Bool(false)) }
        #expect(first.status == 400)
        let trailers = "0\r\n" + String(repeating: "X: \(String(repeating: "y", count: 100))\r\n", count: 1000)
        guard case .failure(let second) = decode(trailers, pieces: 1000) else { return #expect(Bool(false)) }
        #expect(second.status == 431)
    }

    @Test func whatMayNotBeATrailerIsDroppedHoweverItIsWritten() throws {
        for fields in [
            "Content-Length: abc", "Content-Length:", "Content-Length: 1\r\nContent-Length: 2",
            "Transfer-Encoding: foo",
            "Host: a\r\nHost: b", "Connection: a b", "X-Request-Id: 1", "Via: 1.1 x", "X-Forwarded-For: 1.2.3.4",
        ] {
            #expect(try decode("0\r\n\(fields)\r\nX-Ok: 1\r\n\r\n", pieces: 7).get().trailers == "X-Ok: 1\r\n")
        }
    }

    @Test func aLengthEndsExactlyThere() throws {
        var body = BodyDecoder(.length(5), status: 400)
        let bytes = Array("hello, next".utf8)
        var position = 0
        let piece = try body.next(bytes.span, &position)
        #expect(piece == .data(start: 0, count: 5))
        #expect(body.isComplete)
        #expect(position == 5)
    }
}

@Suite struct ResponseHeadTests {
    private func parse(_ text: String) throws(HTTPFault) -> ResponseHead? {
        var head = ResponseHead()
        return try head.parse(Array(text.utf8).span) ? head : nil
    }

    @Test func framingFollowsTheMethodAndTheStatus() throws {
        let withLength = try #require(try parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"))
        #expect(withLength.framing(requestWasHead: false) == .length(3))
        #expect(withLength.framing(requestWasHead: true) == .none)
        #expect(
            try #require(try parse("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n")).framing(
                requestWasHead: false) == .none)
        #expect(try #require(try parse("HTTP/1.1 204 No Content\r\n\r\n")).framing(requestWasHead: false) == .none)
        #expect(try #require(try parse("HTTP/1.1 200 OK\r\n\r\n")).framing(requestWasHead: false) == .untilClose)
        #expect(
            try #require(try parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")).framing(
                requestWasHead: false) == .chunked)
    }

    @Test func isPartialAtEverySplitPoint() throws {
        let text = Array("HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n".utf8)
        for end in 0..<text.count {
            var head = ResponseHead()
            let isWhole = try head.parse(Array(text[..<end]).span)
            #expect(!isWhole, "\(end)")
        }
    }

    @Test func whiteSpaceBeforeAColonIsMendedAndAnEmptyReasonAccepted() throws {
        let head = try #require(try parse("HTTP/1.1 200\r\nContent-Length : 3\r\n\r\n"))
        #expect(head.fields.contentLength == 3)
    }

    @Test(arguments: [
        "HTTP/2 200 OK\r\n\r\n....", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 99 No\r\n\r\n...", "HTTP/1.1 2000 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n...",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ])
    func badAnswersAre502(_ text: String) {
        do {
            _ = try parse(text)
            Issue.record("accepted")
        } catch {
            #expect(error.status == 502)
        }
    }
}
