import Shared
import Testing

@testable import serverpyctl

@Suite struct ChildOutputTests {
    private func lines(_ pieces: [String]) -> [String] {
        var output = ChildOutput()
        var result: [String] = []
        for piece in pieces {
            for line in output.lines(Array(piece.utf8).span, program: "forwarderd 1", pid: 7) {
                result.append(String(decoding: line, as: UTF8.self))
            }
        }
        if let line = output.end(program: "forwarderd 1", pid: 7) {
            result.append(String(decoding: line, as: UTF8.self))
        }
        return result
    }

    @Test func linesOfTheLogPassAsTheyAreHoweverTheyArrive() {
        let text = "2026-11-23T22:36:17.123Z info discoveryd[812]: web is up\n"
        #expect(lines([text]) == [text])
        #expect(lines(text.map(String.init)) == [text])
        let json =
            "{\"time\":\"2026-11-23T22:36:17.123Z\",\"level\":\"info\",\"program\":\"x\",\"pid\":1,\"message\":\"m\"}\n"
        #expect(lines([json + text]) == [json, text])
    }

    @Test func anythingElseBecomesALineOfTheProgramThatSaidIt() {
        for text in ["Fatal error: \u{1b}[31m", "2026 was a good year", "{\"not\": \"ours\"}", "{", "x]: y"] {
            let made = lines([text + "\n"])
            #expect(made.count == 1 && made[0].contains("Z error forwarderd 1[7]: "), "\(made)")
            #expect(!made[0].contains("\u{1b}"))
        }
        #expect(lines(["\n\n"]).isEmpty)
    }

    @Test func lastWordsWithoutALineBreakAreHeard() {
        #expect(lines(["half a li", "ne"]).first?.hasSuffix("forwarderd 1[7]: half a line\n") == true)
    }

    @Test func aLineWithoutEndIsCutAndTakesNoMoreMemory() {
        let made = lines([String](repeating: String(repeating: "x", count: 1000), count: 100) + ["\nnext\n"])
        #expect(made.count == 2 && made[0].utf8.count <= Log.lineBytes && made[0].hasSuffix("...\n"))
        #expect(made[1].hasSuffix("]: next\n"))
    }

    @Test func bothFormsOfALineSayTheSame() throws {
        let line = try #require(LogLine(Array("2026-11-23T22:36:17.123Z warning forwarderd 0[12]: a \"b\" c".utf8)))
        #expect(
            line.level == .warning && line.program == "forwarderd 0" && line.pid == 12 && line.message == "a \"b\" c")
        #expect(LogLine(Array(line.json.dropLast())) == line)
        #expect(LogLine(Array(line.text.dropLast())) == line)
    }
}
