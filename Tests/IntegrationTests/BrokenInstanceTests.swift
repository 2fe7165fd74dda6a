import Foundation
import Shared
import Testing

/// Instances that are broken in every way, and what polls say of them: a packet with its cause, within the time-out.
@Suite struct BrokenInstanceTests {
    /// Instances that answer anything but HTTP, and what is said of them.
    @Test(arguments: [
        ("SSH-2.0-OpenSSH_9\r\n", "bad HTTP: not HTTP/1"),
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "bad status 500"),
        ("", "closed without an answer"),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "bad status 302"),
        (
            "HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 20_000),
            "bad HTTP: head larger than `limits.head_size`"
        ),
        (String(repeating: "HTTP/1.1 102 Processing\r\n\r\n", count: 4000), "bad HTTP: interim answers without end"),
    ])
    func aBrokenInstanceGetsAPacketWithItsCause(_ answer: String, _ words: String) throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        try listener.setNonBlocking(false)
        let port = try #require(try Socket.localAddress(listener)).port
        Thread.detachNewThread {
            while let (descriptor, _) = try? Socket.accept(listener) {
                try? descriptor.setNonBlocking(false)
                var bytes = [UInt8](repeating: 0, count: 4096)
                var span = bytes.mutableSpan
                _ = descriptor.receive(into: &span)
                _ = descriptor.send(Array(answer.utf8).span)
                Socket.shutdownWrite(descriptor)
                descriptor.close()
            }
        }
        defer { Socket.shutdownBoth(listener) }
        let serverpy = try Serverpy(StubInstance.service([port]), forwarders: 1).ready()
        let stats = try Client.get(serverpy.discovery, "/stats").text
        #expect(stats.contains("\"response\":\"\(words)\""), "\(stats)")
        #expect(stats.contains("\"status\":\"down\""))
    }

    @Test func anInstanceThatAnswersNothingTimesOut() throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        defer { listener.close() }
        let port = try #require(try Socket.localAddress(listener)).port
        let serverpy = try Serverpy(
            StubInstance.service([port], polling: ", \"frequency\": 1, \"timeout\": 0.3"), forwarders: 1
        ).ready()
        #expect(try Client.get(serverpy.discovery, "/stats").text.contains("\"response\":\"timed out\""))
    }

    /// What a broken instance does with each connection, and the words for it.
    enum Manner: String, CaseIterable {
        case aByteASecond, reset, endlessBody

        var words: String {
            switch self {
            case .aByteASecond: "timed out"
            case .reset: "connection reset"
            // The head is the verdict.
            case .endlessBody: "status 200"
            }
        }

        func serve(_ descriptor: Descriptor) {
            var bytes = [UInt8](repeating: 0, count: 4096)
            var span = bytes.mutableSpan
            _ = descriptor.receive(into: &span)
            switch self {
            case .aByteASecond:
                for byte in "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8 {
                    guard descriptor.send([byte].span).count != nil else { break }
                    Thread.sleep(forTimeInterval: 1)
                }
            case .reset: Socket.resetOnClose(descriptor)
            case .endlessBody:
                _ = descriptor.send(Array("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n".utf8).span)
                let body = [UInt8](repeating: 0x78, count: 65_536)
                while descriptor.send(body.span).count != nil {}
            }
            descriptor.close()
        }
    }

    @Test(arguments: Manner.allCases)
    func aMannerOfFailingIsTold(_ manner: Manner) throws {
        let listener = try Socket.listen(on: .loopback(port: 0))
        try listener.setNonBlocking(false)
        let port = try #require(try Socket.localAddress(listener)).port
        Thread.detachNewThread {
            while let (descriptor, _) = try? Socket.accept(listener) {
                try? descriptor.setNonBlocking(false)
                Thread.detachNewThread { manner.serve(descriptor) }
            }
        }
        defer { Socket.shutdownBoth(listener) }
        let serverpy = try Serverpy(
            StubInstance.service([port], polling: ", \"frequency\": 0.5, \"timeout\": 0.4"), forwarders: 1
        ).ready()
        let before = try residentBytes(serverpy)
        // Some polls of it, each ended within its time-out.
        #expect(
            Eventually.holds {
                let text = (try? Client.get(serverpy.discovery, "/dump").text) ?? ""
                return text.components(separatedBy: "\"response\":\"\(manner.words)\"").count > 5
            })
        // The address sanitizer keeps what was freed.
        if !Programs.directory.contains("asan") {
            #expect(try residentBytes(serverpy) < before + (8 << 20), "memory is bounded")
        }
    }

    private func residentBytes(_ serverpy: Serverpy) throws -> Int {
        let pid = try #require(try serverpy.pids("discoveryd").first)
        let fields = try String(contentsOfFile: "/proc/\(pid)/statm", encoding: .utf8).split(separator: " ")
        return (Int(fields[1]) ?? 0) * 4096
    }

    /// A name may have several addresses: one that answers is enough, and only that one is used.
    @Test func ofANamesAddressesThoseThatAnswerAreUsed() throws {
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        let service =
            "\"stub\": {\"servers\": [\"localhost:\(stub.port)\"], \"polling\": {\"method\": \"health\", \"endpoint\": \"/health\"}, \"apis\": [\"/a\"]}"
        let serverpy = try Serverpy(service, forwarders: 1).ready()
        let stats = try Client.get(serverpy.discovery, "/stats").text
        #expect(
            stats.contains("\"status\":\"up\"") && stats.contains("\"addresses\":[\"127.0.0.1:\(stub.port)\"]"),
            "\(stats)")
        #expect(try Client.get(serverpy.requests, "/a").text == "ok")
    }

    @Test func aRefusingInstanceIsToldAtOnce() throws {
        // A port that the system gives to nobody, another test least of all.
        let serverpy = try Serverpy(StubInstance.service([1]), forwarders: 1).ready()
        let stats = try Client.get(serverpy.discovery, "/stats").text
        #expect(stats.contains("\"response\":\"connection refused\"") && stats.contains("\"status\":\"down\""))
    }
}
