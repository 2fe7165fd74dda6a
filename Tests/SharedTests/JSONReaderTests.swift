import Testing

@testable import Shared

@Suite struct JSONReaderTests {
    private func parse(_ text: String) throws(Diagnostic) -> Document.Value {
        try JSONReader.parse(Array(text.utf8)).root
    }

    @Test func readsEveryKindOfValue() throws {
        let root = try parse(#"{"a": [1, -2.5e3, true, false, null, "x\n\u00e9\ud83d\ude00"], "b": {}}"#)
        let list = Array(try #require(root["a"]).elements)
        #expect(list.map(\.kind) == [.integer, .number, .boolean, .boolean, .null, .string])
        #expect(list[0].unsigned == 1)
        #expect(list[1].double == -2500)
        #expect(list[2].boolean == true)
        #expect(list[5].string == "x\né😀")
        #expect(root["b"]?.kind == .mapping)
        #expect(root["b"]?.count == 0)
    }

    @Test func remembersWhereEachValueStands() throws {
        let text = "{\n  \"name\": \"x\"\n}"
        let value = try #require(try parse(text)["name"])
        let position = SourcePosition(offset: value.offset, in: Array(text.utf8))
        #expect(position.line == 2)
        #expect(position.column == 11)
    }

    @Test(arguments: [
        "", " ", "{", "[", "[1,]", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "[1 2]", "01", "-", "1.", "1e", ".5", "+1",
        "tru", "nul", "\"\u{1}\"", "\"\\x\"",
        "\"\\ud800\"", "\"\\udc00\"", "\"\\u12\"", "\"abc", "{\"a\":1,\"a\":2}", "1 2", "[1]]", "1e400", "NaN", "'a'",
        "{\"a\":1 /* */}",
    ])
    func refuses(_ text: String) {
        #expect(throws: Diagnostic.self) { try parse(text) }
    }

    @Test func refusesBytesThatAreNotUTF8WithTheirPlace() {
        #expect(throws: Diagnostic(at: 2, "byte 0xff is not valid UTF-8; JSON is UTF-8 text")) {
            try JSONReader.parse([0x22, 0x61, 0xff, 0x22])
        }
    }

    @Test func refusesNestingBeyondTheLimitInsteadOfOverflowingTheStack() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(throws: Diagnostic.self) { try parse(deep) }
        let allowed =
            String(repeating: "[", count: Limits.nestingDepth) + String(repeating: "]", count: Limits.nestingDepth)
        #expect(throws: Never.self) { try parse(allowed) }
    }

    @Test func duplicateNamesAreFoundInLargeObjectsToo() {
        var text = "{" + (0..<100).map { "\"k\($0)\":1" }.joined(separator: ",")
        text += ",\"k7\":2}"
        #expect(throws: Diagnostic.self) { try parse(text) }
    }

    @Test func whatTheWriterWritesTheReaderReads() throws {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("text", "a\"\\\n\t\u{1b}\u{7f}é")
        writer.field("number", -5)
        writer.key("list")
        writer.beginArray()
        writer.value(0.25)
        writer.value(true)
        writer.null()
        writer.endArray()
        writer.endObject()
        let root = try JSONReader.parse(writer.bytes).root
        #expect(root["text"]?.string == "a\"\\\n\t\u{1b}\u{7f}é")
        #expect(root["number"]?.double == -5)
        #expect(root["list"]?.count == 3)
        #expect(!writer.bytes.contains(0x1b))
    }
}
