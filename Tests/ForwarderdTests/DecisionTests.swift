import Shared
import Testing

@testable import forwarderd

@Suite struct RouteTableTests {
    private func makeTable(_ services: [[String]]) -> RouteTable {
        var table = RouteTable()
        for (service, paths) in services.enumerated() { table.add(paths, service: service) }
        return table
    }

    private func service(_ table: RouteTable, _ path: String) -> Int? {
        let bytes = Array(("xx" + path).utf8)
        return table.route(bytes.span, 2, path.utf8.count)?.service
    }

    @Test func theLongestWholeSegmentPrefixWins() {
        let table = makeTable([["/first", "/second/sample"], ["/second", "/third"]])
        #expect(service(table, "/second") == 1)
        #expect(service(table, "/second/") == 1)
        #expect(service(table, "/second/x") == 1)
        #expect(service(table, "/second/sample") == 0)
        #expect(service(table, "/second/sample/deeper") == 0)
        #expect(service(table, "/second/samples") == 1)
        #expect(service(table, "/secondary") == nil)
        #expect(service(table, "/") == nil)
        #expect(service(table, "") == nil)
        #expect(service(table, "/FIRST") == nil)
        #expect(service(table, "/%66irst") == nil)
    }

    @Test func theRootTakesWhatNobodyElseClaims() {
        let table = makeTable([["/"], ["/a"]])
        #expect(service(table, "/") == 0)
        #expect(service(table, "/b/c") == 0)
        #expect(service(table, "/a/b") == 1)
    }

    @Test func agreesWithTheObviousSearchOverRandomTables() {
        var random = SplitMix(seed: 7)
        let words = ["a", "b", "ab", "abc", "c"]
        for _ in 0..<300 {
            var paths: Set<String> = []
            for _ in 0..<random.next() % 20 {
                paths.insert(
                    "/" + (0...random.next() % 3).map { _ in words[Int(random.next() % 5)] }.joined(separator: "/"))
            }
            let list = paths.sorted()
            let table = makeTable(list.map { [$0] })
            for _ in 0..<50 {
                let path =
                    "/" + (0...random.next() % 4).map { _ in words[Int(random.next() % 5)] }.joined(separator: "/")
                let expected = list.indices.filter { path == list[$0] || path.hasPrefix(list[$0] + "/") }.max {
                    list[$0].count < list[$1].count
                }
                #expect(service(table, path) == expected, "\(path) in \(list)")
            }
        }
    }
}

@Suite struct RankingTests {
    private func facts(
        _ priority: Priority = .medium, _ availability: Int? = 100, candidate: Bool = true,
        status: InstanceStatus = .up, ejected: Bool = false
    ) -> Ranking.Facts {
        Ranking.Facts(
            isCandidate: candidate, status: status, isDraining: false, isEjected: ejected, isSuspect: false,
            priority: priority,
            availability: availability, hasAddress: true)
    }

    private func rank(_ facts: [Ranking.Facts]) -> Ranking {
        Ranking(facts.enumerated().map { (Int32($0.offset), $0.element) })
    }

    private func rankWhateverTheAvailability(_ facts: [Ranking.Facts]) -> Ranking {
        Ranking(facts.enumerated().map { (Int32($0.offset), $0.element) }, byAvailability: false)
    }

    @Test func theHighestPriorityThatHasACandidateWins() {
        let ranking = rank([facts(.low), facts(.high, candidate: false, status: .down), facts(.medium), facts(.medium)])
        #expect(ranking.groups.first?.slots == [2, 3])
        #expect(ranking.groups.dropFirst().map(\.slots) == [[0]])
        #expect(ranking.lastResort.isEmpty)
    }

    @Test func equalsAreWithinFivePointsOfTheBest() {
        #expect(
            Set(
                rank([facts(.medium, 100), facts(.medium, 95), facts(.medium, 96), facts(.medium, 94)]).groups[0].slots)
                == [
                    0, 1, 2,
                ])
    }

    @Test func fewerThanHalfOfATierDoNotCarryItAlone() {
        #expect(
            Set(
                rank([facts(.medium, 100), facts(.medium, 80), facts(.medium, 70), facts(.medium, 60)]).groups[0].slots)
                == [
                    0, 1,
                ])
    }

    @Test func littleEvidenceCountsAsTheTiersMedian() {
        #expect(
            Set(
                rank([facts(.medium, nil), facts(.medium, 90), facts(.medium, 90), facts(.medium, 50)]).groups[0].slots)
                == [
                    0, 1, 2,
                ])
    }

    @Test func theNeverPolledAndThenTheDoubtedAreTheLastResort() {
        let ranking = rank([
            facts(candidate: false, ejected: true), facts(candidate: false, status: .unknown),
            facts(candidate: false, status: .down),
        ])
        #expect(ranking.groups.isEmpty)
        #expect(ranking.lastResort.map(\.slots) == [[1], [0]])
    }
}

