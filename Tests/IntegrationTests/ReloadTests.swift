import Foundation
import Shared
import Synchronization
import Testing

@Suite struct ReloadTests {
    private func service(_ samples: [Sample], paths: String = "\"/hello\"", name: String = "s") -> String {
        let servers = samples.map { "\"127.0.0.1:\($0.port)\"" }.joined(separator: ",")
        return
            "\"\(name)\": {\"servers\": [\(servers)], \"polling\": {\"method\": \"health\", \"endpoint\": \"/health\"}, \"apis\": [\(paths)]}"
    }

    @Test func whatIsNewIsServedWhatIsGoneIsNotAndTheRestIsKept() throws {
        let (one, two) = (try Sample("one"), try Sample("two"))
        let serverpy = try Serverpy(service([one])).ready()
        let before = try Client.get(serverpy.discovery, "/stats").text
        let since = try #require(before.firstMatch(of: /"check_start_time":"([^"]+)"/)).1
        let client = try Client(port: serverpy.requests)
        try serverpy.configure(service([two, one], paths: "\"/hello\", \"/new\""))
        let result = try serverpy.reload()
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output == "+ instance s 127.0.0.1:\(two.port)\n+ route /new s")
        let stats = try Client.get(serverpy.discovery, "/stats?instance=127.0.0.1:\(one.port)").text
        #expect(stats.contains("\"check_start_time\":\"\(since)\""), "its history is kept: \(stats)")
        #expect(
            try serverpy.waitForSnapshot {
                $0.contains(":\(two.port)\",\"priority\":\"med\",\"weight\":1,\"status\":\"up\"")
                    || $0.contains("\"id\":0,\"status\":\"up\"")
            })
        #expect(try Client.get(serverpy.requests, "/new").status == 200, "\(serverpy.running.errors)")
        // A connection from before goes on, and the new instance gets its share.
        var names: Set<String> = []
        for _ in 0..<40 {
            try client.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
            names.insert(try client.read().text.contains("\"one\"") ? "one" : "two")
        }
        #expect(names == ["one", "two"])
        try serverpy.configure(service([two], paths: "\"/hello\""))
        #expect(try serverpy.reload().output == "- instance s 127.0.0.1:\(one.port)\n- route /new s")
        #expect(try Client.get(serverpy.requests, "/new").status == 404)
        for _ in 0..<20 { #expect(try Client.get(serverpy.requests, "/hello").text.contains("\"two\"")) }
        #expect(serverpy.stop() == 0)
    }

    @Test func aBadConfigurationIsRefusedWithItsErrorsAndTheOldGoesOn() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one])).ready()
        try serverpy.configure(service([one], paths: "\"hello\""))
        let result = try serverpy.reload()
        #expect(result.status == 78)
        #expect(
            result.errors.contains("c.json:1:") && result.errors.contains("does not begin with /"), "\(result.errors)")
        #expect(try Client.get(serverpy.requests, "/hello").status == 200)
    }

    @Test func aDryRunSaysWhatWouldChangeAndChangesNothing() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one])).ready()
        try serverpy.configure(service([one], paths: "\"/other\""))
        #expect(try serverpy.reload(["--dry-run"]).output == "- route /hello s\n+ route /other s")
        #expect(try Client.get(serverpy.requests, "/other").status == 404)
        #expect(try Client.get(serverpy.requests, "/hello").status == 200)
    }

    @Test func aReloadThatAForwarderDoesNotFollowIsUndoneAndWhatCameMeanwhileIsDone() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one]), forwarders: 1).ready()
        let forwarder = try #require(try serverpy.pids("forwarderd").first)
        Signal(SIGSTOP).send(to: forwarder)
        try serverpy.configure(service([one], paths: "\"/other\""))
        let result = try serverpy.reload()
        Signal(SIGCONT).send(to: forwarder)
        #expect(result.status == 1)
        #expect(result.errors.contains("0 of 1 forwarders"), "\(result.errors)")
        // It goes through all that it has missed, one after the other.
        #expect(
            Eventually.holds {
                guard let health = try? Client.get(serverpy.discovery, "/health").text,
                    let stats = try? Client.get(serverpy.discovery, "/stats").text,
                    let version = health.split(separator: "\"snapshot\":\"").last?.prefix(while: { $0 != "\"" })
                else { return false }
                return stats.contains("\"snapshot\":\"\(version)\"")
            })
        #expect(try Client.get(serverpy.requests, "/hello").status == 200)
        #expect(try Client.get(serverpy.requests, "/other").status == 404)
        serverpy.running.signal(.hangUp)
        #expect(serverpy.running.waitForError("reloaded, snapshot") != nil)
        #expect(try Client.get(serverpy.requests, "/other").status == 200)
        #expect(serverpy.stop() == 0)
    }

    @Test func anotherAddressOfTheSamePortIsOpenedBesideTheOldOne() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one])).ready()
        let port = serverpy.requests
        let fixed = ", \"request_processor_port\": \(port)"
        try serverpy.configure(service([one]), general: fixed)
        #expect(try serverpy.reload().status == 0)
        let text = String(decoding: try Files.read(serverpy.directory + "/c.json", maxBytes: 1 << 20), as: UTF8.self)
        let everywhere = text.replacingOccurrences(of: "\"request_processor_host\": \"127.0.0.1\", ", with: "")
        #expect(everywhere != text)
        try Data(everywhere.utf8).write(to: URL(fileURLWithPath: serverpy.directory + "/c.json"), options: .atomic)
        let result = try serverpy.reload()
        #expect(result.status == 0, "\(result.errors)")
        #expect(try Client.get(port, "/hello").status == 200)
        let (other, connected) = try Socket.connect(to: SocketAddress(ipv4: 0x7f00_0002, port: port))
        defer { other.close() }
        #expect(connected || Eventually.holds { other.isWritable && Socket.pendingError(other) == nil })
        #expect(serverpy.stop() == 0)
    }

    @Test func aNumberOfForwardersGivenAtTheStartIsNotChangedByAReload() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one]), forwarders: 1).ready()
        try serverpy.configure(service([one], paths: "\"/other\""), general: ", \"forwarders\": 3")
        let result = try serverpy.reload()
        #expect(result.status == 0 && result.output.contains("`forwarders` stays 1"), "\(result)")
        #expect(try Client.get(serverpy.requests, "/other").status == 200, "the rest of the file is in force")
        #expect(try serverpy.pids("forwarderd").count == 1)
    }

    /// However long the answer would be, it comes, and says what has happened.
    @Test func anAnswerToAReloadOfVeryMuchComesWhole() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one]), forwarders: 1).ready()
        let many = (0..<4000).map { number in
            "\"a service with a rather long name, so that all of them fill many a message: number \(number)\": {\"servers\": [\"127.0.0.1:\(one.port)\"], \"polling\": {\"method\": \"ping\", \"frequency\": 600}, \"apis\": [\"/s\(number)\"]}"
        }.joined(separator: ",")
        try serverpy.configure(service([one]) + "," + many)
        let result = try serverpy.reload()
        #expect(result.status == 0, "\(result.errors.prefix(500))")
        #expect(
            result.output.contains("+ 4000 services: a service with a rather long name"), "\(result.output.prefix(500))"
        )
        #expect(result.output.utf8.count < 2000)
        #expect(try Client.get(serverpy.requests, "/s3999").status != 404)
        try serverpy.configure(service([one]))
        let back = try serverpy.reload()
        #expect(back.status == 0 && back.output.contains("- 4000 services: "), "\(back.output.prefix(500))")
    }

    /// Connections that wait at the old listener when it is replaced, or come just then, are served.
    @Test(arguments: ["request_processor", "discovery_server"]) func aListenerThatMovesLosesNoConnection(
        _ server: String
    )
        throws
    {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one])).ready()
        let (port, path) =
            server == "request_processor" ? (serverpy.requests, "/hello") : (serverpy.discovery, "/ready")
        func configure(_ host: String) throws {
            let text =
                "{\(service([one])), \"meta-info\": {\"request_processor_port\": \(serverpy.requests), \"discovery_server_port\": \(serverpy.discovery), \"\(server)_host\": \"\(host)\"}}"
            try Data(text.utf8).write(to: URL(fileURLWithPath: serverpy.directory + "/c.json"), options: .atomic)
        }
        let isOver = Mutex(false)
        let results = Mutex<[String]>([])
        let finished = DispatchSemaphore(value: 0)
        for _ in 0..<4 {
            Thread.detachNewThread {
                while !isOver.withLock({ $0 }) {
                    let result: String
                    do { result = "\(try Client.get(port, path).status)" } catch { result = "\(error)" }
                    results.withLock { $0.append(result) }
                }
                finished.signal()
            }
        }
        for round in 0..<6 {
            try configure(round % 2 == 0 ? "0.0.0.0" : "127.0.0.1")
            let before = results.withLock { $0.count }
            let result = try serverpy.reload()
            #expect(result.status == 0, "\(result.errors)")
            // Each listener has served some when the next one takes its place, however slow the machine is.
            #expect(Eventually.holds { results.withLock { $0.count } >= before + 10 })
        }
        isOver.withLock { $0 = true }
        for _ in 0..<4 { finished.wait() }
        let all = results.withLock { $0 }
        #expect(all.filter { $0 != "200" } == [])
    }

    @Test func aSignalReloadsToo() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one])).ready()
        try serverpy.configure(service([one], paths: "\"/other\""))
        serverpy.running.signal(.hangUp)
        #expect(serverpy.running.waitForError("reloaded, snapshot") != nil)
        #expect(try Client.get(serverpy.requests, "/other").status == 200)
    }

    @Test func watchReloadsWhenTheFileIsReplaced() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one]), extra: ["--watch"]).ready()
        try serverpy.configure(service([one], paths: "\"/other\""))
        #expect(serverpy.running.waitForError("reloaded, snapshot") != nil)
        #expect(try Client.get(serverpy.requests, "/other").status == 200)
    }

    @Test func aChangedPortIsOpenedAndTheOldOneClosed() throws {
        let one = try Sample("one")
        let free = try Socket.listen(on: .loopback(port: 0))
        let port = try #require(try Socket.localAddress(free)).port
        free.close()
        let serverpy = try Serverpy(service([one])).ready()
        try serverpy.configure(service([one]), general: ", \"request_processor_port\": \(port)")
        let result = try serverpy.reload()
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output == "~ request_processor_port 0 -> \(port)")
        #expect(try Client.get(port, "/hello").status == 200)
        let taken = try Socket.listen(on: .loopback(port: 0))
        defer { taken.close() }
        let inUse = try #require(try Socket.localAddress(taken)).port
        try serverpy.configure(service([one], paths: "\"/x\""), general: ", \"request_processor_port\": \(inUse)")
        let failed = try serverpy.reload()
        #expect(failed.status == 1)
        #expect(failed.errors.contains("in use"))
        #expect(try Client.get(port, "/hello").status == 200, "nothing of it has happened")
    }

    @Test func theNumberOfForwardersFollowsTheConfiguration() throws {
        let one = try Sample("one")
        let serverpy = try Serverpy(service([one]), forwarders: nil, general: ", \"forwarders\": 1").ready()
        #expect(try serverpy.pids("forwarderd").count == 1)
        for count in [3, 1, 2] {
            try serverpy.configure(service([one]), general: ", \"forwarders\": \(count)")
            #expect(try serverpy.reload().status == 0)
            let end = Date(timeIntervalSinceNow: 10)
            func running() throws -> Int { try serverpy.pids("forwarderd").filter { $0 != 0 }.count }
            while try running() != count, end.timeIntervalSinceNow > 0 {
                #expect(try Client.get(serverpy.requests, "/hello").status == 200)
            }
            #expect(try running() == count)
        }
        #expect(serverpy.stop() == 0)
    }

    @Test func reloadsUnderLoadFailNoRequest() throws {
        let (one, two) = (try Sample("one"), try Sample("two"))
        let serverpy = try Serverpy(service([one])).ready()
        let client = try Client(port: serverpy.requests)
        for round in 0..<20 {
            try serverpy.configure(
                service(
                    round % 2 == 0 ? [one, two] : [two, one],
                    paths: round % 3 == 0 ? "\"/hello\", \"/x\"" : "\"/hello\""))
            serverpy.running.signal(.hangUp)
            for _ in 0..<20 {
                try client.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
                #expect(try client.read().status == 200)
                #expect(try Client.get(serverpy.requests, "/hello").status == 200)
            }
        }
        #expect(serverpy.stop() == 0)
    }

    /// Nobody waits for the answer to a signal, so nobody would ask again.
    @Test func aSignalThatComesWhileDiscoverydIsAwayIsNotForgotten() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(StubInstance.service([sample.port]), forwarders: 1).ready()
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        try serverpy.configure(StubInstance.service([sample.port], paths: "\"/a\", \"/new\""))
        Signal.kill.send(to: discoveryd)
        #expect(serverpy.running.waitForError("killed by SIGKILL") != nil)
        serverpy.running.signal(.hangUp)
        #expect(serverpy.running.waitForError("reloaded, snapshot") != nil, "\(serverpy.running.errors)")
        #expect(try Client.get(serverpy.requests, "/new").status == 200, "\(serverpy.running.errors)")
    }
}
