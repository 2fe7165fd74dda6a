import Shared
import Testing

@Suite struct TimestampTests {
    @Test func whatIsWrittenIsReadBack() {
        var random = SplitMix(seed: 3)
        for _ in 0..<2000 {
            let wall = random.next() % 253_402_300_799_000
            #expect(Timestamp.wallMilliseconds(iso8601: Timestamp.iso8601(wallMilliseconds: wall)) == wall)
        }
        #expect(Timestamp.wallMilliseconds(iso8601: "1970-01-01T00:00:00.000Z") == 0)
        for bad in [
            "", "2026-11-23", "2026-13-23T22:36:17.123Z", "2026-11-23T22:36:17.123+", "x026-11-23T22:36:17.123Z",
        ] {
            #expect(Timestamp.wallMilliseconds(iso8601: bad) == nil, "\(bad)")
        }
    }
}
