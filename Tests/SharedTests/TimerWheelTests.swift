import Testing

@testable import Shared

@Suite struct TimerWheelTests {
    @Test func firesInTheMillisecondAskedForAndNotBefore() {
        var wheel = TimerWheel(now: 1000)
        for delay in [1, 2, 63, 64, 65, 4095, 4096, 4097, 262_144, 20_000_000] as [UInt64] {
            var one = TimerWheel(now: 1000)
            _ = one.schedule(Token(kind: 1), at: 1000 + delay)
            one.advance(to: 1000 + delay - 1)
            #expect(one.nextExpired() == nil, "\(delay)")
            one.advance(to: 1000 + delay)
            #expect(one.nextExpired() == Token(kind: 1), "\(delay)")
        }
        _ = wheel.schedule(Token(kind: 2), at: 5)
        wheel.advance(to: 1001)
        #expect(wheel.nextExpired() == Token(kind: 2), "the past means the next millisecond")
    }

    @Test func agreesWithAListOverRandomSchedules() {
        var random = SplitMix(seed: 42)
        var wheel = TimerWheel(now: 7)
        var now: UInt64 = 7
        var expected: [UInt64: (id: TimerWheel.ID, deadline: UInt64)] = [:]
        var next: UInt64 = 0
        for _ in 0..<20_000 {
            switch random.next() % 8 {
            case 0...3:
                let span: UInt64 = 1 << (random.next() % 26)
                let deadline = now + 1 + random.next() % span
                expected[next] = (wheel.schedule(Token(rawValue: next), at: deadline), deadline)
                next += 1
            case 4:
                if let key = expected.keys.min() {
                    var id = expected[key]?.id ?? .none
                    wheel.cancel(&id)
                    #expect(!id.isScheduled)
                    expected[key] = nil
                }
            case 5:
                if let key = expected.keys.max(), let entry = expected[key] {
                    let deadline = now + 1 + random.next() % 100_000
                    wheel.reschedule(entry.id, at: deadline)
                    expected[key] = (entry.id, deadline)
                }
            default:
                let wait = wheel.wait(now: now, limit: 1 << 40)
                if let soonest = expected.values.map(\.deadline).min() { #expect(now + wait <= soonest) }
                now += 1 + random.next() % (1 << (random.next() % 18) as UInt64)
                wheel.advance(to: now)
                var fired: Set<UInt64> = []
                while let token = wheel.nextExpired() { fired.insert(token.rawValue) }
                let due = Set(expected.filter { $0.value.deadline <= now }.keys)
                #expect(fired == due)
                for key in due { expected[key] = nil }
            }
            #expect(wheel.count == expected.count)
        }
    }

    @Test func aTimerThatHasFiredNamesNothingAnyMore() {
        var wheel = TimerWheel(now: 0)
        var old = wheel.schedule(Token(kind: 1), at: 1)
        wheel.advance(to: 1)
        #expect(wheel.nextExpired() == Token(kind: 1))
        _ = wheel.schedule(Token(kind: 2), at: 5)
        wheel.reschedule(old, at: 100)
        wheel.cancel(&old)
        wheel.advance(to: 5)
        #expect(wheel.nextExpired() == Token(kind: 2), "the new tenant of the place is not touched")
    }
}
