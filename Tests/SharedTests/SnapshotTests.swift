import Testing

@testable import Shared

@Suite struct ShareTests {
    @Test func oneThatHasClearlyMoreThanItsPartLetsOthersAcceptFirst() {
        let share = Share(index: 0, of: 4, connections: 64)
        #expect(!share.isExceeded(by: 16) && !share.isExceeded(by: 24))
        #expect(share.isExceeded(by: 25) && share.isExceeded(by: 64))
        // Far more than all had: the figure is old.
        #expect(!share.isExceeded(by: 97))
        #expect(!Share(index: 0, of: 4, connections: 0).isExceeded(by: 50))
        #expect(!Share(index: 0, of: 1, connections: 64).isExceeded(by: 64))
    }
}

@Suite struct SnapshotTests {
    private let version = SnapshotVersion(epoch: 3, number: 7)

    private func instance(_ id: Int, _ status: InstanceStatus = .up) -> SnapshotInstance {
        SnapshotInstance(
            id: id, url: "h\(id):80", authority: "h\(id)", priority: .high, weight: 2,
            state: InstanceState(
                status: status, suspect: false, draining: id == 1, availability: id == 0 ? nil : 97,
                address: .loopback(port: UInt16(id + 1))))
    }

    /// Nothing as it is by default.
    private var settings: ForwarderSettings {
        var settings = ForwarderSettings()
        settings.headBytes = 2000
        settings.headFields = 20
        settings.bodyBytes = 7
        settings.connections = 3
        settings.headTimeoutMilliseconds = 11
        settings.clientIdleTimeoutMilliseconds = 12
        settings.drainDelayMilliseconds = 13
        settings.drainTimeoutMilliseconds = 14
        settings.trustedProxies = [AddressRange("10.0.0.0/8"), AddressRange("::1")].compactMap(\.self)
        settings.expectsProxyProtocol = true
        settings.accessLog = .file("/x")
        settings.logFormat = .json
        settings.answersReady = false
        settings.via = "v"
        return settings
    }

    private var policy: ServicePolicy {
        var policy = ServicePolicy()
        policy.connectTimeoutMilliseconds = 1
        policy.firstByteTimeoutMilliseconds = 2
        policy.idleTimeoutMilliseconds = 3
        policy.tunnelTimeoutMilliseconds = 4
        policy.queueTimeoutMilliseconds = 5
        policy.sendsInstanceHost = true
        policy.stripsPrefix = true
        policy.balance = .hash(.cookie("Sid"))
        policy.tries = 2
        policy.retryBudgetPercent = 33
        policy.maxConnections = 9
        policy.queue = 6
        return policy
    }

    private func lines() -> [[UInt8]] {
        var digest = LineDigest()
        let body = [
            SnapshotLines.settings(settings),
            SnapshotLines.service(id: 0, name: "a", paths: ["/x"], policy: policy),
            SnapshotLines.instances(service: 0, [instance(0), instance(1)]),
            SnapshotLines.service(id: 1, name: "b\n\"", paths: ["/y"]),
            SnapshotLines.paths(service: 1, ["/z"]),
            SnapshotLines.instances(service: 1, [instance(2, .unknown)]),
        ]
        for line in body { digest.add(line) }
        return [SnapshotLines.begin(version, 2, services: 2, instances: 3)] + body + [
            SnapshotLines.end(version, digest: digest)
        ]
    }

    private func assemble(_ lines: [[UInt8]], _ assembler: inout SnapshotAssembler) throws(SnapshotAssembler.Fault)
        -> Snapshot?
    {
        for line in lines {
            if case .snapshot(let snapshot) = try assembler.receive(line) { return snapshot }
        }
        return nil
    }

    @Test func whatIsPublishedIsWhatIsApplied() throws {
        var assembler = SnapshotAssembler()
        let snapshot = try #require(try assemble(lines(), &assembler))
        #expect(snapshot.version == version)
        #expect(snapshot.settings == settings)
        #expect(snapshot.services.map(\.policy) == [policy, ServicePolicy()])
        #expect(snapshot.services.map(\.name) == ["a", "b\n\""])
        #expect(snapshot.services[1].paths == ["/y", "/z"])
        #expect(snapshot.services[0].instances == [instance(0), instance(1)])
        #expect(snapshot.services[1].instances == [instance(2, .unknown)])
    }

