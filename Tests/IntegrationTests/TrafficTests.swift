import Foundation
import Shared
import Testing

/// The ledger: each request that was accepted has ended in exactly one way, whatever died meanwhile.
@Suite struct TrafficTests {
    private func stats(_ serverpy: Serverpy, _ query: String = "") throws -> Document.Value {
        let answer = try Client.get(serverpy.discovery, "/stats" + query)
        #expect(answer.status == 200)
        return try JSONReader.parse(answer.body).root
    }

    private func ledger(_ serverpy: Serverpy) throws -> [String: UInt64] {
        var ledger: [String: UInt64] = [:]
        for (key, value) in try stats(serverpy)["request_processor"]?.members ?? stats(serverpy).members {
            if let number = value.unsigned { ledger[key.text] = number }
        }
        return ledger
    }

    private static let ends = [
        "answered_by_instance", "answered_by_us", "client_gone", "cut", "lost_with_forwarder", "in_flight",
    ]

    /// A request's end is counted when its answer has been handed over: a client may have it a moment before.
    private func ends(_ serverpy: Serverpy, are expected: [UInt64]) throws -> Bool {
        let isSo = Eventually.holds {
            (try? ledger(serverpy)).map { ledger in Self.ends.map { ledger[$0] } } == expected
        }
        if !isSo { print("the ledger is \(try ledger(serverpy))") }
        return isSo
    }

    private func start(forwarders: Int = 1) throws -> (Serverpy, StubInstance) {
        let stub = try StubInstance { head, _ in
            if head.contains("/a/hang") { return .pieces(["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]) }
            if head.contains("/a/die") { return .close }
            if head.contains("/a/cut") { return .bytesAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok") }
            return .bytes("HTTP/1.1 \(head.contains("/a/bad") ? 500 : 200) X\r\nContent-Length: 2\r\n\r\nok")
        }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: forwarders)
        serverpy.instances = [stub]
        return (try serverpy.ready(), stub)
    }

    @Test func eachEndIsCountedOnceAndTheirSumIsWhatWasAccepted() throws {
        let (serverpy, stub) = try start()
        for _ in 0..<3 { #expect(try Client.get(serverpy.requests, "/a").status == 200) }
        #expect(try Client.get(serverpy.requests, "/a/bad").status == 500)
        #expect(try Client.get(serverpy.requests, "/a/die").status == 502)
        #expect(try Client.get(serverpy.requests, "/nowhere").status == 404)
        #expect(throws: Client.Fault.self) { try Client.get(serverpy.requests, "/a/cut") }
        let bad = try Client(port: serverpy.requests)
        try bad.send("GET /a HTTP/1.1\r\n\r\n")
        #expect(try bad.read().status == 400)
        let gone = try Client(port: serverpy.requests)
        try gone.send("GET /a/hang HTTP/1.1\r\nHost: h\r\n\r\n")
        for _ in 0..<8 { #expect(stub.waitForRequest()) }
        #expect(Eventually.holds { (try? ledger(serverpy)["in_flight"]) == 1 })
        Socket.resetOnClose(gone.descriptor)
        gone.close()
        #expect(try ends(serverpy, are: [4, 3, 1, 1, 0, 0]))
        #expect(try ledger(serverpy)["accepted"] == 9)

        let instance = try #require(stats(serverpy)["service_statistics"]?.elements.first { _ in true })
        let traffic = try #require(instance["traffic"])
        #expect(traffic["tries"]?.unsigned == 8 && traffic["requests"]?.unsigned == 6)
        #expect(traffic["status"]?["2xx"]?.unsigned == 4 && traffic["status"]?["5xx"]?.unsigned == 1)
        #expect(traffic["failures"]?["connection_lost"]?.unsigned == 3, "a kept connection, a fresh one, and the cut")
        #expect(traffic["in_flight"]?.unsigned == 0)
        #expect((traffic["latency_ms"]?["p99"]?.double ?? 0) > 0)
        let sum = try #require(stats(serverpy)["traffic_by_service"]?.elements.first { _ in true })
        #expect(sum["service_name"]?.string == "stub" && sum["traffic"]?["requests"]?.unsigned == 7)
        let counted = try #require(sum["counted_at_ms"]?.unsigned)
        let later = try #require(stats(serverpy)["request_processor"]?["counted_at_ms"]?.unsigned)
        #expect(counted <= later && later <= Clock.monotonicMilliseconds() && later - counted < 60_000)
        let path = try #require(stats(serverpy)["api_statistics"]?.elements.first { _ in true })
        #expect(path["path"]?.string == "/a" && path["traffic"]?["requests"]?.unsigned == 7)
        #expect(path["traffic"]?["answered_by_us"]?.unsigned == 1)
        #expect(path["traffic"]?["status"]?["5xx"]?.unsigned == 2)
    }

    @Test func nothingIsForgottenWhenForwardersAndDiscoverydAreKilled() throws {
        let (serverpy, stub) = try start()
        for _ in 0..<5 { #expect(try Client.get(serverpy.requests, "/a").status == 200) }
        let hanging = try Client(port: serverpy.requests)
        try hanging.send("GET /a/hang HTTP/1.1\r\nHost: h\r\n\r\n")
        for _ in 0..<6 { #expect(stub.waitForRequest()) }
        Signal.kill.send(to: try #require(serverpy.pids("forwarderd").first))
        _ = try? hanging.readToEnd()
        // The listener stands: the next request waits for the next forwarder.
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
        #expect(try ends(serverpy, are: [6, 0, 0, 0, 1, 0]))
        let discoveryd = try #require(serverpy.pids("discoveryd").first)
        Signal.kill.send(to: discoveryd)
        #expect(Eventually.holds { (try? Client.get(serverpy.discovery, "/ready").status) == 200 })
        #expect(try ends(serverpy, are: [6, 0, 0, 0, 1, 0]))
        #expect(try ledger(serverpy)["accepted"] == 7)
        #expect(serverpy.stop() == 0)
        #expect(!FileManager.default.fileExists(atPath: serverpy.runtimeDirectory), "counter files are removed")
    }

    @Test func metricsHaveTheSameNumbers() throws {
        let (serverpy, stub) = try start(forwarders: 2)
        for _ in 0..<20 { #expect(try Client.get(serverpy.requests, "/a").status == 200) }
        #expect(try ends(serverpy, are: [20, 0, 0, 0, 0, 0]))
        let text = try Client.get(serverpy.discovery, "/metrics").text
        let labels = "service=\"stub\",instance=\"127.0.0.1:\(stub.port)\""
        #expect(text.contains("serverpy_requests_total{\(labels),code=\"2xx\"} 20\n"))
        #expect(text.contains("serverpy_request_duration_seconds_count{service=\"stub\"} 20\n"))
        #expect(text.contains("serverpy_requests_ended_total{outcome=\"answered_by_instance\"} 20\n"))
        #expect(text.contains("serverpy_forwarders 2\n"))
    }
}
