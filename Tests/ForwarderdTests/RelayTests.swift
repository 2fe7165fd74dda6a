import Shared
import Testing

@testable import forwarderd

@Suite struct RelayTests {
    /// What a client gets of a response body, given in pieces of `size` bytes. Nil: it is not complete.
    private func relay(_ text: String, _ source: BodyFraming, to encoder: BodyEncoder, size: Int, ends: Bool = false)
        throws -> String?
    {
        var relay = Relay(source, to: encoder)
        var client: [UInt8] = []
        var out = Buffer(capacity: Limits.outputBufferBytes)
        let bytes = Array(text.utf8)
        var start = 0
        while start < bytes.count, !relay.isComplete {
            let piece = Array(bytes[start..<min(start + size, bytes.count)])
            var position = 0
            while position < piece.count, !relay.isComplete {
                out.removeAll()
                let step = try relay.next(piece.span, &position, to: &out)
                client += out.bytes.array(0, out.count)
                if case .direct(let start, let count) = step { client += piece[start..<start + count] }
            }
            start += size
        }
        if ends {
            out.removeAll()
            guard relay.end(to: &out) else { return nil }
            client += out.bytes.array(0, out.count)
        } else if !relay.isComplete {
            return nil
        }
        return String(decoding: client, as: UTF8.self)
    }

    private let long = String(repeating: "0123456789", count: 2000)

    @Test(arguments: [1, 2, 3, 7, 4096, 100_000]) func everySplitOfABodyGivesTheSameBody(_ size: Int) throws {
        #expect(try relay(long, .length(20_000), to: .asGiven, size: size) == long)
        #expect(
            try relay("5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\n\r\n", .chunked, to: .untilClose, size: size) == "helloyou")
        #expect(try relay(long, .untilClose, to: .untilClose, size: size, ends: true) == long)
    }

    @Test func eachPieceBecomesAChunkAndTrailersFollowTheLast() throws {
        #expect(
            try relay("5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n", .chunked, to: .chunked, size: 99)
                == "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
        #expect(try relay("hello", .untilClose, to: .chunked, size: 99, ends: true) == "5\r\nhello\r\n0\r\n\r\n")
    }

    @Test func theEndOfTheConnectionIsTheEndOfABodyOnlyWhereNothingElseIs() throws {
        #expect(try relay("hello", .length(9), to: .asGiven, size: 99, ends: true) == nil)
        #expect(try relay("5\r\nhello\r\n", .chunked, to: .chunked, size: 99, ends: true) == nil)
    }

    @Test func bytesBehindABodyAreNotPartOfIt() throws {
        #expect(try relay("helloHTTP/1.1 200 OK", .length(5), to: .asGiven, size: 99) == "hello")
        #expect(try relay("0\r\n\r\nHTTP/1.1 200 OK", .chunked, to: .chunked, size: 99) == "0\r\n\r\n")
    }

    @Test func anInvalidChunkAndInvalidTrailersAreFaultsOfTheInstance() {
        for text in ["5\r\nhello0\r\n\r\n", "x\r\n", "0\r\nbad trailer\r\n\r\n"] {
            for encoder in [BodyEncoder.chunked, .untilClose] {
                #expect(throws: HTTPFault.self) { try relay(text, .chunked, to: encoder, size: 99) }
            }
        }
    }
}