    @Test func aDeltaFollowsItsBaseOrIsRefused() throws {
        var assembler = SnapshotAssembler()
        _ = try assemble(lines(), &assembler)
        let next = SnapshotVersion(epoch: 3, number: 9)
        let delta = SnapshotLines.delta(base: version, next, [(id: 2, state: instance(2).state)])
        guard case .delta(next, let changes, isMore: false) = try assembler.receive(delta) else {
            Issue.record("no delta")
            return
        }
        #expect(changes.map(\.id) == [2])
        #expect(changes[0].state == instance(2).state)
        #expect(throws: SnapshotAssembler.Fault.self) { _ = try assembler.receive(delta) }
    }

    private func change(_ next: SnapshotVersion, isMore: Bool = false) -> [[UInt8]] {
        [
            SnapshotLines.beginChange(base: version, next), SnapshotLines.settings(settings),
            SnapshotLines.gone(services: [0], instances: [0, 1]),
            SnapshotLines.service(id: 7, name: "c", paths: ["/c"], policy: policy),
            SnapshotLines.paths(service: 7, ["/d"]), SnapshotLines.instances(service: 7, [instance(9)]),
            SnapshotLines.instances(service: 1, [instance(4, .unknown)]),
            SnapshotLines.endChange(next, isMore: isMore),
        ]
    }

    @Test func aChangeIsSeenWholeOrNotAtAll() throws {
        let next = SnapshotVersion(epoch: 3, number: 8)
        var assembler = SnapshotAssembler()
        _ = try assemble(lines(), &assembler)
        for line in change(next).dropLast() {
            guard case .nothing = try assembler.receive(line) else {
                Issue.record("a part of a change was seen")
                return
            }
        }
        guard case .change(let seen) = try assembler.receive(SnapshotLines.endChange(next, isMore: true)) else {
            Issue.record("no change")
            return
        }
        var expected = SnapshotChange(version: next)
        expected.settings = settings
        expected.goneServices = [0]
        expected.goneInstances = [0, 1]
        expected.services = [SnapshotService(id: 7, name: "c", paths: ["/c", "/d"], policy: policy)]
        expected.instances = [.init(service: 7, instance(9)), .init(service: 1, instance(4, .unknown))]
        expected.isMore = true
        #expect(seen == expected)
        // A delta of the same version may follow, a change of the former base may not.
        let delta = SnapshotLines.delta(base: next, next, [(id: 9, state: instance(9).state)])
        guard case .delta = try assembler.receive(delta) else {
            Issue.record("no delta")
            return
        }
        #expect(throws: SnapshotAssembler.Fault.self) { _ = try assembler.receive(change(next)[0]) }
    }

    @Test func whatChangesWithinAChangeNeedsItsBegin() throws {
        let next = SnapshotVersion(epoch: 3, number: 8)
        var assembler = SnapshotAssembler()
        _ = try assemble(lines(), &assembler)
        #expect(throws: SnapshotAssembler.Fault.self) {
            _ = try assembler.receive(SnapshotLines.service(id: 7, name: "c", paths: ["/c"]))
        }
        #expect(throws: SnapshotAssembler.Fault.self) {
            _ = try assembler.receive(SnapshotLines.endChange(next, isMore: false))
        }
        let tooHigh = Array("{\"type\":\"gone\",\"services\":[4000000000],\"instances\":[]}".utf8)
        #expect(throws: SnapshotAssembler.Fault.self) { _ = try assembler.receive(tooHigh) }
    }

    @Test func theNewestVersionThatBothKnowIsSpoken() {
        for (oldest, newest, spoken) in [
            (1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 9, 2), (2, 9, 2), (3, 9, nil), (0, 0, nil), (2, 1, nil),
        ] as [(UInt64, UInt64, Int?)] {
            #expect(SnapshotLines.newestCommonVersion(oldest, newest) == spoken, "\(oldest) to \(newest)")
        }
    }

    @Test func aTornOrChangedSnapshotIsNeverSeen() {
        let all = lines()
        for missing in 1..<all.count - 1 {
            var torn = all
            torn.remove(at: missing)
            var assembler = SnapshotAssembler()
            #expect(throws: SnapshotAssembler.Fault.self) { _ = try assemble(torn, &assembler) }
        }
        var changed = all
        changed[3] = Array(String(decoding: all[3], as: UTF8.self).replacing("97", with: "98").utf8)
        var assembler = SnapshotAssembler()
        #expect(throws: SnapshotAssembler.Fault.self) { _ = try assemble(changed, &assembler) }
    }

    @Test func garbageIsAFaultAndALaterProtocolsMessageIsNot() throws {
        var assembler = SnapshotAssembler()
        for bad in [
            "", "{", "[]x", "{\"type\":\"delta\",\"epoch\":1,\"number\":1,\"base\":0}",
            "{\"type\":\"service\",\"id\":0,\"name\":\"x\"}",
        ] {
            #expect(throws: SnapshotAssembler.Fault.self, "\(bad)") { _ = try assembler.receive(Array(bad.utf8)) }
        }
        guard case .nothing = try assembler.receive(Array("{\"type\":\"news\"}".utf8)) else {
            Issue.record("an unknown message must be ignored")
            return
        }
    }

    @Test func aForwarderLearnsItsShare() throws {
        var assembler = SnapshotAssembler()
        guard case .share(Share(index: 1, of: 4)) = try assembler.receive(SnapshotLines.share(Share(index: 1, of: 4)))
        else {
            Issue.record("no share")
            return
        }
    }

    @Test func everyControlMessageSurvivesItsJourney() throws {
        for message in [
            ControlMessage.stop, .drain(delayMilliseconds: 70, timeoutMilliseconds: 5), .reopenLogs, .listeners,
            .configuration(path: "a/b.yaml"), .applied(snapshot: "1.2"), .refused(reason: "x"),
        ] {
            #expect(try ControlMessage.decode(message.encode()) == message)
        }
        #expect(throws: ControlMessage.Fault.self) { try ControlMessage.decode(Array("{\"type\":\"explode\"}".utf8)) }
    }
}

