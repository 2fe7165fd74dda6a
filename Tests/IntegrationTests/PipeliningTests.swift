import Foundation
import Shared
import Testing

/// Several requests of one client that are sent without waiting for responses.
@Suite struct PipeliningTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    private static let request = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

    /// A connection whose next request is always here is never idle, and has no deadline of a head.
    @Test func aClientThatPipelinesWithoutAPauseIsNotTimedOut() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1, general: ", \"timeouts\": {\"head\": 1}"
        ).ready()
        let client = try Client(port: serverpy.requests)
        let batch = String(repeating: Self.request, count: 8)
        try client.send(batch)
        let end = Date(timeIntervalSinceNow: 2.5)
        while Date() < end {
            try client.send(batch)
            for _ in 0..<8 { #expect(try client.read().status == 200) }
        }
    }

    /// A connection between two of its requests makes no room for a new one.
    @Test func aClientWithRequestsInFlightIsNotEvicted() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1, general: ", \"limits\": {\"connections\": 1}"
        ).ready()
        let client = try Client(port: serverpy.requests)
        for _ in 0..<60 {
            try client.send(String(repeating: Self.request, count: 16))
            #expect(try client.read().status == 200)
            let newcomer = try Client(port: serverpy.requests)
            for _ in 0..<15 { #expect(try client.read().status == 200) }
            newcomer.close()
        }
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
