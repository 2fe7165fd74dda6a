import Shared
import Testing

@testable import discoveryd

/// Which names are asked in which order, of whom, and what the answers add up to.
@Suite struct LookUpTests {
    private static func file(_ text: String) -> ResolverFile { ResolverFile(Array(text.utf8)) }
    private static func v4(_ last: UInt32) -> DNSResponse.Value { .address(SocketAddress(ipv4: last, port: 0)) }
    private static func v6(_ last: UInt64) -> DNSResponse.Value {
        .address(SocketAddress(ipv6High: 0, low: last, port: 0))
    }

    @Test func theFileIsReadAsTheManualSays() {
        let file = Self.file(
            """
            # nameserver 9.9.9.9
            nameserver 10.0.0.2
            nameserver fd00::53
            nameserver 10.0.0.3
            nameserver 10.0.0.4
            domain first.example
            search a.example b.example
            options ndots:5 timeout:2 attempts:9 rotate edns0
            """)
        #expect(file.servers.map(\.description) == ["10.0.0.2:53", "[fd00::53]:53", "10.0.0.3:53"])
        #expect(file.search.map(\.text) == ["a.example", "b.example"] && file.dots == 5)
        #expect(file.timeoutMilliseconds == 2000 && file.attempts == 5)
        let empty = ResolverFile()
        #expect(empty.servers == [.loopback(port: 53)] && empty.search.isEmpty && empty.dots == 1)
        #expect(Self.file("nameserver nonsense\noptions ndots:x timeout:0\nsearch ..").timeoutMilliseconds == 1000)
    }

    @Test func fewDotsAreLookedForInTheDomainsFirst() {
        let file = Self.file("search a.example b.example\noptions ndots:2")
        func names(_ name: String) -> [String] { file.candidates(of: name).map(\.text) }
        #expect(names("orders") == ["orders.a.example", "orders.b.example", "orders"])
        #expect(names("orders.shop") == ["orders.shop.a.example", "orders.shop.b.example", "orders.shop"])
        #expect(names("x.orders.shop") == ["x.orders.shop", "x.orders.shop.a.example", "x.orders.shop.b.example"])
        #expect(names("orders.") == ["orders"])
    }

    @Test func theHostsFileAnswersWithoutCase() {
        let hosts = HostsFile(Array("127.0.0.1 localhost\n10.0.0.1\tOrders orders.shop # mine\n::1 orders\nx y\n".utf8))
        #expect(hosts.addresses(of: "ORDERS.")?.map(\.host) == ["10.0.0.1", "::1"])
        #expect(hosts.addresses(of: "orders.shop")?.count == 1 && hosts.addresses(of: "y") == nil)
        #expect(HostsFile().addresses(of: "a.localhost")?.count == 2)
    }

    // MARK: One look-up

    private func run(
        _ name: String, _ file: ResolverFile, isKnown: Bool = false, _ answer: (DNSQuestion) -> DNSOutcome
    ) -> (LookUp.Result, asked: [String]) {
        var lookUp = LookUp(name, .host, file, isKnown: isKnown)
        var questions = lookUp.firstQuestions
        var asked: [String] = []
        while true {
            var step = LookUp.Step.wait
            for question in questions {
                asked.append("\(question.name.text) \(question.type)")
                step = lookUp.receive(answer(question), of: question)
            }
            switch step {
            case .wait: return (.noAnswer("it waits for ever"), asked)
            case .ask(let next): questions = next
            case .end(let result): return (result, asked)
            }
        }
    }

    @Test func bothFamiliesAreAskedAndTheShorterTimeCounts() {
        let (result, asked) = run("a.b", ResolverFile()) { question in
            question.type == .a ? .records([Self.v4(1), Self.v4(2)], seconds: 30) : .records([Self.v6(1)], seconds: 9)
        }
        #expect(asked == ["a.b a", "a.b aaaa"])
        #expect(result == .found(LookUp.Found(values: [Self.v4(1), Self.v4(2), Self.v6(1)], seconds: 9)))
    }

