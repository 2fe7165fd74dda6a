import Foundation
import Shared
import Synchronization
import Testing

/// Whole exchanges between clients that send damaged requests and instances that send damaged answers, beside an honest client:
/// whatever the others do, it gets its own answer or an error, never somebody else's bytes. Two seconds;
/// SERVERPY_FUZZ_SECONDS=600 looks longer, SERVERPY_FUZZ_SEED=N repeats a run's choices.
@Suite struct ExchangeFuzzTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let seconds = Double(environment["SERVERPY_FUZZ_SECONDS"] ?? "") ?? 2
    private static let seed = UInt64(environment["SERVERPY_FUZZ_SEED"] ?? "") ?? SystemRandom.word()

    private static let requests = [
        "GET /evil/x HTTP/1.1\r\nHost: h\r\nX-Id: evil\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nX-Id: evil\r\nContent-Length: 11\r\n\r\nhello world",
        "POST /a HTTP/1.1\r\nHost: h\r\nX-Id: evil\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nX-Id: evil\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
        "GET /a HTTP/1.1\r\nHost: h\r\nX-Id: evil\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "GET http://h/a HTTP/1.0\r\nX-Id: evil\r\nConnection: keep-alive\r\n\r\n",
    ]
    private static let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "HTTP/1.0 200 OK\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 304 N\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevilHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ]
    private static let pieces = [
        "\r\n", "\n", "\r", "\0", " ", ":", "0\r\n\r\n", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n",
        "ffffffffffffffff\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nX-Id: evil\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "Connection: close\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
    ]

    private static func damaged(_ texts: [String], _ random: inout SplitMix) -> [UInt8] {
        var text = Array(texts[Int(random.next() % UInt64(texts.count))].utf8)
        for _ in 0..<random.next() % 4 {
            let place = text.isEmpty ? 0 : Int(random.next() % UInt64(text.count))
            switch random.next() % 4 {
            case 0 where !text.isEmpty: text[place] = UInt8(truncatingIfNeeded: random.next())
            case 1 where !text.isEmpty: text.removeSubrange(place..<min(text.count, place + 3))
            case 2: text.insert(contentsOf: pieces[Int(random.next() % UInt64(pieces.count))].utf8, at: place)
            default: text += Array(texts[Int(random.next() % UInt64(texts.count))].utf8)
            }
        }
        return text
    }

    /// An instance that is honest to `/a` with an id and evil to all else.
    private final class Instance: Sendable {
        let port: UInt16
        private let listener: Descriptor

        init(seed: UInt64) throws {
            listener = try Socket.listen(on: .loopback(port: 0))
            try listener.setNonBlocking(false)
            port = try Socket.localAddress(listener)?.port ?? 0
            let listener = listener
            Thread.detachNewThread {
                var number: UInt64 = 0
                while let (descriptor, _) = try? Socket.accept(listener) {
                    number += 1
                    let random = SplitMix(seed: seed &+ number)
                    try? descriptor.setNonBlocking(false)
                    Thread.detachNewThread { Self.serve(descriptor, random) }
                }
                listener.close()
            }
        }

        deinit { Socket.shutdownBoth(listener) }

        private static func serve(_ descriptor: Descriptor, _ random: SplitMix) {
            defer { descriptor.close() }
            var random = random
            var input: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 65536)
            while true {
                var head = RequestHead()
                while (try? head.parse(input.span)) != true {
                    var span = chunk.mutableSpan
                    guard let count = descriptor.receive(into: &span).count, count > 0, input.count < 1 << 20 else {
                        return
                    }
                    input += chunk[..<count]
                }
                let text = String(decoding: input[..<head.byteCount], as: UTF8.self)
                input.removeFirst(head.byteCount)
                let id = text.split(separator: "\r\n").first { $0.hasPrefix("X-Id: ") }?.dropFirst(6) ?? "none"
                let answer: [UInt8]
                if text.hasPrefix("GET /health ") || id.hasPrefix("honest") {
                    answer = Array("HTTP/1.1 200 OK\r\nContent-Length: \(id.utf8.count)\r\n\r\n\(id)".utf8)
                } else {
                    answer = damaged(ExchangeFuzzTests.answers, &random)
                }
                // In one piece, or in two.
                let cut = random.next() % 2 == 0 ? answer.count : answer.count / 2
                for part in [answer[..<cut], answer[cut...]] where !part.isEmpty {
                    guard descriptor.send(Array(part).span).count != nil else { return }
                }
                if !id.hasPrefix("honest"), random.next() % 3 == 0 { return }
            }
        }
    }

    @Test func anHonestClientIsNeverGivenAnothersBytes() throws {
        let instances = try (0..<2).map { try Instance(seed: Self.seed &+ UInt64($0) &* 1_000_000) }
        let serverpy = try Serverpy(
            StubInstance.service(
                instances.map(\.port), paths: "\"/a\", \"/evil\"",
                policy: ", \"timeouts\": {\"first_byte\": 0.2, \"idle\": 0.2, \"tunnel\": 0.2}"),
            forwarders: 1, general: ", \"timeouts\": {\"head\": 0.2}"
        ).ready()
        let forwarder = try serverpy.pids("forwarderd")
        let end = Date(timeIntervalSinceNow: Self.seconds)
        let port = serverpy.requests
        let rounds = Atomic<Int>(0)
        let group = DispatchGroup()
        for number in 0..<6 {
            group.enter()
            let evil = Thread {
                defer { group.leave() }
                var random = SplitMix(seed: Self.seed &+ UInt64(number))
                var chunk = [UInt8](repeating: 0, count: 65536)
                while Date() < end {
                    guard let client = try? Client(port: port) else { continue }
                    for _ in 0...random.next() % 3 {
                        let request = Self.damaged(Self.requests, &random)
                        let cut = Int(random.next() % UInt64(request.count + 1))
                        _ = try? client.send(Array(request[..<cut]))
                        _ = try? client.send(Array(request[cut...]))
                        // Whether or not anything has come yet.
                        var span = chunk.mutableSpan
                        _ = client.descriptor.receive(into: &span)
                    }
                    if random.next() % 2 == 0 { Socket.resetOnClose(client.descriptor) }
                    rounds.add(1, ordering: .relaxed)
                }
            }
            evil.start()
        }
        var honest: Client?
        var served = 0
        var number = 0
        while Date() < end {
            let client: Client
            if let honest { client = honest } else { client = try Client(port: port) }
            honest = client
            number += 1
            let id = "honest-\(number)"
            do {
                try client.send("GET /a HTTP/1.1\r\nHost: h\r\nX-Id: \(id)\r\n\r\n")
                let answer = try client.read()
                if answer.status == 200 {
                    #expect(answer.text == id, "seed \(Self.seed)")
                    served += 1
                } else {
                    #expect([502, 503, 504].contains(answer.status), "seed \(Self.seed): \(answer)")
                }
            } catch {
                // Cut: an instance's bytes that nobody asked for may have ended it.
                honest = nil
            }
        }
        group.wait()
        #expect(rounds.load(ordering: .relaxed) > 20 && served > 20, "seed \(Self.seed)")
        #expect(try serverpy.pids("forwarderd") == forwarder, "the forwarder has died; seed \(Self.seed)")
    }
}
