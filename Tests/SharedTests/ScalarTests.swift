import Testing

@testable import Shared

/// What a scalar is depends on the field that it is read for: texts stay as they were written, numbers may stand in quotes, and
/// what comes from the environment is both, as it is wanted.
@Suite struct ScalarTests {
    /// Texts that look like something else.
    private static let spellings = [
        "007", "1.10", "1e3", "0x10", "0o17", "+5", "1_0", "true", "no", "TRUE", ".inf", "-0",
        "12345678901234567890123.0",
        "0012345678901234",
    ]

    enum Writing: String, CaseIterable, Sendable {
        case yamlPlain, yamlDouble, yamlSingle, yamlEnvironment, yamlQuotedEnvironment, jsonText, jsonEnvironment
        case jsonMixedEnvironment

        /// File name and the scalar as it is written.
        func written(_ text: String) -> (name: String, text: String) {
            switch self {
            case .yamlPlain: ("c.yaml", text)
            case .yamlDouble: ("c.yaml", "\"\(text)\"")
            case .yamlSingle: ("c.yaml", "'\(text)'")
            case .yamlEnvironment: ("c.yaml", "${V}")
            case .yamlQuotedEnvironment: ("c.yaml", "\"${V}\"")
            case .jsonText: ("c.json", "\"\(text)\"")
            case .jsonEnvironment: ("c.json", "\"${V}\"")
            case .jsonMixedEnvironment: ("c.json", "\"${V}${EMPTY:-}\"")
            }
        }
    }

