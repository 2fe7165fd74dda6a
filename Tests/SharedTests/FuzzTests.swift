import Foundation
import Testing

@testable import Shared

/// Random damage to good texts: whatever comes, a reader gives a value or a refusal with a place inside the text, and never
/// traps. A second each; SERVERPY_FUZZ_SECONDS=600 looks longer, SERVERPY_FUZZ_SEED=N repeats a run.
@Suite struct FuzzTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let seconds = Double(environment["SERVERPY_FUZZ_SECONDS"] ?? "") ?? 1
    private static let seed = UInt64(environment["SERVERPY_FUZZ_SEED"] ?? "") ?? SystemRandom.word()

    private static let dictionary: [String] = [
        "\n", "\r\n", "  ", "\t", ": ", "- ", "? ", "#", " #", "&a ", "*a", "!!str ", "<<", "|", ">-", "\"", "'", "\\",
        "\\u12", "{", "}", "[", "]", ",",
        "---\n", "...\n", "%YAML 1.2\n", "${", "${A:-b}", "$${", "\u{feff}", "é", "\0", "1e999", "0x", "0o7", ".inf",
        "null", "~", "true", "servers", "polling", "apis",
        "meta-info", "method: health", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Host: a\r\n",
        "Connection: close, x\r\n", "ffffffffffffffff",
        "%2e%2e/", "\r", " ",
    ]

    /// Runs `body` on damaged copies of the seeds until the time is over.
    private func attack(_ seeds: [String], _ body: ([UInt8]) -> Void) {
        var random = SplitMix(seed: Self.seed)
        let seeds = seeds.map { Array($0.utf8) }
        let end = Date(timeIntervalSinceNow: Self.seconds)
        var rounds = 0
        repeat {
            for _ in 0..<200 {
                var text = seeds[Int(random.next() % UInt64(seeds.count))]
                for _ in 0...random.next() % 6 { damage(&text, seeds, &random) }
                body(text)
                rounds += 1
            }
        } while Date() < end
        #expect(rounds >= 200, "seed \(Self.seed)")
    }

    private func damage(_ text: inout [UInt8], _ seeds: [[UInt8]], _ random: inout SplitMix) {
        let place = text.isEmpty ? 0 : Int(random.next() % UInt64(text.count))
        switch random.next() % 6 {
        case 0 where !text.isEmpty: text[place] = UInt8(truncatingIfNeeded: random.next())
        case 1 where !text.isEmpty: text.removeSubrange(place..<min(text.count, place + 1 + Int(random.next() % 8)))
        case 2:
            text.insert(contentsOf: Self.dictionary[Int(random.next() % UInt64(Self.dictionary.count))].utf8, at: place)
        case 3 where !text.isEmpty:
            text.insert(contentsOf: text[place..<min(text.count, place + Int(random.next() % 40))], at: place)
        case 4:
            let other = seeds[Int(random.next() % UInt64(seeds.count))]
            let from = Int(random.next() % UInt64(max(1, other.count)))
            text.insert(contentsOf: other[from..<min(other.count, from + 30)], at: place)
        default: text = Array(text[..<place])
        }
    }

    @Test func theConfigurationReaderSurvives() {
        let seeds = [
            "s:\n  servers: [h, 'h:1']\n  polling: {method: health, endpoint: /x, retries: 1, retry_delay: 2}\n  apis: [/a, /b/c]\n  timeouts: {idle: 5}\nmeta-info: {forwarders: 2}\n",
            "a: &x\n  servers:\n    h:1: {method: ping, priority: low}\n  apis: [\"/q\"]\nb:\n  <<: *x\n  apis:\n    - /r # c\n",
            "? |\n  k\n: >+\n  folded\n   more\n\n  text\n- 'it''s'\n- \"\\u0041\\\n  b\"\n- [a, {b: c, d}, ? e : f]\n",
            "%YAML 1.2\n---\n!!map {a: !!str 1, b: !!int \"2\", c: ~}\n...\n",
        ]
        attack(seeds) { text in
            for name in ["c.yaml", "c.json"] {
                do throws(ConfigurationFile.Refusal) {
                    _ = try ConfigurationFile(path: name, bytes: text).configuration()
                } catch {
                    #expect(error.text.hasPrefix("\(name):"), "\(String(decoding: text, as: UTF8.self))")
                }
            }
        }
    }

    @Test func jsonSurvivesAndWhatItReadsIsWrittenBackTheSame() {
        attack([
            #"{"a": [1, -2.5e3, true, null, "x\n\u00e9\ud83d\ude00"], "b": {"c": ""}}"#, "[[[[]]]]", "\"text\"",
            "-0.1e+5",
        ]) { text in
            guard let document = try? JSONReader.parse(text) else { return }
            var once = JSONWriter()
            once.value(document.root)
            var twice = JSONWriter()
            if let again = try? JSONReader.parse(once.bytes) { twice.value(again.root) }
            #expect(once.bytes == twice.bytes, "\(String(decoding: text, as: UTF8.self))")
        }
    }

    @Test func headsAndChunksSurviveAndPartialStaysPartial() {
        let seeds = [
            "POST /a/b?c HTTP/1.1\r\nHost: h:1\r\nContent-Length: 5\r\nX: y\r\nConnection: a, close\r\n\r\nhello",
            "GET http://h/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.0 404 \r\n\r\n",
        ]
        attack(seeds) { text in
            var request = RequestHead()
            if let isWhole = try? request.parse(text.span), isWhole {
                #expect(request.byteCount <= text.count)
                // What was whole is not whole one byte earlier.
                var shorter = RequestHead()
                let early = try? shorter.parse(Array(text[..<(request.byteCount - 1)]).span)
                #expect(early != true)
            }
            var response = ResponseHead()
            _ = try? response.parse(text.span)
            var decoder = ChunkedDecoder(status: 400)
            var position = 0
            var steps = 0
            while steps <= text.count, let piece = try? decoder.next(text.span, &position), piece != .needsMore,
                piece != .end
            { steps += 1 }
            #expect(steps <= text.count && position <= text.count)
        }
    }

    @Test func snapshotLinesAndControlMessagesSurvive() {
        let seeds = [
            "{\"type\":\"snapshot\",\"phase\":\"begin\",\"protocol\":1,\"epoch\":1,\"number\":2,\"services\":1,\"instances\":1}",
            "{\"type\":\"service\",\"id\":0,\"name\":\"s\",\"paths\":[\"/a\"],\"idle_timeout_ms\":5}",
            "{\"type\":\"instances\",\"service\":0,\"instances\":[{\"id\":0,\"url\":\"h\",\"status\":\"up\",\"addresses\":[\"1.2.3.4:5\"],\"weight\":99999999999999999999}]}",
            "{\"type\":\"delta\",\"epoch\":1,\"base\":2,\"number\":3,\"instances\":[{\"id\":0,\"status\":\"down\",\"addresses\":[]}]}",
            "{\"type\":\"paths\",\"service\":0,\"paths\":[]}", "{\"type\":\"drain\",\"timeout_ms\":-1}",
        ]
        var assembler = SnapshotAssembler()
        attack(seeds) { text in
            if (try? assembler.receive(text)) == nil { assembler = SnapshotAssembler() }
            _ = try? ControlMessage.decode(text)
        }
    }
}