    @Test func theNextDomainIsAskedWhereThereIsNoSuchName() {
        let file = Self.file("search a.example b.example")
        let (result, asked) = run("orders", file) { question in
            question.name.text == "orders.b.example" && question.type == .a
                ? .records([Self.v4(1)], seconds: 5) : .absent(seconds: 60)
        }
        #expect(result == .found(LookUp.Found(values: [Self.v4(1)], seconds: 5)) && asked.count == 4)
        let (nothing, all) = run("orders", file) { _ in .absent(seconds: 60) }
        #expect(nothing == .found(LookUp.Found(seconds: 60)) && all.count == 6)
    }

    /// Another domain's answer is not taken for a name of which something is known: its own name server fails at the moment.
    @Test func aKnownNameIsNotLookedForElsewhere() {
        let file = Self.file("search a.example b.example")
        func answer(_ question: DNSQuestion) -> DNSOutcome {
            question.name.text == "orders.a.example" ? .noAnswer("SERVFAIL") : .records([Self.v4(9)], seconds: 5)
        }
        #expect(run("orders", file, isKnown: true, answer).0 == .noAnswer("SERVFAIL"))
        #expect(run("orders", file, isKnown: false, answer).0 != .noAnswer("SERVFAIL"))
    }

    @Test func aFamilyThatNobodyHasSaidAnythingOfIsNamed() {
        let (result, _) = run("a.b", ResolverFile()) { question in
            question.type == .a ? .records([Self.v4(1)], seconds: 30) : .noAnswer("timed out")
        }
        #expect(result == .found(LookUp.Found(values: [Self.v4(1)], seconds: 30, unanswered: [.ipv6])))
        // That there is no IPv4 address says nothing while IPv6 is not answered.
        let (nothing, _) = run("a.b.", ResolverFile()) { question in
            question.type == .a ? .absent(seconds: 30) : .noAnswer("timed out")
        }
        #expect(nothing == .noAnswer("timed out"))
    }

    // MARK: One question

    private static func inquiry(_ file: ResolverFile = ResolverFile(), first: Int = 0) throws -> DNSInquiry {
        DNSInquiry(DNSQuestion(name: try #require(DNSName("a")), type: .a), file, first: first)
    }
    private static func response(_ flags: String) throws -> DNSResponse {
        var bytes: [UInt8] = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1]
        bytes[2] = flags == "truncated" ? 0x83 : 0x81
        bytes[3] = flags == "truncated" ? 0x80 : UInt8(flags) ?? 0
        return try DNSResponse(bytes.span)
    }

    @Test func theNextServerIsAskedAndEachOneTwice() throws {
        let file = Self.file("nameserver 10.0.0.1\nnameserver 10.0.0.2")
        var inquiry = try Self.inquiry(file, first: 1)
        var servers = [inquiry.server]
        var times = [inquiry.timeoutMilliseconds]
        while case .ask = inquiry.receive(.failed("timed out")) {
            servers.append(inquiry.server)
            times.append(inquiry.timeoutMilliseconds)
        }
        #expect(servers == [1, 0, 1, 0] && times == [1000, 1000, 2000, 2000])
    }

    @Test func aTruncatedAnswerIsAskedForOverTCPAndAnOldServerWithoutOptions() throws {
        var inquiry = try Self.inquiry()
        #expect(inquiry.receive(.response(try Self.response("truncated"))) == .ask && inquiry.isOverTCP)
        #expect(inquiry.receive(.failed("refused")) == .ask && !inquiry.isOverTCP, "and the next server by datagram")
        #expect(inquiry.receive(.response(try Self.response("1"))) == .ask && !inquiry.usesOptions)
        #expect(inquiry.receive(.response(try Self.response("3"))) == .end(.absent(seconds: nil)))
    }

    @Test func aServerThatFailsIsNoAnswer() throws {
        var inquiry = try Self.inquiry()
        #expect(inquiry.receive(.response(try Self.response("2"))) == .ask)
        let end = inquiry.receive(.response(try Self.response("2")))
        guard case .end(.noAnswer(let reason)) = end else {
            Issue.record("\(end)")
            return
        }
        #expect(reason.contains("SERVFAIL"))
    }
}
