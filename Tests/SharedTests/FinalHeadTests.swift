import Testing

@testable import Shared

/// The head of a final response behind interim ones, as a client reads it.
@Suite struct FinalHeadTests {
    private static let answer =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\nA: b\r\n\r\nrest"

    @Test(arguments: [1, 2, 7, 4096]) func isFoundBehindInterimHeadsHoweverTheyCome(_ size: Int) throws {
        var head = ResponseHead()
        var input = Buffer(capacity: 64)
        var bytes = Array(Self.answer.utf8)[...]
        while true {
            let piece = bytes.prefix(min(size, input.free))
            bytes = bytes.dropFirst(piece.count)
            input.append(Array(piece))
            if try head.readFinal(from: &input, maxBytes: 4096, maxFields: 9) { break }
            let isExhausted = bytes.isEmpty || input.free == 0
            #expect(!isExhausted)
            if isExhausted { return }
        }
        #expect(head.status == 204 && head.fields.lines.count == 1)
        let rest = String(decoding: input.bytes.array(0, input.count), as: UTF8.self)
        #expect("rest".hasPrefix(rest), "what follows stays: \(rest)")
    }

    @Test func aSwitchOfProtocolsThatNobodyHasAskedForIsAFault() {
        var head = ResponseHead()
        var input = Buffer(capacity: 256)
        input.append("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        #expect(throws: HTTPFault(502, "101 without an upgrade", .unaskedUpgrade)) {
            try head.readFinal(from: &input, maxBytes: 4096, maxFields: 9)
        }
    }
}
