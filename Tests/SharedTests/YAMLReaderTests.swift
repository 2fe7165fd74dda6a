import Testing

@testable import Shared

@Suite struct YAMLReaderTests {
    /// The text as compact JSON.
    private func json(_ text: String) throws(Diagnostic) -> String {
        var writer = JSONWriter()
        writer.value(try YAMLReader.parse(Array(text.utf8)).root)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    @Test(arguments: [
        (
            "a: 1\nb: [x, 'y z', \"q\\n\"]\nc:\n- 1\n- k: v\n  l: w\n",
            #"{"a":1,"b":["x","y z","q\n"],"c":[1,{"k":"v","l":"w"}]}"#
        ),
        ("no: on\nyes: off\n", #"{"no":"on","yes":"off"}"#),
        ("- 0x1F\n- 0o17\n- 1e3\n- .5\n- +7\n- 012\n- ~\n- null\n- True\n", "[31,15,1e3,0.5,7,12,null,null,true]"),
        ("\"127.0.0.1:8080\": up\n", #"{"127.0.0.1:8080":"up"}"#),
        ("127.0.0.1:8080: {method: ping}\n", #"{"127.0.0.1:8080":{"method":"ping"}}"#),
        (
            "a: |\n  one\n   two\n\n  three\nb: >-\n  x\n  y\n\n  z\nc: |+\n  k\n\n",
            #"{"a":"one\n two\n\nthree\n","b":"x y\nz","c":"k\n\n"}"#
        ),
        ("a: &x {m: 1}\nb: *x\nc:\n  <<: *x\n  n: 2\n", #"{"a":{"m":1},"b":{"m":1},"c":{"n":2,"m":1}}"#),
        ("%YAML 1.2\n---\na: b\n...\n", #"{"a":"b"}"#),
        ("a: plain text\n  over lines # comment\n", #"{"a":"plain text over lines"}"#),
        ("!!str 12", #""12""#),
        ("# only a comment\n", "null"),
        ("a:\n  - b\n  -\n    - c\n", #"{"a":["b",["c"]]}"#),
        ("? key\n: value\n", #"{"key":"value"}"#),
        ("url: http://x:80/?a=1#b\n", #"{"url":"http://x:80/?a=1#b"}"#),
    ])
    func reads(_ text: String, _ expected: String) throws {
        #expect(try json(text) == expected)
    }

    @Test(arguments: [
        "a: b: c", "a:\n\t- b", "a: [1, 2", "a: \"x", "- a\nb: c", "a: 1\na: 2", "a: *nobody", "--- a\n--- b",
        "a: !mine x", "[a]: b", "a: @x", "a: `x`",
        "a: 'it's'", "a:\n  b: 1\n c: 2", "a: |x\n  y", "&a &b c", "a: {b: c]", "%YAML 2.0\n---\na", "key\nother: 1",
        "a: \"\\q\"", "a: &x *x", "x: \u{1}", "x: \u{9b}", "x: \u{ffff}",
    ])
    func refusesWithAPosition(_ text: String) {
        #expect(throws: Diagnostic.self) { try json(text) }
    }

    @Test func refusesAnAliasBombInsteadOfExpandingIt() {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...12 {
            text += "a\(level): &a\(level) [" + (0..<10).map { _ in "*a\(level - 1)" }.joined(separator: ", ") + "]\n"
        }
        #expect(throws: Diagnostic.self) { try json(text) }
    }

    @Test func refusesTextsThatAliasesMakeLong() {
        let text = "a: &a \(String(repeating: "x", count: 1 << 20))\nb:\n" + String(repeating: "- *a\n", count: 200)
        #expect(throws: Diagnostic.self) { try json(text) }
    }

    @Test func everyPrefixOfATextIsReadOrRefusedAndNeverTraps() {
        let text = Array(
            "a: &x [1, 'b', \"c\\u0041\"]\nd: |2\n   e\n  f\n? g\n: *x\nh: {i: j, ? k, l: }\n!!str m: >-\n  n\n".utf8)
        for end in text.indices { _ = try? YAMLReader.parse(Array(text[..<end])) }
        for start in text.indices { _ = try? YAMLReader.parse(Array(text[start...])) }
    }
}
