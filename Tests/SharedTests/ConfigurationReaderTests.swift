import Testing

@testable import Shared

@Suite struct ConfigurationReaderTests {
    private func read(_ text: String, name: String = "c.yaml") throws(ConfigurationFile.Refusal) -> Configuration {
        try ConfigurationFile(path: name, bytes: Array(text.utf8)).configuration().0
    }

    private func refusal(_ text: String, name: String = "c.yaml") -> String {
        do {
            _ = try read(text, name: name)
            return ""
        } catch {
            return error.text
        }
    }

    private let service = ConfigurationFixtures.service

    @Test func fillsInTheContractsDefaults() throws {
        let configuration = try read(
            "s:\n  servers: [host]\n  polling: {method: health, endpoint: /health}\n  apis: [/a]\n")
        let instance = configuration.services[0].instances[0]
        #expect(instance.endpoint.port == 80)
        #expect(instance.polling.frequencyMilliseconds == 60_000)
        #expect(instance.polling.packetLimit == 5000)
        #expect(instance.polling.timeoutMilliseconds == 5000)
        #expect(instance.polling.retries == 0)
        #expect(instance.polling.priority == .medium)
        #expect(configuration.general.discoveryPort == 8008)
        #expect(configuration.general.requestProcessorPort == 8001)
    }

    @Test func theTimeOutFollowsAShorterFrequency() throws {
        let configuration = try read("s:\n  servers: [h]\n  polling: {method: ping, frequency: 1.5}\n  apis: [/a]\n")
        #expect(configuration.services[0].instances[0].polling.timeoutMilliseconds == 1500)
        #expect(configuration.services[0].instances[0].polling.downFrequencyMilliseconds == 1500)
    }

    @Test func jsonAndYamlMeanTheSame() throws {
        let json = #"{"s": {"servers": {"h:1": {"method": "ping", "priority": "low"}}, "apis": ["/a", "/b/"]}}"#
        let yaml = "s:\n  servers:\n    h:1: {method: ping, priority: low}\n  apis: [/a, /b/]\n"
        #expect(try read(json, name: "c.json") == (try read(yaml)))
        #expect(try read(yaml).services[0].paths == ["/a", "/b"])
    }

    @Test(arguments: ConfigurationFixtures.refused + ConfigurationFixtures.refusedAsText)
    func saysWhatIsWrong(_ text: String, _ words: String) {
        let refusal = refusal(text)
        #expect(refusal.contains(words), "\(refusal)")
        #expect(refusal.hasPrefix("c.yaml:1:"), "\(refusal)")
    }

    @Test(arguments: ConfigurationFixtures.refusedBesideAService)
    func checksWhatStandsBesideAService(_ text: String, _ words: String) {
        let refusal = refusal(service + text)
        #expect(refusal.contains(words), "\(refusal)")
    }

    private let everything = ConfigurationFixtures.everything

    @Test func everyKeyIsReadAndPrintedSoThatItReadsTheSame() throws {
        let configuration = try read(everything)
        let service = configuration.services[0]
        #expect(service.policy.balance == .hash(.header("x-user")))
        #expect(service.policy.tries == 2 && service.policy.retryBudgetPercent == 50)
        #expect(service.policy.maxConnections == 10 && service.policy.queue == 20)
        #expect(service.policy.tunnelTimeoutMilliseconds == 4000 && service.policy.queueTimeoutMilliseconds == 5000)
        let general = configuration.general
        #expect(general.forwarding.headBytes == 8192 && general.forwarding.headFields == 64)
        #expect(general.forwarding.bodyBytes == 10 << 20 && general.forwarding.connections == 1000)
        #expect(general.forwarding.trustedProxies.map(\.description) == ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"])
        #expect(general.forwarding.accessLog == .file("/var/log/serverpy.log"))
        #expect(general.onChange?.endpoint.port == 9 && general.onChange?.target == "/x?y")
        #expect(try read(ConfigurationPrinter.yaml(configuration)) == configuration)
    }

    @Test func aChangeOfAnyKeyIsSaid() throws {
        let before = try read(everything)
        for line in everything.split(separator: "\n") where line.hasPrefix("  ") && !line.hasPrefix("    ") {
            let key = line.drop { $0 == " " }.prefix { $0 != ":" }
            guard !["servers", "apis", "max_connections", "trusted_proxies"].contains(key) else { continue }
            let less = everything.split(separator: "\n").filter { $0 != line }.joined(separator: "\n") + "\n"
            let difference = ConfigurationDifference(from: before, to: try read(less))
            #expect(difference.lines.count >= 1, "without \(key)")
            #expect(!difference.lines.contains { $0.contains("0123456789abcdef") }, "a secret is not shown")
        }
    }

    @Test func aSecretIsNotShownBesideAnError() {
        for text in [
            "{discovery_token: 'se cret'}", "{discovery_token: sesame-sesame-sesame, forwarders: x}",
            "{discovery_tokn: sesame-sesame-sesame, forwarders: x}",
        ] {
            let refusal = refusal(service + "meta-info: " + text)
            #expect(refusal.contains("error:"))
            #expect(!refusal.contains("sesame") && !refusal.contains("se cret"), "\(refusal)")
        }
    }

