import Shared
import Testing

@testable import forwarderd

@Suite struct PendingRequestTests {
    private func make(_ framing: BodyFraming, withholdsBody: Bool = false, capacity: Int = Limits.requestBufferBytes)
        -> PendingRequest
    {
        var request = PendingRequest(framing, withholdsBody: withholdsBody)
        var buffer = Buffer(capacity: capacity)
        buffer.append("HEAD ")
        request.begin(&buffer, host: nil)
        return request
    }

    private func input(_ text: String) -> Buffer {
        var buffer = Buffer(capacity: Limits.requestBufferBytes)
        buffer.append(Array(text.utf8))
        return buffer
    }

    private func copy(_ request: borrowing PendingRequest, to out: inout Buffer) -> Int? {
        guard let bytes = request.unframed else { return nil }
        out.append(bytes)
        return bytes.count
    }

    /// All that an instance gets.
    private func send(_ request: inout PendingRequest) -> String {
        var out = Buffer(capacity: Limits.outputBufferBytes)
        if let count = copy(request, to: &out) {
            request.noteSent(count)
        } else if !request.isDrained {
            request.frame(into: &out)
        }
        return String(decoding: out.bytes.array(0, out.count), as: UTF8.self)
    }

    @Test func aBodyOfALengthGoesOutBehindItsHead() throws {
        var request = make(.length(5))
        var buffer = input("helloGET / ")
        expect(try request.take(&buffer) == 5)
        expect(buffer.count == 6, "the next request stays")
        expect(request.isComplete && !request.isHandedOver)
        expect(send(&request) == "HEAD hello" && request.isHandedOver)
    }

    /// Kept as body bytes: it is framed for each connection anew.
    @Test func aChunkedBodyIsFramedForEachConnectionAnew() throws {
        var request = make(.chunked)
        var first = input("2;e=1\r\nhe\r\n")
        _ = try request.take(&first)
        expect(send(&request) == "HEAD 2\r\nhe\r\n" && !request.isHandedOver)
        var rest = input("3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\nGET /")
        _ = try request.take(&rest)
        expect(rest.count == 5)
        expect(send(&request) == "3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n" && request.isHandedOver)
        request.rewind(authority: [])
        expect(!request.isHandedOver)
        expect(send(&request) == "HEAD 5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n" && request.isHandedOver)
        expect(send(&request).isEmpty)
    }

    @Test func theEndOfAChunkedBodyIsSentOnce() throws {
        var request = make(.chunked)
        expect(send(&request) == "HEAD ")
        var end = input("0\r\n\r\n")
        _ = try request.take(&end)
        expect(!request.isDrained)
        expect(send(&request) == "0\r\n\r\n" && request.isHandedOver && send(&request).isEmpty)
    }

    @Test func framesThatWaitAtTheConnectionAreNotHandedOver() {
        var request = make(.none)
        _ = send(&request)
        request.hasUnsentFrames = true
        expect(!request.isHandedOver)
        request.rewind(authority: [])
        _ = send(&request)
        expect(request.isHandedOver)
    }

    @Test func aBodyAboveItsLimitIsRefused() {
        var request = make(.length(9))
        var buffer = input("123456789")
        #expect(throws: HTTPFault(413, "a body of more than 8B")) { try request.take(&buffer, limit: 8) }
    }

    @Test func aClientThatWaitsFor100IsNoSlowClientUntilItSends() throws {
        var request = make(.length(5), withholdsBody: true)
        expect(request.isWithheld && !request.isComplete)
        var buffer = input("he")
        _ = try request.take(&buffer)
        expect(!request.isWithheld)
    }

    @Test func theHostOfEachInstanceIsPutIn() throws {
        var request = PendingRequest(.length(2))
        var buffer = Buffer(capacity: Limits.requestBufferBytes)
        buffer.append("Host: old:1|")
        request.begin(&buffer, host: (6, 5))
        var body = input("ab")
        _ = try request.take(&body)
        request.rewind(authority: Array("longer.example:8080".utf8))
        expect(send(&request) == "Host: longer.example:8080|ab")
        request.rewind(authority: Array("x".utf8))
        expect(send(&request) == "Host: x|ab")
    }

    @Test func aLongBodyPassesThroughAndCanNoLongerBeSentAgain() throws {
        var request = make(.length(100_000))
        var (got, sent) = (0, 0)
        var isReplayable = true
        while got < 100_000 {
            var piece = input(String(repeating: "x", count: min(10_000, 100_000 - got)))
            while !piece.isEmpty {
                if request.dropSentIfFull() { isReplayable = false }
                got += try request.take(&piece)
                sent += send(&request).utf8.count
            }
        }
        expect(sent == 100_005 && request.isHandedOver && !isReplayable)
    }

    @Test func aBodyThatNobodyWantsIsDroppedOnlyWhereItIsWhole() {
        for (text, framing, isWhole) in [
            ("helloX", BodyFraming.length(5), true), ("hel", .length(5), false), ("0\r\n\r\nX", .chunked, true),
            ("0\r\nbad trailer\r\n\r\n", .chunked, false), ("5\r\nhello0", .chunked, false),
        ] {
            var request = PendingRequest(framing)
            var buffer = input(text)
            request.discard(&buffer)
            expect(request.isComplete == isWhole, "\(text)")
        }
    }
}