@Suite struct ExchangeTests {
    private func exchange(idempotent: Bool, sent: Bool) -> Exchange {
        var exchange = Exchange()
        exchange.isIdempotent = idempotent
        exchange.begin(instance: 3, upstream: 5)
        exchange.hasSent = sent
        return exchange
    }

    @Test func aFailedConnectMovesOnForAnyMethod() {
        var post = exchange(idempotent: false, sent: false)
        #expect(post.failed(.connect(.connectionRefused), isReused: false, budget: false) == .nextInstance)
        #expect(post.excluded.contains(3))
    }

    @Test func whatMayHaveRunIsNotSentAgain() {
        for fault in [UpstreamFault.closed, .reset] {
            for isReused in [true, false] {
                var post = exchange(idempotent: false, sent: true)
                #expect(post.failed(fault, isReused: isReused, budget: true) == .answer)
            }
        }
    }

    @Test func anIdempotentRequestGoesToAFreshConnectionThenToAnotherInstance() {
        var get = exchange(idempotent: true, sent: true)
        #expect(get.failed(.closed, isReused: true, budget: true) == .freshConnection)
        #expect(!get.excluded.contains(3), "a failed reused connection accuses nobody")
        get.begin(instance: 3, upstream: 6)
        get.hasSent = true
        #expect(get.failed(.reset, isReused: false, budget: true) == .nextInstance)
        #expect(get.excluded.contains(3))
    }

    @Test func timeOutsAndNonsenseAreNeverRetried() {
        var get = exchange(idempotent: true, sent: true)
        #expect(get.failed(.timeout, isReused: false, budget: true) == .answer)
        #expect(get.failed(.malformed("x"), isReused: true, budget: true) == .answer)
    }

    @Test func aBodyThatIsNoLongerHereIsNotSentAgain() {
        var put = exchange(idempotent: true, sent: true)
        put.isReplayable = false
        #expect(put.failed(.reset, isReused: true, budget: true) == .answer)
    }

    @Test func whatHasBegunIsCutAndNotAnsweredTwice() {
        var get = exchange(idempotent: true, sent: true)
        get.hasForwarded = true
        #expect(get.failed(.closed, isReused: true, budget: true) == .cut)
        #expect(get.failed(.timeout, isReused: true, budget: true) == .cut)
    }

    @Test func theBudgetEndsRetries() {
        var get = exchange(idempotent: true, sent: true)
        #expect(get.failed(.reset, isReused: false, budget: false) == .nextInstance, "the first move is free")
        #expect(!get.isRetrying)
        get.begin(instance: 4, upstream: 6)
        get.hasSent = true
        var other = get
        #expect(get.failed(.reset, isReused: false, budget: false) == .answer)
        #expect(other.failed(.reset, isReused: false, budget: true) == .nextInstance)
        #expect(other.isRetrying, "it is counted")
        other.begin(instance: 5, upstream: 7)
        other.hasSent = true
        #expect(other.failed(.reset, isReused: false, budget: false) == .nextInstance, "once counted, it may go on")
    }

    @Test func triesAreBounded() {
        var get = exchange(idempotent: true, sent: false)
        var tries = 0
        while get.failed(.connect(.connectionRefused), isReused: false, budget: true) == .nextInstance {
            tries += 1
            get.begin(instance: 3 + tries, upstream: 1)
        }
        #expect(tries == Limits.instancesTriedPerRequest - 1)
    }
}

@Suite struct PassiveHealthTests {
    @Test func ejectionsGetLongerUntilASuccess() {
        var random = SplitMix(seed: 3)
        var passive = PassiveHealth()
        var spans: [UInt64] = []
        for _ in 0..<9 {
            spans.append(passive.failed(now: 0, random: &random) ?? 0)
            #expect(passive.failed(now: 0, random: &random) == nil, "already ejected")
            passive.expire()
        }
        for (span, expected) in zip(spans, [1, 2, 4, 8, 16, 32, 60, 60, 60] as [Double]) {
            #expect(abs(Double(span) - expected * 1000) <= expected * 51)
        }
        passive.succeeded()
        #expect(passive.ejections == 0)
    }

    @Test func fiveBadAnswersInARowOrThreeTimeOutsAreEnough() {
        var passive = PassiveHealth()
        let errors = (0..<5).map { _ in passive.weakened(.serverError) }
        #expect(errors == [false, false, false, false, true])
        passive = PassiveHealth()
        let timeouts = (0..<3).map { _ in passive.weakened(.timeout) }
        #expect(timeouts == [false, false, true])
        passive = PassiveHealth()
        for _ in 0..<20 {
            let verdicts = [passive.weakened(.serverError), passive.weakened(.serverError)]
            #expect(verdicts == [false, false])
            passive.succeeded()
        }
    }

