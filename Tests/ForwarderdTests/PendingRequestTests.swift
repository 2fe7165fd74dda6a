import Shared
import Testing

@testable import forwarderd

@Suite struct PendingRequestTests {
    /// A request between the codecs of its two sides.
    private struct Way: ~Copyable {
        var request: PendingRequest
        var client: ClientCodec
        var instance: InstanceCodec

        init(
            _ framing: BodyFraming, withholdsBody: Bool = false, head: StaticString = "HEAD ",
            host: (start: Int, count: Int)? = nil
        ) {
            request = PendingRequest(hasBody: framing != .none, withholdsBody: withholdsBody)
            client = ClientCodec(framing)
            instance = InstanceCodec(framing)
            var buffer = Buffer(capacity: Limits.requestBufferBytes)
            buffer.append(head)
            request.begin(&buffer, host: host)
        }

        @discardableResult
        mutating func take(_ input: inout Buffer, limit: UInt64? = nil) throws -> Int {
            try request.take(&input, &client, limit: limit)
        }

        /// All that an instance gets.
        mutating func send() -> String {
            var out = Buffer(capacity: Limits.outputBufferBytes)
            if instance.isTransparent {
                out.append(request.unsent)
                request.noteSent(out.count)
            } else if !request.isDrained {
                instance.write(&request, to: &out)
            }
            return String(decoding: out.bytes.array(0, out.count), as: UTF8.self)
        }
    }

    private func input(_ text: String) -> Buffer {
        var buffer = Buffer(capacity: Limits.requestBufferBytes)
        buffer.append(Array(text.utf8))
        return buffer
    }

    @Test func aBodyOfALengthGoesOutBehindItsHead() throws {
        var way = Way(.length(5))
        var buffer = input("helloGET / ")
        expect(try way.take(&buffer) == 5)
        expect(buffer.count == 6, "the next request stays")
        expect(way.request.isComplete && !way.request.isHandedOver)
        expect(way.send() == "HEAD hello" && way.request.isHandedOver)
    }

    /// Kept as body bytes: it is framed for each connection anew.
    @Test func aChunkedBodyIsFramedForEachConnectionAnew() throws {
        var way = Way(.chunked)
        var first = input("2;e=1\r\nhe\r\n")
        _ = try way.take(&first)
        expect(way.send() == "HEAD 2\r\nhe\r\n" && !way.request.isHandedOver)
        var rest = input("3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\nGET /")
        _ = try way.take(&rest)
        expect(rest.count == 5)
        expect(way.send() == "3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n" && way.request.isHandedOver)
        way.request.rewind(authority: [])
        expect(!way.request.isHandedOver)
        expect(way.send() == "HEAD 5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n" && way.request.isHandedOver)
        expect(way.send().isEmpty)
    }

    @Test func theEndOfAChunkedBodyIsSentOnce() throws {
        var way = Way(.chunked)
        expect(way.send() == "HEAD ")
        var end = input("0\r\n\r\n")
        _ = try way.take(&end)
        expect(!way.request.isDrained)
        expect(way.send() == "0\r\n\r\n" && way.request.isHandedOver && way.send().isEmpty)
    }

    @Test func framesThatWaitAtTheConnectionAreNotHandedOver() {
        var way = Way(.none)
        _ = way.send()
        way.request.hasUnsentFrames = true
        expect(!way.request.isHandedOver)
        way.request.rewind(authority: [])
        _ = way.send()
        expect(way.request.isHandedOver)
    }

    @Test func aBodyAboveItsLimitIsRefused() {
        var way = Way(.length(9))
        var buffer = input("123456789")
        #expect(throws: HTTPFault(413, "a body of more than 8B")) { try way.take(&buffer, limit: 8) }
    }

    @Test func aClientThatWaitsFor100IsNoSlowClientUntilItSends() throws {
        var way = Way(.length(5), withholdsBody: true)
        expect(way.request.isWithheld && !way.request.isComplete)
        var buffer = input("he")
        _ = try way.take(&buffer)
        expect(!way.request.isWithheld)
    }

    @Test func theHostOfEachInstanceIsPutIn() throws {
        var way = Way(.length(2), head: "Host: old:1|", host: (6, 5))
        var body = input("ab")
        _ = try way.take(&body)
        way.request.rewind(authority: Array("longer.example:8080".utf8))
        expect(way.send() == "Host: longer.example:8080|ab")
        way.request.rewind(authority: Array("x".utf8))
        expect(way.send() == "Host: x|ab")
    }

    @Test func aLongBodyPassesThroughAndCanNoLongerBeSentAgain() throws {
        var way = Way(.length(100_000))
        var (got, sent) = (0, 0)
        var isReplayable = true
        while got < 100_000 {
            var piece = input(String(repeating: "x", count: min(10_000, 100_000 - got)))
            while !piece.isEmpty {
                if way.request.dropSentIfFull() { isReplayable = false }
                got += try way.take(&piece)
                sent += way.send().utf8.count
            }
        }
        expect(sent == 100_005 && way.request.isHandedOver && !isReplayable)
    }

    @Test func aBodyThatNobodyWantsIsDroppedOnlyWhereItIsWhole() {
        for (text, framing, isWhole) in [
            ("helloX", BodyFraming.length(5), true), ("hel", .length(5), false), ("0\r\n\r\nX", .chunked, true),
            ("0\r\nbad trailer\r\n\r\n", .chunked, false), ("5\r\nhello0", .chunked, false),
        ] {
            var codec = ClientCodec(framing)
            var buffer = input(text)
            expect(codec.discard(&buffer) == isWhole, "\(text)")
        }
    }
}
