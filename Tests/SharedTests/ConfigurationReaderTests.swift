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

    private let service = "s:\n  servers: ['h:1']\n  polling: {method: ping}\n  apis: [/a]\n"

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

    @Test(arguments: [
        ("[]", "a map from service names"),
        ("s: 1", "a map with `servers` and `apis`"),
        ("s: {apis: [/a]}", "no `servers`"),
        ("s: {servers: [h], apis: [/a]}", "then `polling` is required"),
        ("s: {servers: [h], polling: {method: ping}}", "no `apis`"),
        ("s: {servers: [h], polling: {method: ping}, apis: []}", "`apis` is empty"),
        ("s: {servers: [], polling: {method: ping}, apis: [/a]}", "`servers` is empty"),
        ("s: {servers: [h], polling: {}, apis: [/a]}", "no `method`"),
        ("s: {servers: [h], polling: {method: pong}, apis: [/a]}", "did you mean `ping`?"),
        ("s: {servers: [h], polling: {method: health}, apis: [/a]}", "needs an `endpoint`"),
        ("s: {servers: [h], polling: {method: ping, endpoint: /x}, apis: [/a]}", "belongs to `method: health`"),
        ("s: {servers: [h], polling: {method: ping, retries: 2}, apis: [/a]}", "`retry_delay` (seconds) is required"),
        ("s: {servers: [h], polling: {method: ping, priority: high}, apis: [/a]}", "each server has its own polling"),
        ("s: {servers: {h: {method: ping, priority: urgent}}, apis: [/a]}", "allowed are `high`, `med`, `low`"),
        (
            "s: {servers: {h: {method: ping}}, polling: {method: ping}, apis: [/a]}",
            "each server has its own polling there"
        ),
        ("s: {servers: [h, 'h:80'], polling: {method: ping}, apis: [/a]}", "in this service already, on line 1"),
        ("s: {servers: ['https://h'], polling: {method: ping}, apis: [/a]}", "TLS is not there yet"),
        ("s: {servers: ['ftp://h'], polling: {method: ping}, apis: [/a]}", "the scheme `ftp` is not known"),
        ("s: {servers: ['h:99999'], polling: {method: ping}, apis: [/a]}", "not a number from 1 to 65535"),
        ("s: {servers: ['h:+80'], polling: {method: ping}, apis: [/a]}", "not a number from 1 to 65535"),
        ("s: {servers: ['1.2.3'], polling: {method: ping}, apis: [/a]}", "not an IPv4 address"),
        ("s: {servers: ['::1'], polling: {method: ping}, apis: [/a]}", "must be in brackets"),
        ("s: {servers: ['a b'], polling: {method: ping}, apis: [/a]}", "a character other than letters"),
        ("s: {servers: [h], polling: {method: ping}, apis: [a]}", "does not begin with /"),
        ("s: {servers: [h], polling: {method: ping}, apis: ['/a?b']}", "holds a query"),
        ("s: {servers: [h], polling: {method: ping}, apis: ['/a/../b']}", "holds a . or .. segment"),
        ("s: {servers: [h], polling: {method: ping}, apis: ['/a%2g']}", "a % without two hex digits"),
        ("s: {servers: [h], polling: {method: ping, frequency: 1, timeout: 2}, apis: [/a]}", "longer than `frequency`"),
        ("s: {servers: [h], polling: {method: ping, frequency: -1}, apis: [/a]}", "`frequency` is `-1`"),
        ("s: {servers: [h], polling: {method: ping, frequency: soon}, apis: [/a]}", "seconds as a number"),
        ("s: {server: [h], polling: {method: ping}, apis: [/a]}", "did you mean `servers`?"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], timeouts: {conect: 1}}", "did you mean `connect`?"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], host: other}", "allowed are `keep`, `instance`"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], strip_prefix: 1}", "true or false is needed"),
        ("s: {servers: [h], polling: {method: ping, headers: {X: y}}, apis: [/a]}", "belong to `method: health`"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], balance: randm}", "did you mean `random`?"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], balance: {hash: ip}}", "`client`, `header:NAME`"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], balance: {hsh: client}}", "did you mean `hash`?"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], retry: on}", "allowed are `off`"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], retry: {tries: 9}}", "a whole number from 1 to 8"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], max_connections: 0}", "a whole number from 1"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], queue: 5}", "no meaning without `max_connections`"),
        ("meta-info: {}", "there is no service"),
    ])
    func saysWhatIsWrong(_ text: String, _ words: String) {
        let refusal = refusal(text)
        #expect(refusal.contains(words), "\(refusal)")
        #expect(refusal.hasPrefix("c.yaml:1:"), "\(refusal)")
    }

    @Test(arguments: [
        ("meta-info: {discovery_server_port: 70000}", "a whole number from 0 to 65535"),
        ("meta-info: {forwarders: 0}", "or `auto`"),
        ("meta-info: {request_processor_port: 8008}", "they must differ"),
        ("meta-info: {request_procesor_port: 1}", "did you mean `request_processor_port`?"),
        ("meta-info: {limits: {head_size: 64KiB}}", "a size from 1KiB to 28KiB"),
        ("meta-info: {limits: {body_size: 1.5MiB}}", "bytes as a number"),
        ("meta-info: {limits: {conections: 5}}", "did you mean `connections`?"),
        ("meta-info: {timeouts: {head: never}}", "seconds as a number"),
        ("meta-info: {trusted_proxies: [10.0.0.1/8]}", "without bits set behind the prefix"),
        ("meta-info: {trusted_proxies: [proxy.internal]}", "an address or a block"),
        ("meta-info: {proxy_protocol: true}", "`trusted_proxies` must name those who send it"),
        ("meta-info: {access_log: access.log}", "an absolute path"),
        ("meta-info: {log_format: xml}", "allowed are `text`, `json`"),
        ("meta-info: {discovery_token: short}", "no bearer token"),
        ("meta-info: {on_change: 'ftp://h/x'}", "an http:// URL is needed"),
        ("meta-info: {on_change: 'https://h/x'}", "TLS is not there yet"),
        ("meta-info: {drain_delay: -1}", "a time from 0 s"),
        ("meta-info: {discovery_server_host: example}", "an IPv4 or IPv6 address is needed"),
        ("t: {servers: [h], polling: {method: ping}, apis: [/a/]}", "claimed already by `s` on line 4"),
    ])
    func checksWhatStandsBesideAService(_ text: String, _ words: String) {
        let refusal = refusal(service + text)
        #expect(refusal.contains(words), "\(refusal)")
    }

    /// Every key that there is, none at its default.
    private let everything = """
        s:
          servers:
            "h:1": {method: health, endpoint: /x, frequency: 7, timeout: 3, retries: 2, retry_delay: 0.5, rise: 3, \
        down_frequency: 250ms, expect: [200, 301-302], packet_limit: 9, headers: {X-A: "1"}, priority: low, weight: 5}
          apis: [/a, /b/c]
          balance: {hash: "header:X-User"}
          retry: {tries: 2, budget: 50}
          timeouts: {connect: 1, first_byte: 2, idle: 3, tunnel: 4, queue: 5}
          max_connections: 10
          queue: 20
          host: instance
          strip_prefix: true
          availability_window: 2h
        meta-info:
          discovery_server_name: "D ${X:-x}"
          request_processor_name: R
          discovery_server_host: 127.0.0.2
          discovery_server_port: 1
          request_processor_host: "::1"
          request_processor_port: 2
          forwarders: 3
          limits: {head_size: 8KiB, header_count: 64, body_size: 10MiB, connections: 1000}
          timeouts: {head: 5, idle: 6}
          trusted_proxies: [10.0.0.0/8, "fd00::/8", 192.0.2.1]
          proxy_protocol: true
          ready_path: false
          drain_delay: 1
          drain_timeout: 2
          access_log: /var/log/serverpy.log
          log_format: json
          discovery_token: 0123456789abcdef
          on_change: http://hook.internal:9/x?y

        """

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
        for text in ["{discovery_token: 'se cret'}", "{discovery_token: sesame-sesame-sesame, forwarders: x}"] {
            let refusal = refusal(service + "meta-info: " + text)
            #expect(refusal.contains("error:"))
            #expect(!refusal.contains("sesame") && !refusal.contains("se cret"), "\(refusal)")
        }
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
