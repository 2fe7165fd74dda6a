import Testing

@testable import Shared

/// All that is wrong with a configuration is said at once: no error hides another.
@Suite struct EveryErrorTests {
    private func headlines(_ text: String, _ name: String = "c.yaml") -> [String] {
        do throws(ConfigurationFile.Refusal) {
            _ = try ConfigurationFile(path: name, bytes: Array(text.utf8)).configuration { _ in nil }
            return []
        } catch {
            return error.headlines
        }
    }

    /// A configuration and the words of each of its errors.
    @Test(
        arguments: [
            (
                "s: {polling: {method: health, frequency: 0}, apis: [/a]}",
                ["has no `servers`", "needs an `endpoint`", "`frequency` is `0`"]
            ),
            (
                "s: {servers: h, polling: {method: pong, rise: x}, apis: [a]}",
                ["`servers` is `h`", "allowed are `health`", "`rise` is `x`", "does not begin with /"]
            ),
            (
                "s: {servers: {h: {method: ping}}, polling: {method: pong}, apis: [/a]}",
                ["each server has its own polling there", "allowed are `health`"]
            ),
            (
                "\"a\\u00a0b\": {servers: [h], polling: {method: pong}, apis: [/a]}",
                ["the service name", "allowed are `health`"]
            ),
            (
                "s: {servers: [h], polling: {method: ping, retries: 500}, apis: [/a]}",
                ["`retries` is `500`", "`retry_delay` (seconds) is required"]
            ),
            (
                "s: {servers: [h], polling: {method: health, endpoint: /x, headers: {\"a b\": \"x\\ny\"}}, apis: [/a]}",
                ["no name of an HTTP field", "control character"]
            ),
            (
                "s: {servers: [h], servers: [i], polling: {method: pong}, apis: [b]}",
                ["appears twice", "allowed are `health`", "does not begin with /"]
            ),
            (
                "s: {servers: ['h:x'], servers: {'i:y': {method: ping, rise: 0}}, polling: {method: pong}, polling: {method: gone}, apis: [b], apis: [c]}",
                [
                    "the key `servers` appears twice", "the key `polling` appears twice",
                    "the key `apis` appears twice",
                    "`h:x`", "`i:y`", "`rise` is `0`", "each server has its own polling there", "`pong`", "`gone`",
                    "the path `b`", "the path `c`",
                ]
            ),
            (
                "s: {servers: [h], polling: {method: ping}, apis: [/a]}\ns: {servers: [h], polling: {method: pong}, apis: [/a, b]}",
                ["appears twice", "allowed are `health`", "the path `b`"]
            ),
            (
                "meta-info: {discovery_server_port: 99999}\nmeta-info: {request_processor_port: x}\ns: {servers: [h], polling: {method: ping}, apis: [/a]}",
                ["appears twice", "`discovery_server_port` is `99999`", "`request_processor_port` is `x`"]
            ),
            (
                "? \(String(repeating: "k", count: 1025))\n: {servers: [h], polling: {method: pong}, apis: [b]}",
                ["the key has 1025 bytes", "allowed are `health`", "the path `b`"]
            ),
            (
                "s: {servers: [h], polling: {method: ping, frequency: 0, frequency: 1, rise: x}, apis: [/a, /a]}",
                ["appears twice", "`frequency` is `0`", "`rise` is `x`", "is claimed already"]
            ),
            (
                "s: {servers: ['${NOPE}${NEITHER}'], polling: {method: pong}, apis: [/a]}",
                ["`NOPE` is not set", "`NEITHER` is not set", "allowed are `health`"]
            ),
            ("'${NOPE}': {polling: {method: ping}}", ["`NOPE` is not set", "no `servers`", "no `apis`"]),
        ] as [(String, [String])])
    func noErrorHidesAnother(_ text: String, _ words: [String]) {
        let found = headlines(text)
        for word in words { #expect(found.contains { $0.contains(word) }, "\(word) in \(found)") }
        #expect(found.count == words.count, "\(found)")
    }

    @Test func aDuplicateNameInJSONHidesNothing() {
        let text =
            #"{"s": {"servers": ["h"], "servers": ["i"], "polling": {"method": "pong"}, "apis": ["b"]}, "s": {}}"#
        let found = headlines(text, "c.json")
        #expect(found.count == 6 && found.count { $0.contains("appears twice") } == 2, "\(found)")
        #expect(found.count { $0.contains("has no `") } == 2, "what the second lacks is said, too: \(found)")
    }

    /// A default that stands in for a bad value is no error of its own.
    @Test(arguments: [
        "s: {servers: [h], polling: {method: ping, timeout: x, frequency: 1}, apis: [/a]}",
        "s: {servers: [h], polling: {method: ping, timeout: 120, frequency: 1x}, apis: [/a]}",
        "s: {servers: [h], polling: {method: ping}, apis: [/a]}\nmeta-info: {request_processor_port: 99999, discovery_server_port: 8001}",
        "s: {servers: [h], polling: {method: ping}, apis: [/a]}\nmeta-info: {proxy_protocol: true, trusted_proxies: [x]}",
    ])
    func oneMistakeIsOneError(_ text: String) { #expect(headlines(text).count == 1, "\(headlines(text))") }

    /// A fault that ends the reading says what to do about it.
    @Test(arguments: [
        ("c.json", "{\"meta-info\": {\"discovery_server_name\": 007}}", "text must be in \"\""),
        ("c.json", "{\"meta-info\": {\"discovery_server_name\": 0x10}}", "text must be in \"\""),
        ("c.json", "{\"meta-info\": {\"discovery_server_name\": 1_0}}", "text must be in \"\""),
        ("c.json", "{\"meta-info\": {\"discovery_server_name\": 1.}}", "text must be in \"\""),
        ("c.json", "{\"meta-info\": {\"discovery_server_name\": 1e400}}", "text must be in \"\""),
        ("c.json", "{\"meta-info\": {\"discovery_server_name\": +5}}", "text in \"\""),
        ("c.json", "{\"meta-info\": {\"discovery_server_name\": no}}", "Text must be in \"\""),
        ("c.yaml", "s:\n  polling: {method: ping, frequency: ${F}}\n", "text with `${` must be in quotes here"),
        ("c.yaml", "s:\n  apis: [${F}]\n", "text with `${` must be in quotes here"),
        (
            "c.yaml", "s:\n  servers:\u{a0}[h]\n  apis: [/a]\n",
            "line 2 holds the invisible character U+00A0, which is no space"
        ),
        (
            "c.yaml", "s:\n\u{2003} servers: [h]\n  apis: [/a]\n",
            "line 2 holds the invisible character U+2003, which is no space"
        ),
    ])
    func whatEndsTheReadingSaysWhatToDo(_ name: String, _ text: String, _ words: String) {
        let found = headlines(text, name)
        #expect(found.contains { $0.contains(words) }, "\(found)")
    }

    /// A terminal or a log that shows a message obeys nothing in it.
    @Test(arguments: [
        "h\u{1b}[31m", "h:\u{1b}[31mX", "h:80\nx: y", "[::1]\u{1b}x", "[\u{1b}", "::1\u{7}", "x\u{1b}://h", "h\u{9b}m",
    ])
    func noMessageHoldsAControlCharacter(_ text: String) {
        let escaped = text.unicodeScalars.map {
            $0.value < 0x20 || $0.value > 0x7e ? "\\u\(String(format16($0.value)))" : String($0)
        }.joined()
        let found = headlines(
            "{\"\(escaped)\": {\"servers\": [\"\(escaped)\"], \"polling\": {\"method\": \"\(escaped)\", \"\(escaped)\": 1}, \"apis\": [\"\(escaped)\"], \"balance\": {\"hash\": \"\(escaped)\"}}}",
            "c.json")
        #expect(!found.isEmpty)
        for line in found {
            #expect(!line.unicodeScalars.contains { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) }, "\(line)")
        }
    }

    private func format16(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 4 - digits.count) + digits
    }

    @Test func aWarningTakesNothingAway() throws {
        let text = "s: {servers: [h], polling: {method: ping, retry_delay: 1}, apis: [/a]}"
        let (configuration, warnings) = try ConfigurationFile(path: "c.yaml", bytes: Array(text.utf8)).configuration {
            _ in nil
        }
        #expect(configuration.instanceCount == 1 && warnings.count == 1)
        #expect(
            headlines("meta-info: {forwarders: 4, limits: {connections: 2}}").contains {
                $0.contains("there is no service")
            })
    }

    @Test func whatForwardersHaveNoRoomForIsRefusedWithFigures() {
        let addresses = (0..<1000).map { "h\($0)" }.joined(separator: ", ")
        var text =
            "a0: &s\n  servers: &l [\(addresses)]\n  polling: &p {method: ping, packet_limit: 1}\n  apis: [/a0]\n"
        for index in 1...500 { text += "a\(index): {servers: *l, polling: *p, apis: [/a\(index)]}\n" }
        #expect(headlines(text).contains { $0.contains("there are 501000 instances; at most 500000 are allowed") })
    }
}
