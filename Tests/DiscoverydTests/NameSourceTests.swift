import Shared
import Testing

@testable import discoveryd

/// When names are looked up again, what is believed of the answers, and what the lines that have them are told.
@Suite struct NameSourceTests {
    static func address(_ last: UInt32) -> SocketAddress { SocketAddress(ipv4: 0x0a00_0000 + last, port: 0) }
    static func found(_ last: [UInt32], seconds: UInt32? = 60) -> LookUp.Result {
        .found(LookUp.Found(values: last.map { .address(address($0)) }, seconds: seconds))
    }
    private static func addresses(_ last: [UInt32]) -> [SocketAddress] { last.map(address) }

    // MARK: The guard

    @Test func aFewThatGoOrComeAreBelievedAtOnce() {
        var name = RemovalGuard()
        for answer in [[1, 2, 3, 4], [1, 2], [1, 2, 5, 6]] as [[UInt32]] {
            let holds = name.receive(Self.addresses(answer))
            #expect(!holds && name.believed == Self.addresses(answer))
        }
    }

    @Test func moreThanHalfGoneAtOnceAreHeldUntilThatIsSaidAgainAndAgain() {
        var name = RemovalGuard()
        _ = name.receive(Self.addresses([1, 2, 3, 4]))
        for turn in 1..<Limits.lookUpsBelieved {
            let beginsToHold = name.receive(Self.addresses([1]))
            #expect(beginsToHold == (turn == 1))
            #expect(name.believed == Self.addresses([1, 2, 3, 4]) && name.held == Self.addresses([2, 3, 4]))
        }
        _ = name.receive(Self.addresses([1]))
        #expect(name.believed == Self.addresses([1]) && name.held.isEmpty)
    }

    @Test func aHeldAddressGoesWhenItsPollFails() {
        var name = RemovalGuard()
        _ = name.receive(Self.addresses([1, 2, 3]))
        _ = name.receive(Self.addresses([1]))
        let isGone = name.failed(Self.address(2))
        let isKept = !name.failed(Self.address(1))
        #expect(isGone && isKept && name.believed == Self.addresses([1, 3]) && name.held == Self.addresses([3]))
    }

    @Test func oneGoodAnswerEndsTheDoubt() {
        var name = RemovalGuard()
        _ = name.receive(Self.addresses([1, 2, 3]))
        _ = name.receive([])
        #expect(name.held.count == 3)
        _ = name.receive(Self.addresses([1, 2, 3]))
        #expect(name.held.isEmpty)
        // The count begins anew.
        for _ in 1..<Limits.lookUpsBelieved { _ = name.receive([]) }
        #expect(name.held.count == 3)
        _ = name.receive([])
        #expect(name.believed.isEmpty)
    }

    /// With a single address there is no majority to lose: a moved instance is polled at its new address at once. That it has none at all is
    /// doubted.
    @Test func aSingleAddressMovesAtOnce() {
        var name = RemovalGuard()
        _ = name.receive(Self.addresses([1]))
        _ = name.receive(Self.addresses([2]))
        #expect(name.believed == Self.addresses([2]))
        _ = name.receive([])
        #expect(name.believed == Self.addresses([2]) && name.held == Self.addresses([2]))
    }

    // MARK: Time

    @Test func aNameIsLookedUpAgainWhenItsTimeIsOver() {
        for (seconds, held) in [(0, 1000), (1, 1000), (60, 60_000), (86_400, 300_000)] as [(UInt32, UInt64)] {
            var source = NameSource(SourceName("a", .host), now: 5)
            #expect(source.dueAt == 5 && source.health == .never)
            source.begin(now: 10)
            #expect(source.isAsking && source.dueAt == nil)
            let saidSomething = source.receive(Self.found([1], seconds: seconds), now: 20)
            #expect(saidSomething && source.dueAt == 20 + held && source.health == .fresh)
        }
    }

    @Test func whatIsNotThereYetIsAskedForSoon() {
        var source = NameSource(SourceName("a", .host), now: 0)
        source.begin(now: 0)
        _ = source.receive(Self.found([], seconds: 3600), now: 0)
        #expect(source.dueAt == 15_000)
    }

    /// 1, 2, 4, 5, 5 ... s after failures; what was known stands.
    @Test func aFailedLookUpIsRepeatedSoonAndThenLessOften() {
        var source = NameSource(SourceName("a", .host), now: 0)
        source.begin(now: 0)
        _ = source.receive(Self.found([1]), now: 0)
        var gaps: [UInt64] = []
        for turn in 1...7 {
            let now = UInt64(turn) * 100_000
            source.begin(now: now)
            let saidSomething = source.receive(.noAnswer("SERVFAIL"), now: now)
            #expect(!saidSomething && source.inUse == [Self.address(1)] && source.reason == "SERVFAIL")
            gaps.append((source.dueAt ?? 0) - now)
        }
        #expect(gaps == [1000, 2000, 4000, 5000, 5000, 5000, 5000])
        #expect(source.health == .stale(since: 100_000))
        source.begin(now: 900_000)
        _ = source.receive(Self.found([2]), now: 900_000)
        #expect(source.health == .fresh && source.inUse == [Self.address(2)])
    }

    /// Not more often than once a second, and less often while that brings nothing new.
    @Test func aRefusedAddressIsAReasonToLookAgain() {
        var source = NameSource(SourceName("a", .host), now: 0)
        source.begin(now: 0)
        _ = source.receive(Self.found([1], seconds: 300), now: 0)
        let isSooner = source.doubt(now: 5000)
        #expect(isSooner && source.dueAt == 5000)
        source.begin(now: 5000)
        _ = source.receive(Self.found([1], seconds: 300), now: 5010)
        _ = source.doubt(now: 5020)
        #expect(source.dueAt == 7000, "2 s after the one before")
        source.begin(now: 7000)
        _ = source.receive(Self.found([2], seconds: 300), now: 7000)
        _ = source.doubt(now: 7001)
        #expect(source.dueAt == 8000, "it was worth it")
    }