    /// A field that is text: where it stands (JSON, which YAML reads too, with `@` in its place), and what is read of it.
    private static let textFields: [(name: String, at: String, read: @Sendable (Configuration) -> String?)] = [
        (
            "service name", #"{@: {"servers": ["h"], "polling": {"method": "ping"}, "apis": ["/a"]}}"#,
            { $0.services.first?.name }
        ),
        (
            "poll field's name",
            #"{"s": {"servers": ["h"], "polling": {"method": "health", "endpoint": "/x", "headers": {@: "v"}}, "apis": ["/a"]}}"#,
            { polling($0)?.headers.first?.name }
        ),
        (
            "poll field's value",
            #"{"s": {"servers": ["h"], "polling": {"method": "health", "endpoint": "/x", "headers": {"X-A": @}}, "apis": ["/a"]}}"#,
            { polling($0)?.headers.first?.value }
        ),
        ("discovery_server_name", general("discovery_server_name"), { $0.general.discoveryName }),
        ("request_processor_name", general("request_processor_name"), { $0.general.requestProcessorName }),
        ("via", general("via"), { $0.general.forwarding.via }),
        ("address in a list", #"{"s": {"servers": [@], "polling": {"method": "ping"}, "apis": ["/a"]}}"#, url),
        ("address as a key", #"{"s": {"servers": {@: {"method": "ping"}}, "apis": ["/a"]}}"#, url),
    ]

    private static func general(_ field: String) -> String {
        #"{"s": {"servers": ["h"], "polling": {"method": "ping"}, "apis": ["/a"]}, "meta-info": {"\#(field)": @}}"#
    }

    private static func polling(_ configuration: Configuration) -> Polling? {
        configuration.services.first?.instances.first?.polling
    }

    @Sendable private static func url(_ configuration: Configuration) -> String? {
        configuration.services.first?.instances.first?.url
    }

    private static func read(_ template: String, _ writing: Writing, _ text: String) throws(ConfigurationFile.Refusal)
        -> Configuration
    {
        let (name, written) = writing.written(text)
        let file = name.hasSuffix("json") ? template : Self.block(template)
        return try ConfigurationFile(path: name, bytes: Array(file.replacing("@", with: written).utf8))
            .configuration { $0 == "V" ? text : nil }.0
    }

    /// A template in YAML's block style, where a plain `${V}` may stand.
    private static func block(_ template: String) -> String {
        func lines(_ value: Document.Value, _ indent: String) -> String {
            switch value.kind {
            case .mapping:
                value.members.map { "\n\(indent)\($0.key.text):\(lines($0.value, indent + "  "))" }.joined()
            case .sequence: value.elements.map { "\n\(indent)- \($0.text)" }.joined()
            default: " \(value.text)"
            }
        }
        let text = template.replacing("@", with: "\"@\"")
        guard let document = try? JSONReader.parse(Array(text.utf8)) else { return "" }
        return String(lines(document.root, "").drop { $0 == "\n" }) + "\n"
    }

    @Test(arguments: Writing.allCases)
    func aTextFieldGetsTheBytesAsTheyWereWritten(_ writing: Writing) {
        for (name, template, value) in Self.textFields {
            for text in Self.spellings {
                do throws(ConfigurationFile.Refusal) {
                    let found = value(try Self.read(template, writing, text))
                    #expect(found == text, "\(name), \(writing.rawValue)")
                } catch {
                    // Numbers are no hosts; then the refusal shows what was written.
                    let isShown = error.text.contains("`\(text)`") || error.text.contains("\(text)")
                    #expect(name.hasPrefix("address") && isShown, "\(name), \(writing.rawValue): \(error.text)")
                }
            }
        }
    }

    @Test(arguments: Writing.allCases)
    func aTokenOfDigitsIsAToken(_ writing: Writing) throws {
        let token = "0123456789012345"
        let configuration = try Self.read(Self.general("discovery_token"), writing, token)
        #expect(configuration.general.discoveryToken == token)
    }

    @Test func nullIsNoTextUnlessItIsQuotedOrComesFromTheEnvironment() throws {
        for text in ["~", "null"] {
            for (name, template, value) in Self.textFields where !name.contains("name") && !name.hasPrefix("address as")
            {
                do throws(ConfigurationFile.Refusal) {
                    _ = try Self.read(template, .yamlPlain, text)
                    Issue.record("\(name) took \(text)")
                } catch {
                    #expect(error.text.contains("in quotes it is text"), "\(name): \(error.text)")
                }
                if name.hasPrefix("address") { continue }
                for writing in [Writing.yamlDouble, .yamlEnvironment, .jsonText, .jsonEnvironment] {
                    #expect(value(try Self.read(template, writing, text)) == text, "\(name)")
                }
            }
        }
    }

    @Test func keysThatAreSpelledDifferentlyAreDifferentKeys() throws {
        let text =
            "1.1: {servers: [h], polling: {method: ping}, apis: [/a]}\n1.10: {servers: [h], polling: {method: ping}, apis: [/b]}\n"
        let configuration = try ConfigurationFile(path: "c.yaml", bytes: Array(text.utf8)).configuration { _ in nil }.0
        #expect(configuration.services.map(\.name) == ["1.1", "1.10"])
    }

    /// Numbers, times, sizes and flags: what each spelling is, nil for a refusal.
    @Test(arguments: Writing.allCases)
    func whereANumberIsWantedQuotesDoNotMatter(_ writing: Writing) {
        let ports: [(String, UInt16?)] = [
            ("8001", 8001), ("007", 7), ("1e3", 1000), ("0x10", 16), ("+5", 5), ("1_0", nil), ("1.10", nil),
            ("true", nil),
            ("no", nil), ("-1", nil), ("x", nil), ("8001 ", nil),
        ]
        for (text, port) in ports where !(text.hasSuffix(" ") && writing == .yamlPlain) {
            let read = try? Self.read(Self.general("request_processor_port"), writing, text)
            #expect(read?.general.requestProcessorPort == port, "\(text), \(writing.rawValue)")
        }
        let flags: [(String, Bool?)] = [("true", true), ("False", false), ("no", nil), ("1", nil)]
        for (text, flag) in flags {
            let read = try? Self.read(Self.general("ready_path"), writing, text)
            #expect(read?.general.forwarding.answersReady == flag, "\(text), \(writing.rawValue)")
        }
        let times: [(String, UInt64?)] = [
            ("5", 5000), ("0.25", 250), ("250ms", 250), ("2m", 120_000), ("1e1", 10_000), ("0x10", 16_000),
            ("5 s", nil),
            ("true", nil), ("-1", nil),
        ]
        for (text, time) in times {
            let read = try? Self.read(Self.general("drain_timeout"), writing, text)
            #expect(read?.general.forwarding.drainTimeoutMilliseconds == time, "\(text), \(writing.rawValue)")
        }
        let template = Self.general("limits").replacing("@", with: #"{"body_size": @}"#)
        let sizes: [(String, UInt64?)] = [
            ("1000", 1000), ("1e3", 1000), ("0x10", 16), ("10KiB", 10_240), ("1.5", nil), ("1.5KiB", nil),
            ("true", nil),
        ]
        for (text, size) in sizes {
            let read = try? Self.read(template, writing, text)
            #expect(read?.general.forwarding.bodyBytes == size, "\(text), \(writing.rawValue)")
        }
    }

    @Test func messagesShowWhatAReaderDoesNotSee() {
        func refusal(_ text: String) -> String {
            do throws(ConfigurationFile.Refusal) {
                _ = try ConfigurationFile(path: "c.yaml", bytes: Array(text.utf8)).configuration { _ in nil }
                return ""
            } catch {
                return error.headlines.joined(separator: "\n")
            }
        }
        for scalar in [
            "\u{a0}", "\u{ad}", "\u{200b}", "\u{200d}", "\u{2003}", "\u{202f}", "\u{3000}", "\u{3164}", "\u{fe0f}",
            "\u{e0020}",
            "\u{180e}",
        ] {
            let code =
                "U+"
                + String(scalar.unicodeScalars.first!.value, radix: 16, uppercase: true)
                .leftPadded(to: 4)
            for text in [
                "s: {servers: [h], polling: {method: ping, \"frequency\(scalar)\": 1}, apis: [/a]}",
                "s: {servers: [h], polling: {method: ping, frequency: \"1\(scalar)s\"}, apis: [/a]}",
                "s: {servers: [h], polling: {method: \"ping\(scalar)\"}, apis: [/a]}",
                "s: {servers: [\"h\(scalar)\"], polling: {method: ping}, apis: [/a]}",
                "s: {servers: [h], polling: {method: ping}, apis: [\"/a\(scalar)\"]}",
                "\"s\(scalar)\": {servers: [h], polling: {method: ping}, apis: [/a]}",
                "s: {servers: [h], polling: {method: ping, retries: \"2\(scalar)\", retry_delay: 1}, apis: [/a]}",
            ] {
                #expect(refusal(text).contains("invisible character \(code)"), "\(code): \(refusal(text)) in \(text)")
            }
        }
        // A letter of another script, and a typographic quote.
        #expect(refusal("s: {servers: [h], polling: {m\u{435}thod: ping}, apis: [/a]}").contains("U+0435"))
        #expect(refusal("s: {servers: [h], polling: {method: \u{201c}ping\u{201d}}, apis: [/a]}").contains("U+201C"))
        #expect(
            refusal("s: {servers: [h], polling: {method: ping, retries: true}, apis: [/a]}").contains(
                "`true`, which is a boolean"))
        #expect(
            refusal("s: {servers: [h], polling: {method: ping, retries: ''}, apis: [/a]}").contains("is empty text"))
    }
}

extension String {
    fileprivate func leftPadded(to count: Int) -> String {
        String(repeating: "0", count: max(0, count - self.count)) + self
    }
}
