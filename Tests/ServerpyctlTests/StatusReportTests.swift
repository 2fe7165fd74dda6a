import Shared
import Testing

@testable import serverpyctl

/// Rates are differences between two countings, whenever somebody has looked.
@Suite struct StatusReportTests {
    private func sample(countedAt: UInt64, requests: UInt64?, errors: UInt64 = 0, at seconds: UInt64) throws
        -> StatusSample
    {
        let sum = requests.map {
            """
            {"service_name": "s", "counted_at_ms": \(countedAt), "traffic": {"requests": \($0), "status": {"5xx": \(errors)}}}
            """
        }
        let text = """
            {"service_statistics": [{"service_name": "s", "instance_url": "a", "status": "up"}],
             "traffic_by_service": [\(sum ?? "")], "request_processor": {"counted_at_ms": \(countedAt)}}
            """
        return StatusSample(
            supervisor: nil, statistics: try JSONReader.parse(Array(text.utf8)).root,
            nanoseconds: seconds * 1_000_000_000)
    }

    @Test func ratesAreOfTheTimeBetweenCountings() throws {
        let before = try sample(countedAt: 10_000, requests: 100, errors: 10, at: 1)
        let now = try sample(countedAt: 12_000, requests: 500, errors: 20, at: 2)
        let service = try #require(StatusReport(before, now, counted: before).services.first)
        #expect(service.requestsPerSecond == 200 && service.errorsPerSecond == 5)
        #expect(service.requests == 500 && service.up == 1 && service.total == 1)
    }

    @Test func nothingIsSaidWhereNothingWasCountedBetween() throws {
        let before = try sample(countedAt: 10_000, requests: 100, at: 1)
        #expect(StatusReport(before).services.first?.requestsPerSecond == nil)
        let same = try sample(countedAt: 10_000, requests: 100, at: 2)
        #expect(StatusReport(before, same, counted: before).services.first?.requestsPerSecond == nil)
        #expect(StatusReport(before, same, counted: nil).services.first?.requestsPerSecond == nil)
        // discoveryd has begun anew on another machine's clock, as it were.
        let earlier = try sample(countedAt: 9_000, requests: 50, at: 3)
        #expect(StatusReport(before, earlier, counted: before).services.first?.requestsPerSecond == nil)
    }

    @Test func theFirstRequestsOfAServiceCount() throws {
        let before = try sample(countedAt: 10_000, requests: nil, at: 1)
        let now = try sample(countedAt: 10_500, requests: 50, at: 2)
        #expect(StatusReport(before, now, counted: before).services.first?.requestsPerSecond == 100)
    }
}
