import Foundation
import Shared
import Testing

/// Subscribers of both versions of the protocol, on one discoveryd, while services and instances come and go.
@Suite struct ProtocolVersionTests {
    /// A subscriber as it is on the wire.
    private final class Peer {
        private var channel: LineChannel
        private let queue: EventQueue

        init(_ serverpy: Serverpy, _ hello: String?) throws {
            channel = LineChannel(try UnixSocket.connect(.stream, path: serverpy.runtimeDirectory + "/discovery.sock"))
            queue = try EventQueue(eventsPerTurn: 1)
            try queue.add(channel.descriptor, token: 0, interest: [.readable])
            if let hello {
                channel.queue(Array((hello + "\n").utf8))
                _ = try channel.flush()
            }
        }

        deinit { channel.descriptor.close() }

        /// The lines up to the first one that holds `words`; pings and shares are left out.
        func lines(upTo words: String) throws -> [String] {
            var lines: [String] = []
            let end = Date(timeIntervalSinceNow: 20)
            while end.timeIntervalSinceNow > 0 {
                while let line = try channel.nextLine() {
                    let text = String(decoding: line.dropLast(), as: UTF8.self)
                    if text.contains("\"type\":\"ping\"") || text.contains("\"type\":\"share\"") { continue }
                    lines.append(text)
                    if text.contains(words) { return lines }
                }
                _ = try queue.wait(timeoutMilliseconds: Int32(max(0, end.timeIntervalSinceNow * 1000)))
                _ = try channel.receive()
            }
            throw Client.Fault(description: "no `\(words)` in \(lines)")
        }

        /// The next change or whole snapshot; deltas before it are left out.
        func members() throws -> [String] {
            Array(try lines(upTo: "\"phase\":\"end\"").drop { !$0.contains("\"phase\":\"begin\"") })
        }
    }

    private func hello(_ oldest: Int, _ newest: Int) -> String {
        "{\"type\":\"hello\",\"role\":\"observer\",\"protocol\":[\(oldest),\(newest)]}"
    }

    private func services(_ all: [(String, [Int])]) -> String {
        all.map { name, ports in
            "\"\(name)\": {\"servers\": [\(ports.map { "\"127.0.0.1:\($0)\"" }.joined(separator: ","))], \"polling\": {\"method\": \"ping\", \"frequency\": 60}, \"apis\": [\"/\(name)\"]}"
        }.joined(separator: ", ")
    }

    private func numbers(_ lines: [String]) -> [String] {
        lines.flatMap { $0.matches(of: /\{"id":(\d+),"url"/).map { String($0.1) } }
    }

    @Test func eachSubscriberIsToldInItsOwnVersion() throws {
        let serverpy = try Serverpy(services([("a", [1, 2]), ("b", [3])]), forwarders: 1).ready()
        let first = try Peer(serverpy, hello(1, 1))
        let silent = try Peer(serverpy, nil)
        let second = try Peer(serverpy, hello(1, 2))
        let later = try Peer(serverpy, hello(2, 9))
        for (peer, version) in [(first, 1), (silent, 1), (second, 2), (later, 2)] {
            let lines = try peer.members()
            #expect(lines[0].contains("\"protocol\":\(version),"), "\(lines[0])")
            #expect(numbers(lines) == ["0", "1", "2"])
        }
        // One goes, one comes, one stays; a service goes, another comes.
        try serverpy.configure(services([("a", [4, 2]), ("c", [5])]))
        #expect(try serverpy.reload().status == 0)
        for peer in [first, silent] {
            let lines = try peer.members()
            #expect(lines[0].contains("\"type\":\"snapshot\""))
            #expect(numbers(lines) == ["0", "1", "2"], "counted anew, in order")
            #expect(lines.joined().contains("127.0.0.1:4") && !lines.joined().contains("127.0.0.1:3"))
        }
        for peer in [second, later] {
            let lines = try peer.members()
            #expect(lines[0].contains("\"type\":\"change\""), "\(lines[0])")
            let text = lines.joined(separator: "\n")
            #expect(text.contains("\"name\":\"c\"") && text.contains("127.0.0.1:4") && text.contains("127.0.0.1:5"))
            #expect(!text.contains("127.0.0.1:2"), "what stays is not told again")
            #expect(text.contains("\"type\":\"gone\""))
        }
        // Polls of the new instances are told by the number that each subscriber knows.
        #expect(try first.lines(upTo: "\"id\":0,\"status\":\"down\"").last?.contains("delta") == true)
        #expect(serverpy.stop() == 0)
    }

    /// Nothing but the order has changed: who counts instances is told anew, and the others are not.
    @Test func anotherOrderIsNewsForWhoCountsOnly() throws {
        let serverpy = try Serverpy(services([("a", [1, 2]), ("b", [3])]), forwarders: 1).ready()
        let first = try Peer(serverpy, hello(1, 1))
        let second = try Peer(serverpy, hello(2, 2))
        _ = try first.members()
        _ = try second.members()
        try serverpy.configure(services([("b", [3]), ("a", [2, 1])]))
        #expect(try serverpy.reload().status == 0)
        // `reload` sees no difference where only the order is another; discoveryd is told with the next one.
        try serverpy.configure(services([("b", [3]), ("a", [2, 1, 4])]))
        #expect(try serverpy.reload().status == 0)
        let counted = try first.members().joined()
        #expect(
            counted.contains("\"id\":0,\"url\":\"127.0.0.1:3\"") && counted.contains("\"id\":1,\"url\":\"127.0.0.1:2\"")
        )
        let change = try second.members().joined(separator: "\n")
        #expect(change.contains("127.0.0.1:4") && !change.contains("127.0.0.1:2"))
        #expect(serverpy.stop() == 0)
    }

    @Test func aSubscriberOfALaterVersionAloneIsRefusedInWords() throws {
        let serverpy = try Serverpy(services([("a", [1])]), forwarders: 1).ready()
        let peer = try Peer(serverpy, hello(3, 9))
        let lines = try peer.lines(upTo: "error")
        #expect(lines.last?.contains("protocols 1 to 2 are spoken here") == true, "\(lines)")
        #expect(serverpy.stop() == 0)
    }

    /// Much at once is a whole snapshot for everybody, and requests find what is new.
    @Test func aChangeOfManyInstancesIsAWholeSnapshot() throws {
        let serverpy = try Serverpy(services([("a", [1])]), forwarders: 1).ready()
        let peer = try Peer(serverpy, hello(2, 2))
        _ = try peer.members()
        try serverpy.configure(services([("a", Array(1...600))]))
        #expect(try serverpy.reload().status == 0)
        let lines = try peer.members()
        #expect(lines[0].contains("\"type\":\"snapshot\"") && numbers(lines).count == 600)
        #expect(serverpy.stop() == 0)
    }
}
