import Shared
import Testing

@testable import forwarderd

@Suite struct RelayTests {
    /// What a client gets of a response body, given in pieces of `size` bytes. Nil: it is not complete.
    private func relay(
        _ text: String, _ framing: BodyFraming, toHTTP10: Bool = false, size: Int, ends: Bool = false
    ) throws -> String? {
        var source = InstanceCodec(.none)
        var target = ClientCodec(.none, isHTTP10: toHTTP10)
        source.begin(framing)
        target.begin(framing)
        var client: [UInt8] = []
        var out = Buffer(capacity: Limits.outputBufferBytes)
        let bytes = Array(text.utf8)
        var start = 0
        while start < bytes.count, !source.isComplete {
            let piece = Array(bytes[start..<min(start + size, bytes.count)])
            var position = 0
            while position < piece.count, !source.isComplete {
                out.removeAll()
                let step = try Relay.next(piece.span, &position, from: &source, to: target, &out)
                client += out.bytes.array(0, out.count)
                if case .direct(let start, let count) = step { client += piece[start..<start + count] }
            }
            start += size
        }
        if ends {
            out.removeAll()
            guard Relay.end(from: source, to: target, &out) else { return nil }
            client += out.bytes.array(0, out.count)
        } else if !source.isComplete {
            return nil
        }
        return String(decoding: client, as: UTF8.self)
    }

    private let long = String(repeating: "0123456789", count: 2000)

    @Test(arguments: [1, 2, 3, 7, 4096, 100_000]) func everySplitOfABodyGivesTheSameBody(_ size: Int) throws {
        #expect(try relay(long, .length(20_000), size: size) == long)
        #expect(
            try relay("5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\n\r\n", .chunked, toHTTP10: true, size: size) == "helloyou")
        #expect(try relay(long, .untilClose, toHTTP10: true, size: size, ends: true) == long)
    }

    @Test func eachPieceBecomesAChunkAndTrailersFollowTheLast() throws {
        #expect(
            try relay("5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n", .chunked, size: 99)
                == "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
        #expect(try relay("hello", .untilClose, size: 99, ends: true) == "5\r\nhello\r\n0\r\n\r\n")
    }

    @Test func theEndOfTheConnectionIsTheEndOfABodyOnlyWhereNothingElseIs() throws {
        #expect(try relay("hello", .length(9), size: 99, ends: true) == nil)
        #expect(try relay("5\r\nhello\r\n", .chunked, size: 99, ends: true) == nil)
    }

    @Test func bytesBehindABodyAreNotPartOfIt() throws {
        #expect(try relay("helloHTTP/1.1 200 OK", .length(5), size: 99) == "hello")
        #expect(try relay("0\r\n\r\nHTTP/1.1 200 OK", .chunked, size: 99) == "0\r\n\r\n")
    }

    @Test func anInvalidChunkAndInvalidTrailersAreFaultsOfTheInstance() {
        for text in ["5\r\nhello0\r\n\r\n", "x\r\n", "0\r\nbad trailer\r\n\r\n"] {
            for toHTTP10 in [false, true] {
                #expect(throws: HTTPFault.self) { try relay(text, .chunked, toHTTP10: toHTTP10, size: 99) }
            }
        }
    }
}
