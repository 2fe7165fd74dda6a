import Foundation
import Shared
import Testing

/// Several requests of one client that are sent without waiting for responses.
@Suite struct PipeliningTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    private static let request = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

    /// Keeps more requests of one connection in flight than its buffer holds, until `isOver`, so that the next request is always here; `between` is called
    /// every 64 requests.
    private func pipeline(_ port: UInt16, until isOver: (Int) -> Bool, between: () throws -> Void = {}) throws {
        let client = try Client(port: port)
        let batch = String(repeating: Self.request, count: 64)
        for _ in 0..<40 { try client.send(batch) }
        var batches = 0
        while !isOver(batches) {
            try client.send(batch)
            try between()
            for _ in 0..<64 { #expect(try client.read().status == 200) }
            batches += 1
        }
        for _ in 0..<40 * 64 { #expect(try client.read().status == 200) }
    }

    /// A connection whose next request is always here is never idle, and has no deadline of a head.
    @Test func aClientThatPipelinesWithoutAPauseIsNotTimedOut() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1, general: ", \"timeouts\": {\"head\": 1}"
        ).ready()
        let end = Date(timeIntervalSinceNow: 2.5)
        try pipeline(serverpy.requests, until: { _ in Date() > end })
    }

    /// A connection between two of its requests makes no room for a new one.
    @Test func aClientWithRequestsInFlightIsNotEvicted() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1, general: ", \"limits\": {\"connections\": 1}"
        ).ready()
        try pipeline(
            serverpy.requests, until: { $0 >= 80 },
            between: { for _ in 0..<6 { try Client(port: serverpy.requests).close() } })
    }

    @Test func everyRequestOfALongBurstIsAnsweredInOrder() throws {
        let stub = try StubInstance { head, _ in
            let number = head.split(separator: " ")[1].dropFirst(3)
            return .bytes("HTTP/1.1 200 OK\r\nContent-Length: \(number.utf8.count)\r\n\r\n\(number)")
        }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1).ready()
        let client = try Client(port: serverpy.requests)
        var burst = ""
        for number in 0..<300 {
            burst +=
                number % 3 == 0
                ? "GET /nobody HTTP/1.1\r\nHost: h\r\n\r\n" : "GET /a?\(number) HTTP/1.1\r\nHost: h\r\n\r\n"
        }
        try client.send(burst)
        for number in 0..<300 {
            let answer = try client.read()
            if number % 3 == 0 { #expect(answer.status == 404) } else { #expect(answer.text == "\(number)") }
        }
    }
}
