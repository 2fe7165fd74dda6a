import Testing

@testable import Shared

@Suite struct EnvironmentSubstitutionTests {
    private let environment = ["HOST": "db.internal", "PORT": "9000", "EMPTY": "", "TEXT": "no: yes"]

    private func read(_ text: String, name: String = "c.yaml") throws(ConfigurationFile.Refusal) -> Configuration {
        let environment = environment
        return try ConfigurationFile(path: name, bytes: Array(text.utf8)).configuration { environment[$0] }.0
    }

    private func service(_ address: String, _ port: String = "8001", name: String = "s") -> String {
        "\(name):\n  servers: [\(address)]\n  polling: {method: ping}\n  apis: [/a]\nmeta-info:\n  request_processor_port: \(port)\n"
    }

    @Test func namesAreReplacedWhereverTextStands() throws {
        let configuration = try read(service("'${HOST}:${PORT}'", "${PORT}", name: "${HOST}-x"))
        #expect(configuration.services[0].name == "db.internal-x")
        #expect(configuration.services[0].instances[0].url == "db.internal:9000")
        #expect(configuration.general.requestProcessorPort == 9000)
    }

    @Test func aDefaultServesWhereTheNameIsMissingOrEmpty() throws {
        #expect(try read(service("'${NOWHERE:-fallback}:80'")).services[0].instances[0].url == "fallback:80")
        #expect(try read(service("'${EMPTY:-fallback}:80'")).services[0].instances[0].url == "fallback:80")
        #expect(try read(service("h", "${NOWHERE:-1234}")).general.requestProcessorPort == 1234)
    }

    @Test func aReplacementIsTextAndNeverStructure() throws {
        #expect(try read(service("h", name: "'${TEXT}'")).services[0].name == "no: yes")
    }

    @Test func inJSONAStringThatIsOneReplacementMayBeANumber() throws {
        let text =
            #"{"s": {"servers": ["${HOST}"], "polling": {"method": "ping"}, "apis": ["/a"]}, "meta-info": {"request_processor_port": "${PORT}"}}"#
        #expect(try read(text, name: "c.json").general.requestProcessorPort == 9000)
    }

    @Test func aDoubledDollarStandsForItself() throws {
        #expect(try read(service("h", name: "'a$${HOST}'")).services[0].name == "a${HOST}")
    }

    @Test func whatCannotBeReplacedHidesNoOtherError() {
        do {
            _ = try read("s: {servers: {'${NOWHERE}:80': {method: pinng}}, apis: [a]}\n")
            Issue.record("accepted")
        } catch {
            #expect(error.text.contains("`NOWHERE` is not set"), "\(error.text)")
            #expect(error.text.contains("pinng") && error.text.contains("does not begin with /"), "\(error.text)")
        }
    }

    /// What a merge or an alias brings has its text elsewhere: it is compared by that.
    @Test(arguments: [
        (
            "x: &x {servers: [h], polling: {method: ping}, apis: [/x]}\ny: {<<: *x, apis: [/y]}\n'${HOST}': {<<: *x, apis: [/z]}\n",
            true
        ),
        (
            "k: &k {servers: [h], polling: {method: ping}, apis: [/x], host: &n keep}\n*n : {servers: [h], polling: {method: ping}, apis: [/y]}\n'${NO:-keep}': {servers: [h], polling: {method: ping}, apis: [/z]}\n",
            false
        ),
    ])
    func aliasesAndMergesStandBesideReplacements(_ text: String, _ isGood: Bool) {
        do throws(ConfigurationFile.Refusal) {
            _ = try read(text)
            #expect(isGood)
        } catch {
            #expect(
                !isGood && error.headlines.count == 1 && error.headlines[0].contains("`keep` is there twice"),
                "\(error.headlines)")
        }
    }

    @Test func bytesThatAreNoTextAreRefused() {
        #expect(throws: ConfigurationFile.Refusal.self) {
            try ConfigurationFile(path: "c.yaml", bytes: Array("'${RAW}': {}".utf8)).configuration { _ in "a\u{FFFD}" }
        }
    }

    @Test func keysThatBecomeOneAreRefused() {
        for text in [
            "s: {servers: [h], polling: {method: ping}, apis: [/a]}\n'${NOWHERE:-s}': {servers: [h], polling: {method: ping}, apis: [/b]}\n",
            "s:\n  servers: {h: {method: ping, frequency: 5, '${NOWHERE:-frequency}': 7}}\n  apis: [/a]\n",
        ] {
            do {
                _ = try read(text)
                Issue.record("accepted")
            } catch {
                #expect(error.text.contains("is there twice"), "\(error.text)")
            }
        }
    }

    @Test(arguments: [
        ("'${NOWHERE}'", "`NOWHERE` is not set"), ("'${HOST'", "is not closed"), ("'${1A}'", "is no name"),
        ("'${}'", "is no name"), ("'${A B}'", "is no name"),
    ])
    func whatCannotBeReplacedIsAnErrorWithItsPlace(_ address: String, _ words: String) {
        do {
            _ = try read(service(address))
            Issue.record("accepted")
        } catch {
            #expect(error.text.hasPrefix("c.yaml:2:13: error: "), "\(error.text)")
            #expect(error.text.contains(words), "\(error.text)")
        }
    }
}

@Suite struct ConfigurationPrinterTests {
    @Test func whatIsPrintedReadsBackToTheSameConfiguration() throws {
        let text = """
            "a \\"b\\" $${x}":
              servers:
                h:1: {method: ping, priority: high, weight: 7, frequency: 0.25, packet_limit: 3}
                "[::1]:2": {method: health, endpoint: "/x?y", retries: 2, retry_delay: 1.5, rise: 4, expect: [204, 300-302], headers: {X-A: "1: 2", User-Agent: me}}
              apis: [/, "/%41"]
            s2:
              servers: [1.2.3.4]
              polling: {method: health, endpoint: /h, timeout: 3, down_frequency: 7}
              apis: [/b]
              timeouts: {connect: 1, first_byte: 2500ms, idle: 3}
              host: instance
              strip_prefix: true
              availability_window: 1d
            meta-info: {discovery_server_name: "No: \\"x", discovery_server_port: 0, request_processor_host: "::", forwarders: 3, drain_timeout: 90s}
            """
        let (configuration, _) = try ConfigurationFile(path: "a.yaml", bytes: Array(text.utf8)).configuration()
        let printed = ConfigurationPrinter.yaml(configuration)
        var (again, _) = try ConfigurationFile(path: "b.yaml", bytes: Array(printed.utf8)).configuration()
        #expect(again.general.discoveryHost == "127.0.0.1", "the default is written out")
        again.general.discoveryHost = "127.0.0.1"
        #expect(again == configuration, "\(printed)")
        #expect(configuration.services[0].instances[1].polling.headers.count == 2)
    }

    @Test func warningsAreForWhatIsLegalButLikelyWrong() throws {
        let text = "s:\n  servers: [h]\n  polling: {method: ping, frequency: 10m}\n  apis: [/.serverpy]\n"
        let (_, warnings) = try ConfigurationFile(path: "a.yaml", bytes: Array(text.utf8)).configuration()
        #expect(warnings.map(\.severity) == [.warning, .warning])
    }
}