    @Test func aThousandWarningsHideNoErrorAndFurtherErrorsAreCounted() {
        let warned = (0..<1001).map {
            "s\($0): {servers: {10.0.0.1: {method: ping, frequency: 600}}, apis: [/s\($0)]}\n"
        }.joined()
        #expect(refusal(warned + "bad: {servers: {10.0.0.1: {method: nonsense}}, apis: [/bad]}\n").contains("nonsense"))
        let paths = (0..<1007).map { _ in "/a" }.joined(separator: ", ")
        #expect(
            refusal("s: {servers: [h], polling: {method: ping}, apis: [\(paths)]}").hasSuffix(
                "c.yaml: and 6 more errors\n"))
    }

    @Test func whatIsNoFileIsRefusedAndNotWaitedFor() {
        #expect(throws: ConfigurationFile.Refusal.self) { try ConfigurationFile.read("/dev/null") }
    }

    @Test func keysWithEscapesCostNoMoreThanOthers() throws {
        let servers = (0..<20_000).map { "\"http:\\/\\/10.0.\($0 >> 8).\($0 & 255):80\": {\"method\": \"ping\"}" }
        let text = "{\"s\": {\"servers\": {\(servers.joined(separator: ","))}, \"apis\": [\"/a\"]}}"
        #expect(try read(text, name: "c.json").services[0].instances.count == 20_000)
    }

    @Test func limitsBelowTheNumberOfForwardersAreWarnedOf() throws {
        let text = service + "  max_connections: 2\nmeta-info: {forwarders: 4, limits: {connections: 3}}\n"
        let warnings = try ConfigurationFile(path: "c.yaml", bytes: Array(text.utf8)).configuration().warnings
        #expect(warnings.count { $0.message.contains("fewer than the 4 forwarders") } == 2, "\(warnings)")
    }

    @Test func sizesAreReadAsPeopleWriteThem() {
        #expect(ByteSize.parse("16KiB") == 16384)
        #expect(ByteSize.parse("1MB") == 1_000_000)
        #expect(ByteSize.parse("77") == 77)
        #expect(ByteSize.parse("77B") == 77)
        for bad in ["", "KiB", "-1", "1.5MiB", "1 KiB", "9223372036854775808", "8589934592GiB", "x"] {
            #expect(ByteSize.parse(bad) == nil, "\(bad)")
        }
        for size: UInt64 in [0, 1, 1000, 1024, 3 << 20, 5 << 30] {
            #expect(ByteSize.parse(ByteSize.text(size)) == size)
        }
    }

    @Test func namesAllErrorsAtOnceInOrderOfTheirPlaces() {
        let refusal = refusal("s:\n  servers: ['h:0']\n  polling: {method: pong}\n  apis: [a]\n  port: 1\n")
        let lines = refusal.split(separator: "\n").filter { $0.contains(": error: ") }
        #expect(lines.map { $0.split(separator: ":")[1] } == ["2", "3", "4", "5"], "\(refusal)")
    }

    @Test func showsTheLineAndPointsAtThePlace() {
        #expect(
            refusal("s: {servers: [h], polling: {method: pong}, apis: [/a]}").contains(
                "\n" + String(repeating: " ", count: 38) + "^"))
    }

    @Test func theCaretStandsBelowItsPlaceBehindWideCharactersToo() {
        let refusal = refusal("s: {servers: ['\u{6f22}\u{5b57}e\u{301}', 'h:0'], polling: {method: ping}, apis: [/a]}")
        // Two cells for each of the first two characters, none for the accent.
        #expect(refusal.hasSuffix("\n" + String(repeating: " ", count: 25) + "^\n"), "\(refusal)")
    }

    @Test func nothingThatATerminalObeysComesOutOfAFile() {
        let text = "{\"s\": {\"servers\": [\"\\u009b2J\\u202e\u{202e}\u{9b}\\u001b\"], \"apis\": [\"/a\"]}}"
        let refusal = refusal(text, name: "c.json")
        #expect(refusal.contains("<U+009B>2J<U+202E>"), "\(refusal)")
        #expect(!refusal.unicodeScalars.contains { $0 != "\n" && Text.isInvisible($0) }, "\(refusal)")
    }

    @Test func aRetryDelayWithoutRetriesIsWarnedOf() throws {
        let text = "s: {servers: [h, i], polling: {method: ping, retry_delay: 1}, apis: [/a]}"
        let warnings = try ConfigurationFile(path: "c.yaml", bytes: Array(text.utf8)).configuration().warnings
        #expect(warnings.map(\.message) == ["`retry_delay` has no meaning without `retries`, which is 0"])
    }

    @Test func theOriginalsExampleLoadsAsItStands() throws {
        let path = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/deploy/example.json"
        let configuration = try ConfigurationFile.read(path).configuration().0
        #expect(configuration.services.map(\.name) == ["service1", "service2"])
        #expect(configuration.services[0].instances.map(\.url) == ["www.google.com", "www.google.co.in"])
        #expect(configuration.services[0].paths == ["/first", "/second/sample"])
        #expect(configuration.general.requestProcessorPort == 8081)
    }

    @Test func durationsAreReadAsPeopleWriteThem() {
        #expect(Duration.parse("250ms") == 250)
        #expect(Duration.parse("5s") == 5000)
        #expect(Duration.parse("1m") == 60_000)
        #expect(Duration.parse("0.5") == 500)
        #expect(Duration.parse("1e3") == 1_000_000)
        for bad in ["", "s", "-1", "5 s", "nan", "inf", "5x", "ms"] { #expect(Duration.parse(bad) == nil, "\(bad)") }
    }
}
