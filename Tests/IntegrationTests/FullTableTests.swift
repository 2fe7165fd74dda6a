import Foundation
import Shared
import Testing

/// What can fill: whoever rests makes room for whoever asks, and the words are true.
@Suite struct FullTableTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    /// serverpy whose processes have so few descriptors.
    private func start(_ services: String, descriptors: Int) throws -> Serverpy {
        try Serverpy(
            services, forwarders: 1, program: "/bin/sh",
            before: ["-c", "ulimit -n \(descriptors); exec \"$0\" \"$@\"", Programs.directory + "/serverpyctl"]
        ).ready()
    }

    private func service(_ name: String, _ port: UInt16) -> String {
        "\"\(name)\": {\"servers\": [\"127.0.0.1:\(port)\"], \"polling\": {\"method\": \"health\", \"endpoint\": \"/health\", \"frequency\": 60}, \"apis\": [\"/\(name)\"]}"
    }

    /// Connections that a burst has left at one service make room for requests to another.
    @Test func connectionsThatRestMakeRoomForAnotherService() throws {
        let (one, two) = (
            try StubInstance { _, _ in .pieces([Self.ok]) }, try StubInstance { _, _ in .pieces([Self.ok]) }
        )
        let serverpy = try start(service("one", one.port) + "," + service("two", two.port), descriptors: 256)
        for (name, stub) in [("one", one), ("two", two), ("one", one)] {
            // All at once, so that each needs a connection of its own.
            let clients = try (0..<40).map { _ in try Client(port: serverpy.requests) }
            for client in clients { try client.send("GET /\(name) HTTP/1.1\r\nHost: h\r\n\r\n") }
            for _ in clients { #expect(stub.waitForRequest()) }
            for _ in clients { stub.release() }
            for client in clients {
                let answer = try client.read()
                #expect(answer.status == 200, "\(name): \(answer.text)")
            }
        }
    }

    /// One after another, so that no request is ever beside another: each of many services gets its connection.
    @Test func manyServicesThatAreAskedOneAfterAnotherAllAnswer() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let names = (0..<300).map { "s\($0)" }
        let serverpy = try start(names.map { service($0, stub.port) }.joined(separator: ","), descriptors: 256)
        let client = try Client(port: serverpy.requests)
        for name in names {
            try client.send("GET /\(name) HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(try client.read().status == 200, "\(name)")
        }
    }

    /// Where every connection is at work, the answer says what is full, with the number.
    @Test func a503NamesTheLimitThatIsReached() throws {
        let stub = try StubInstance { _, _ in .pieces([Self.ok]) }
        let serverpy = try start(service("one", stub.port), descriptors: 256)
        var clients: [Client] = []
        var refusal: Client.Response?
        while refusal == nil, clients.count < 200 {
            let client = try Client(port: serverpy.requests)
            try client.send("GET /one HTTP/1.1\r\nHost: h\r\n\r\n")
            clients.append(client)
            #expect(Eventually.holds { stub.received.count == clients.count || client.descriptor.peek().count != nil })
            if stub.received.count < clients.count { refusal = try client.read() }
        }
        let answer = try #require(refusal)
        #expect(answer.status == 503)
        #expect(answer.text.contains("all \(clients.count - 1) connections to instances"), "\(answer.text)")
        for _ in clients { stub.release() }
    }

    /// Whoever connects and says nothing is idle, too.
    @Test func clientsThatSayNothingMakeRoomForThoseThatAsk() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1, general: ", \"limits\": {\"connections\": 8}"
        ).ready()
        let silent = try (0..<8).map { _ in try Client(port: serverpy.requests) }
        #expect(Eventually.holds { (try? Client.get(serverpy.requests, "/a").status) == 200 })
        for _ in 0..<5 { #expect(try Client.get(serverpy.requests, "/a").status == 200) }
        withExtendedLifetime(silent) {}
    }

    /// A burst of slow clients costs memory while it lasts.
    /// The address sanitizer keeps what was freed.
    @Test(.enabled(if: !Programs.directory.contains("asan"))) func memoryOfABurstGoesBackToTheSystem() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1).ready()
        let forwarder = try #require(try serverpy.pids("forwarderd").first)
        func residentKilobytes() throws -> Int {
            let status = String(decoding: try Files.read("/proc/\(forwarder)/status", maxBytes: 65_536), as: UTF8.self)
            let line = status.split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
            return try #require(
                line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) })
        }
        #expect(try Client.get(serverpy.requests, "/a").status == 200)
        let before = try residentKilobytes()
        let clients = try (0..<600).map { _ in try Client(port: serverpy.requests) }
        let part = "GET /a HTTP/1.1\r\nHost: h\r\nX: " + String(repeating: "x", count: 15_000)
        for client in clients { try client.send(part) }
        #expect(Eventually.holds { (try? residentKilobytes()) ?? 0 > before + 8_000 })
        // The last ones stay, so that what is free lies between what is not.
        for client in clients.dropLast(8) { client.close() }
        #expect(Eventually.holds { (try? residentKilobytes()) ?? .max < before + 4_000 }, "before: \(before) KiB")
        withExtendedLifetime(clients) {}
    }
}
