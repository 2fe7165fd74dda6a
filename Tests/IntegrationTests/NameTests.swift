import Foundation
import Shared
import Testing

/// Names with a name server whose answers the test decides. With real ones: Tests/Names/run.
@Suite struct NameTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    private static func service(_ servers: String..., name: String = "orders", more: String = "") -> String {
        let list = servers.map { "\"\($0)\"" }.joined(separator: ", ")
        return
            "\"\(name)\": {\"servers\": [\(list)], \"polling\": {\"method\": \"health\", \"endpoint\": \"/health\", \"frequency\": 0.2, \"timeout\": 0.2}, \"apis\": [\"/\(name)\"]\(more)}"
    }

    private static func resolver(_ names: StubNameServer) -> String {
        ", \"resolver\": {\"servers\": [\"127.0.0.1:\(names.port)\"]}"
    }

    /// Instances on one port of several loopback addresses.
    private static func instances(_ addresses: [String]) throws -> (port: UInt16, [StubInstance]) {
        while true {
            let first = try StubInstance(on: try #require(SocketAddress(literal: addresses[0], port: 0))) { _, _ in
                .bytes(ok)
            }
            let others = try? addresses.dropFirst().map {
                try StubInstance(on: try #require(SocketAddress(literal: $0, port: first.port))) { _, _ in .bytes(ok) }
            }
            if let others { return (first.port, [first] + others) }
        }
    }

    private static func rows(_ serverpy: Serverpy, _ service: String = "orders") throws -> [Document.Value] {
        let root = try JSONReader.parse(
            Array(try Client.get(serverpy.discovery, "/stats?service=\(service)").text.utf8)
        )
        .root
        return root["service_statistics"]?.elements.map { $0 } ?? []
    }

    private static func up(_ serverpy: Serverpy, _ service: String = "orders") throws -> [String] {
        try rows(serverpy, service).filter { $0["status"]?.string == "up" }.compactMap {
            $0["addresses"]?.elements.first { _ in true }?.string
        }
    }

    @Test func eachAddressIsPolledShownDrainedAndChosenOnItsOwn() throws {
        let (port, stubs) = try Self.instances(["127.0.0.1", "127.0.0.2"])
        let names = try StubNameServer(["orders.test": .addresses(["127.0.0.1", "127.0.0.2", "127.0.0.3"])])
        defer { names.stop() }
        let serverpy = try Serverpy(
            Self.service("orders.test:\(port)", more: ", \"balance\": \"round_robin\""), forwarders: 1,
            general: Self.resolver(names)
        ).ready()
        let rows = try Self.rows(serverpy)
        #expect(rows.map { $0["instance_url"]?.string } == Array(repeating: "orders.test:\(port)", count: 3))
        #expect(rows.map { $0["address"]?.string } == (1...3).map { "127.0.0.\($0):\(port)" })
        #expect(rows.map { $0["status"]?.string } == ["up", "up", "down"])
        for _ in 0..<40 { #expect(try Client.get(serverpy.requests, "/orders").status == 200) }
        #expect(stubs.allSatisfy { $0.received.count >= 15 }, "\(stubs.map(\.received.count))")
        let status = try Programs.run(["status", "--runtime-dir", serverpy.runtimeDirectory]).output
        #expect(status.contains("127.0.0.3:\(port)") && status.contains("connection refused"), "\(status)")
        let explained = try Programs.run(["explain", "GET", "/orders", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(explained.output.contains("orders.test:\(port) 127.0.0.3:\(port)"), "\(explained.output)")
        let metrics = try Client.get(serverpy.discovery, "/metrics").text
        #expect(
            metrics.contains(
                "serverpy_instance_up{service=\"orders\",instance=\"orders.test:\(port)\",address=\"127.0.0.3:\(port)\"} 0"
            )
        )
        // One by its address, then all by the name.
        func drain(_ command: String, _ what: String) throws -> [Bool?] {
            #expect(
                try Programs.run([command, "orders", what, "--runtime-dir", serverpy.runtimeDirectory]).status == 0)
            return try Self.rows(serverpy).map { $0["draining"]?.boolean }
        }
        #expect(try drain("drain", "127.0.0.2:\(port)") == [false, true, false])
        let before = stubs[1].received.count
        for _ in 0..<10 { #expect(try Client.get(serverpy.requests, "/orders").status == 200) }
        #expect(stubs[1].received.count == before)
        #expect(try drain("drain", "orders.test:\(port)") == [true, true, true])
        #expect(try drain("undrain", "orders.test:\(port)") == [false, false, false])
    }

    @Test func aNameWithOneAddressLooksLikeAnyInstanceAndMovesWithIt() throws {
        let (port, stubs) = try Self.instances(["127.0.0.1", "127.0.0.2"])
        defer { withExtendedLifetime(stubs) {} }
        let names = try StubNameServer(["orders.test": .addresses(["127.0.0.1"])])
        defer { names.stop() }
        let serverpy = try Serverpy(
            Self.service("orders.test:\(port)"), forwarders: 1, general: Self.resolver(names)
        ).ready()
        #expect(try Self.rows(serverpy).map { $0["address"]?.string } == [nil])
        let status = try Programs.run(["status", "--runtime-dir", serverpy.runtimeDirectory]).output
        #expect(!status.contains("ADDRESS"), "\(status)")
        names.set("orders.test", .addresses(["127.0.0.2"]))
        #expect(Eventually.holds { (try? Self.up(serverpy)) == ["127.0.0.2:\(port)"] })
        #expect(try Client.get(serverpy.requests, "/orders").status == 200)
    }

    @Test func whatANameServerDoesNotSayChangesNothing() throws {
        let (port, stubs) = try Self.instances(["127.0.0.1"])
        defer { withExtendedLifetime(stubs) {} }
        let names = try StubNameServer(["orders.test": .addresses(["127.0.0.1"]), "other.test": .silence])
        defer { names.stop() }
        let serverpy = try Serverpy(
            Self.service("orders.test:\(port)") + ", " + Self.service("other.test:\(port)", name: "other"),
            forwarders: 1, general: Self.resolver(names)
        ).ready()
        for answer in [StubNameServer.Answer.failure, .silence, .noSuchName] {
            names.set("orders.test", answer)
            let count = names.asked.count
            #expect(Eventually.holds { names.asked.dropFirst(count).filter { $0 == "orders.test" }.count >= 2 })
            #expect(try Self.up(serverpy) == ["127.0.0.1:\(port)"])
        }
        // The third time that there is no such name it is believed.
        #expect(
            Eventually.holds {
                (try? Self.rows(serverpy).map { $0["response"]?.string }) == ["name not resolved"]
            })
        names.set("orders.test", .addresses(["127.0.0.1"]))
        #expect(Eventually.holds { (try? Client.get(serverpy.requests, "/orders").status) == 200 })
    }

    @Test func aStartDoesNotDependOnDNS() throws {
        let (port, stubs) = try Self.instances(["127.0.0.1", "127.0.0.2"])
        defer { withExtendedLifetime(stubs) {} }
        let names = try StubNameServer(["orders.test": .addresses(["127.0.0.1", "127.0.0.2"])])
        defer { names.stop() }
        let serverpy = try Serverpy(
            Self.service("orders.test:\(port)"), forwarders: 1, general: Self.resolver(names)
        ).ready()
        #expect(
            try Programs.run(["drain", "orders", "127.0.0.2:\(port)", "--runtime-dir", serverpy.runtimeDirectory])
                .status
                == 0)
        #expect(serverpy.stop() == 0)
        names.set("orders.test", .failure)
        let again = try Running(
            program: "serverpyctl",
            arguments: [
                "start", serverpy.directory + "/c.json", "--runtime-dir", serverpy.runtimeDirectory, "--state-dir",
                serverpy.directory + "/state", "--forwarders", "1",
            ])
        defer { again.signal(.kill) }
        #expect(again.waitForError("ready: ")?.contains("2 of 2 instances up") == true, "\(again.errors)")
        let text = try Programs.run(["stats", "--runtime-dir", serverpy.runtimeDirectory]).output
        #expect(text.contains("\"draining\":true") && text.contains("127.0.0.2:\(port)"), "\(text)")
        again.signal(.terminate)
        #expect(again.waitForExit() == 0)
    }

    @Test func aLongAnswerIsAskedForOverTCP() throws {
        let all = (1...60).map { "127.0.1.\($0)" }
        let names = try StubNameServer(["orders.test": .addresses(all)])
        defer { names.stop() }
        let serverpy = try Serverpy(
            Self.service("orders.test:9"), forwarders: 1, general: Self.resolver(names)
        ).ready()
        #expect(try Self.rows(serverpy).count == 60 && names.askedOverTCP >= 1)
    }

    @Test func recordsOfAServiceBringPortsAndTiers() throws {
        let (a, b) = (try StubInstance { _, _ in .bytes(Self.ok) }, try StubInstance { _, _ in .bytes(Self.ok) })
        let names = try StubNameServer([
            "_http._tcp.shop.test": .services([(10, 1, a.port, "here.test"), (20, 1, b.port, "here.test")]),
            "here.test": .addresses(["127.0.0.1"]),
        ])
        defer { names.stop() }
        let serverpy = try Serverpy(
            Self.service("srv:_http._tcp.shop.test", name: "shop"), forwarders: 1, general: Self.resolver(names)
        ).ready()
        #expect(try Set(Self.up(serverpy, "shop")) == ["127.0.0.1:\(a.port)", "127.0.0.1:\(b.port)"])
        for _ in 0..<20 { #expect(try Client.get(serverpy.requests, "/shop").status == 200) }
        #expect(a.received.count == 20 && b.received.isEmpty, "the lowest priority number goes first")
        names.set("_http._tcp.shop.test", .services([(20, 1, b.port, "here.test")]))
        #expect(
            Eventually.holds { (try? Self.up(serverpy, "shop")) == ["127.0.0.1:\(b.port)"] })
        #expect(try Client.get(serverpy.requests, "/shop").status == 200)
        #expect(b.received.count == 1 && b.received[0].contains("Host: "))
    }

    /// One bad zone among many names: nobody waits for it.
    @Test func namesWaitForNoOtherName() throws {
        let (port, stubs) = try Self.instances(["127.0.0.1"])
        defer { withExtendedLifetime(stubs) {} }
        var answers: [String: StubNameServer.Answer] = ["good.test": .addresses(["127.0.0.1"])]
        for number in 0..<40 { answers["n\(number).dead"] = .silence }
        let names = try StubNameServer(answers)
        defer { names.stop() }
        let dead = (0..<40).map { Self.service("n\($0).dead:80", name: "dead\($0)") }.joined(separator: ", ")
        let serverpy = try Serverpy(
            dead + ", " + Self.service("good.test:\(port)", name: "good"), forwarders: 1, general: Self.resolver(names)
        ).ready()
        #expect(try Self.up(serverpy, "good") == ["127.0.0.1:\(port)"])
        #expect(try Client.get(serverpy.requests, "/good").status == 200)
    }

    /// More lines than polls may begin at a time: those that wait for the name's first answer give way to those that come of it, all at once.
    @Test func manyLinesOfOneNameStartTogether() throws {
        let names = try StubNameServer(["orders.test": .addresses(["127.0.0.1"])])
        defer { names.stop() }
        let count = Limits.pollsInFlight + 200
        let servers = (1...count).map { "\"orders.test:\($0)\"" }.joined(separator: ", ")
        let service =
            "\"orders\": {\"servers\": [\(servers)], \"polling\": {\"method\": \"ping\", \"frequency\": 60}, \"apis\": [\"/orders\"]}"
        let serverpy = try Serverpy(service, forwarders: 1, general: Self.resolver(names)).ready()
        let rows = try Self.rows(serverpy)
        #expect(rows.count == count && rows.allSatisfy { $0["response"]?.string != "name not resolved" })
        #expect(!serverpy.running.errors.contains { $0.contains("killed by") || $0.contains("ended with") })
    }

    /// Two lines of one name whose first family does not answer: it is left once, for both.
    @Test func theFamilyOfANameIsChangedOnceForAllItsLines() throws {
        let six = SocketAddress(ipv6High: 0, low: 1, port: 0)
        guard let one = try? StubInstance(on: six, { _, _ in .bytes(Self.ok) }) else { return }
        let other = try StubInstance(on: six) { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(
            Self.service("localhost:\(one.port)", "localhost:\(other.port)"), forwarders: 1
        ).ready()
        #expect(try Set(Self.up(serverpy)) == ["[::1]:\(one.port)", "[::1]:\(other.port)"])
        let polls = try Self.rows(serverpy).compactMap { $0["polls"]?.unsigned }
        #expect(polls.count == 2 && polls.allSatisfy { $0 <= 3 }, "\(polls)")
        #expect(try Client.get(serverpy.requests, "/orders").status == 200)
        withExtendedLifetime((one, other)) {}
    }
}
