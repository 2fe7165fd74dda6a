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
        ("meta-info: {discovery_server_host: example}", "an IPv4 or IPv6 address is needed"),
        ("t: {servers: [h], polling: {method: ping}, apis: [/a/]}", "claimed already by `s` on line 4"),
    ])
    func checksWhatStandsBesideAService(_ text: String, _ words: String) {
        let refusal = refusal(service + text)
        #expect(refusal.contains(words), "\(refusal)")
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