@Suite struct UnixSocketTests {
    @Test func aMessageCarriesDescriptorsAndTheyWork() throws {
        let (a, b) = try Socket.sequencedPair()
        defer {
            a.close()
            b.close()
        }
        let memory = try Files.sealedMemory(name: "test", Array("configuration".utf8))
        try UnixSocket.send(Array("take this".utf8), descriptors: [memory], on: a)
        memory.close()
        let message = try #require(try UnixSocket.receive(on: b, capacity: 100))
        #expect(message.bytes == Array("take this".utf8))
        #expect(message.descriptors.count == 1)
        #expect(try Files.read(message.descriptors[0], maxBytes: 100) == Array("configuration".utf8))
        message.descriptors[0].close()
        #expect(try UnixSocket.peer(of: a).pid == Process.pid)
    }

    @Test func aMessageLongerThanTheBufferIsMarked() throws {
        let (a, b) = try Socket.sequencedPair()
        defer {
            a.close()
            b.close()
        }
        try UnixSocket.send([UInt8](repeating: 1, count: 100), on: a)
        #expect(try UnixSocket.receive(on: b, capacity: 10)?.isTruncated == true)
    }

    @Test func inheritedDescriptorsAreForTheirProcessOnly() {
        #expect(InheritedDescriptors.parse(pid: "7", count: "1", names: "a", own: 8).entries.isEmpty)
        #expect(InheritedDescriptors.parse(pid: nil, count: "1", names: "a", own: 8).entries.isEmpty)
        #expect(InheritedDescriptors.parse(pid: "8", count: "+1", names: "a", own: 8).entries.isEmpty)
        #expect(InheritedDescriptors.parse(pid: "8", count: "100000", names: "a", own: 8).entries.isEmpty)
    }
}

@Suite struct OptionsTests {
    private let specs = [Options.Spec("config", "c", value: "FILE", help: ""), Options.Spec("json", help: "")]

    @Test func optionsAreReadInEveryForm() throws {
        for arguments in [
            ["-c", "x", "--json", "op"], ["--config=x", "--json", "op"], ["op", "--json", "--config", "x"],
        ] {
            let options = try Options(arguments, specs)
            #expect(options["config"] == "x")
            #expect(options.has("json"))
            #expect(options.operands == ["op"])
        }
        #expect(try Options(["--", "-c"], specs).operands == ["-c"])
    }

    @Test func aSlipIsAnsweredWithASuggestion() {
        #expect(throws: Options.Fault("`--confg` is not an option; did you mean `--config`?")) {
            try Options(["--confg", "x"], specs)
        }
        #expect(throws: Options.Fault.self) { try Options(["--config"], specs) }
        #expect(throws: Options.Fault.self) { try Options(["--json=1"], specs) }
    }
}