    // MARK: Families

    @Test func oneFamilyIsUsedAndTheOtherWhenItAnswersAlone() {
        var source = NameSource(SourceName("localhost", .host), now: 0)
        let six = SocketAddress(ipv6High: 0, low: 1, port: 0)
        source.begin(now: 0)
        let both = LookUp.Found(values: [.address(six), .address(Self.address(1))], seconds: 5)
        _ = source.receive(.found(both), now: 0)
        #expect(source.inUse == [Self.address(1)] && source.others == [six])
        let changes = source.use(.ipv6)
        #expect(changes && source.inUse == [six] && source.others == [Self.address(1)])
        // It stays so while that family has addresses.
        source.begin(now: 5000)
        _ = source.receive(.found(both), now: 5000)
        #expect(source.inUse == [six])
        source.begin(now: 10_000)
        _ = source.receive(Self.found([1]), now: 10_000)
        let hasNoOther = !source.use(.ipv6)
        #expect(source.inUse == [Self.address(1)] && hasNoOther)
    }

    @Test func aFamilyOfWhichNothingWasSaidStaysAsItWas() {
        var source = NameSource(SourceName("a", .host), now: 0)
        let six = SocketAddress(ipv6High: 0, low: 1, port: 0)
        source.begin(now: 0)
        _ = source.receive(
            .found(LookUp.Found(values: [.address(six), .address(Self.address(1))], seconds: 5)), now: 0)
        source.begin(now: 5000)
        _ = source.receive(
            .found(LookUp.Found(values: [.address(Self.address(2))], seconds: 5, unanswered: [.ipv6])), now: 5000)
        #expect(source.inUse == [Self.address(2)] && source.others == [six])
    }

    // MARK: Services

    private static func record(
        _ priority: UInt16, _ weight: UInt16, _ port: UInt16, _ host: String
    ) throws -> DNSResponse.Value {
        .service(priority: priority, weight: weight, port: port, target: try #require(DNSName(host)))
    }

    @Test func prioritiesAreTiersAndWeightsAreWeights() throws {
        let records = [
            try Self.record(20, 0, 80, "spare"), try Self.record(10, 60_000, 8080, "big"),
            try Self.record(10, 600, 8080, "small"),
        ]
        let targets = NameTarget.targets(records) { name in
            Self.addresses(name.text == "big." ? [1, 2] : name.text == "small." ? [3] : [4])
        }
        let shown = targets.map { "\($0.address) \($0.service.map { "\($0.host) \($0.tier) \($0.weight)" } ?? "")" }
        #expect(
            shown == [
                "10.0.0.4:80 spare 1 1", "10.0.0.1:8080 big 0 50", "10.0.0.2:8080 big 0 50", "10.0.0.3:8080 small 0 1",
            ])
    }

    @Test func aServiceFollowsTheAddressesOfItsHosts() throws {
        var book = NameBook()
        let service = SourceName("_http._tcp.shop", .service)
        book.use(service, forLines: true, now: 0)
        let index = try #require(book.index(service))
        let isAsked = book.begin(index, now: 0) != nil
        #expect(isAsked && book.isAwaited(service))
        _ = book.receive(
            .found(
                LookUp.Found(values: [try Self.record(1, 1, 80, "a"), try Self.record(1, 1, 80, "b")], seconds: 60)),
            of: index, now: 0)
        #expect(book.isAwaited(service), "its hosts are not known yet")
        let a = try #require(book.index(SourceName("a.", .host)))
        let b = try #require(book.index(SourceName("b.", .host)))
        func targets(_ news: [NameBook.News]) -> [String] {
            news.flatMap { entry in
                guard case .reset(let all) = entry.change.content else { return [String]() }
                return [entry.name.text] + all.map(\.address.description)
            }
        }
        // Half of them would be taken for the whole.
        #expect(targets(book.receive(Self.found([1]), of: a, now: 1)).isEmpty)
        #expect(
            targets(book.receive(Self.found([2]), of: b, now: 2)) == ["_http._tcp.shop", "10.0.0.1:80", "10.0.0.2:80"])
        #expect(!book.isAwaited(service))
        // A record less: its host is looked up no longer.
        let news = book.receive(
            .found(LookUp.Found(values: [try Self.record(1, 1, 81, "b")], seconds: 60)), of: index, now: 3)
        #expect(targets(news) == ["_http._tcp.shop", "10.0.0.2:81"])
        #expect(book.index(SourceName("a.", .host)) == nil)
        book.release(service, forLines: true)
        #expect(book.entries.count == 0)
    }

    /// Nobody knows anything of the hosts: what was known of the service stands.
    @Test func recordsWithoutAHostThatIsKnownSayNothing() throws {
        var book = NameBook()
        let service = SourceName("_http._tcp.shop", .service)
        book.use(service, forLines: true, now: 0)
        let index = try #require(book.index(service))
        _ = book.begin(index, now: 0)
        let records = [try Self.record(1, 1, 80, "a"), try Self.record(1, 1, 80, "b")]
        let first = book.receive(.found(LookUp.Found(values: records, seconds: 60)), of: index, now: 0)
        let a = try #require(book.index(SourceName("a.", .host)))
        let b = try #require(book.index(SourceName("b.", .host)))
        let second = book.receive(.noAnswer("SERVFAIL"), of: a, now: 1)
        let third = book.receive(.noAnswer("SERVFAIL"), of: b, now: 2)
        #expect(first.isEmpty && second.isEmpty && third.isEmpty)
    }
}