    @Test func afterAnEjectionOneRequestAtATimeTries() {
        var random = SplitMix(seed: 3)
        var slot = InstanceSlot(
            service: "s",
            SnapshotInstance(
                id: 0, url: "h:1", authority: "h:1", priority: .medium, weight: 1,
                state: InstanceState(status: .up, suspect: false, draining: false, availability: 100, addresses: [])),
            key: 0)
        func isFull(_ triesFreely: Bool) -> Bool { slot.load(limit: 10, now: 0, triesFreely: triesFreely).isFull }
        _ = slot.passive.failed(now: 0, random: &random)
        slot.passive.expire()
        #expect(!isFull(false))
        slot.outstanding = 1
        #expect(isFull(false) && !isFull(true), "one is on its way; where nobody else has room that does not matter")
        let isOut = slot.passive.weakened(.serverError)
        #expect(isOut, "a trial that fails ejects again at once")
        slot.passive.succeeded()
        #expect(!isFull(false) && !slot.passive.isOnTrial)
    }

    @Test func whoHasComeBackIsWelcomedSlowly() {
        var slot = InstanceSlot(
            service: "s",
            SnapshotInstance(
                id: 0, url: "h:1", authority: "h:1", priority: .medium, weight: 1,
                state: InstanceState(status: .up, suspect: false, draining: false, availability: 100, addresses: [])),
            key: 0)
        #expect(slot.percentWelcome(now: 5_000) == 100, "it has never been away")
        slot.returnedAt = 5_000
        #expect([5_000, 5_500, 10_000, 14_999, 15_000].map { slot.percentWelcome(now: $0) } == [10, 10, 50, 99, 100])
    }

    @Test func errorsOfOurOwnMakingAccuseNobody() {
        #expect(!UpstreamFault.connect(.tooManyOpenFiles).accuses)
        #expect(!UpstreamFault.connect(.addressNotAvailable).accuses)
        #expect(UpstreamFault.connect(.connectionRefused).accuses)
        #expect(UpstreamFault.connectTimeout.accuses)
    }
}

@Suite struct ForwardedRequestTests {
    private func forward(_ text: String) throws -> String {
        let bytes = Array(text.utf8)
        var head = RequestHead()
        let isWhole = try head.parse(bytes.span)
        #expect(isWhole)
        var out = Buffer(capacity: Limits.requestBufferBytes)
        ForwardedRequest.write(
            head, bytes.span, peer: Array("192.0.2.7".utf8), requestID: (1, 2), identity: Identity(name: "me"),
            authority: Array("inst:1".utf8), to: &out)
        return String(decoding: out.bytes.array(0, out.count), as: UTF8.self)
    }

    private let added =
        "Via: 1.1 me\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nForwarded: for=192.0.2.7;host=\"a\";proto=http\r\nX-Request-Id: 00000000000000010000000000000002\r\n"

    @Test func isCanonicalAndKeepsOrderCaseAndDuplicates() throws {
        #expect(
            try forward("GET /p?q HTTP/1.1\r\nx-B:  2\r\nHost:\ta \r\nX-a: 1\r\nx-B: 3\r\n\r\n")
                == "GET /p?q HTTP/1.1\r\nHost: a\r\nx-B: 2\r\nX-a: 1\r\nx-B: 3\r\n" + added + "\r\n")
    }

    @Test func hopByHopFieldsAndThoseThatConnectionNamesEndHere() throws {
        let text = try forward(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret, Host, Content-Length, X-Forwarded-For, Via\r\nKeep-Alive: 5\r\nX-Secret: 1\r\nTE: gzip\r\nUpgrade: x\r\nProxy-Authorization: y\r\nProxy-Connection: z\r\nContent-Length: 0\r\nVia: 1.0 other\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nHTTP2-Settings: q\r\n\r\n"
        )
        #expect(text == "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nVia: 1.0 other\r\n" + added + "\r\n")
    }

    @Test func anAbsoluteTargetBecomesItsOriginFormAndItsHost() throws {
        #expect(
            try forward("GET http://a/x HTTP/1.1\r\nHost: evil\r\n\r\n").hasPrefix("GET /x HTTP/1.1\r\nHost: a\r\nVia"))
        #expect(
            try forward("GET http://a?x HTTP/1.1\r\nHost: evil\r\n\r\n").hasPrefix("GET /?x HTTP/1.1\r\nHost: a\r\n"))
        #expect(try forward("GET /x HTTP/1.0\r\n\r\n").hasPrefix("GET /x HTTP/1.1\r\nHost: inst:1\r\n"))
    }

    @Test func aGivenRequestIDIsKeptAndMaxForwardsCountsDown() throws {
        let text = try forward("TRACE /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nMax-Forwards: 10\r\n\r\n")
        #expect(text.contains("X-Request-Id: mine\r\n"))
        #expect(text.contains("Max-Forwards: 9\r\n"))
        #expect(!text.contains("0000000000000001"))
    }

    @Test func theLargestHeadFitsTheBuffer() throws {
        let host = String(repeating: "h", count: 253)
        let value = String(repeating: "v", count: Limits.headBytes - host.count - 60)
        let text = try forward("GET / HTTP/1.1\r\nHost: \(host)\r\nX: \(value)\r\n\r\n")
        #expect(text.utf8.count <= Limits.requestBufferBytes)
    }
}
