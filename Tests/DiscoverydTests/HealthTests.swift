import Shared
import Testing

@testable import discoveryd

@Suite struct HealthTests {
    private let good = PollResult(cause: .ok, status: 200)
    private let bad = PollResult(cause: .refused)

    private func polling(retries: Int = 0, rise: Int = 1) -> Polling {
        var polling = Polling(method: .ping)
        polling.retries = retries
        polling.retryDelayMilliseconds = 250
        polling.rise = rise
        return polling
    }

    @Test func theFirstPollDecidesAtOnceWithoutRetriesAndRise() {
        var health = Health()
        #expect(health.status == .unknown)
        _ = health.receive(good, purpose: .regular, polling: polling(retries: 3, rise: 3))
        #expect(health.status == .up)
        var other = Health()
        let next = other.receive(bad, purpose: .regular, polling: polling(retries: 3))
        #expect(other.status == .down)
        #expect(next?.delayMilliseconds == Limits.downFrequencyMilliseconds)
    }

    @Test func onlyWhenAllRetriesHaveFailedIsItDown() {
        var health = Health()
        let polling = polling(retries: 2)
        _ = health.receive(good, purpose: .regular, polling: polling)
        #expect(
            health.receive(bad, purpose: .regular, polling: polling)
                == Health.Next(delayMilliseconds: 250, purpose: .retry, isExact: true))
        #expect(health.status == .up)
        #expect(health.receive(bad, purpose: .retry, polling: polling)?.purpose == .retry)
        #expect(health.status == .up)
        #expect(health.receive(bad, purpose: .retry, polling: polling)?.purpose == .regular)
        #expect(health.status == .down)
    }

    @Test func aGoodRetryEndsTheSeries() {
        var health = Health()
        let polling = polling(retries: 1)
        _ = health.receive(good, purpose: .regular, polling: polling)
        _ = health.receive(bad, purpose: .regular, polling: polling)
        _ = health.receive(good, purpose: .retry, polling: polling)
        #expect(health.receive(bad, purpose: .regular, polling: polling)?.purpose == .retry)
        #expect(health.status == .up)
    }

    @Test func riseGoodPollsInARowBringItBack() {
        var health = Health()
        let polling = polling(rise: 3)
        _ = health.receive(bad, purpose: .regular, polling: polling)
        for result in [good, good, bad, good, good] { _ = health.receive(result, purpose: .regular, polling: polling) }
        #expect(health.status == .down)
        _ = health.receive(good, purpose: .regular, polling: polling)
        #expect(health.status == .up)
    }

    @Test func anAccusationThatAPollConfirmsMakesItSuspectAndAGoodPollClearsIt() {
        var health = Health()
        let polling = polling(retries: 3)
        _ = health.receive(good, purpose: .regular, polling: polling)
        _ = health.receive(bad, purpose: .accusation, polling: polling)
        #expect(health.isSuspect)
        #expect(health.status == .up)
        _ = health.receive(good, purpose: .retry, polling: polling)
        #expect(!health.isSuspect)
    }

    @Test func anAccusationThatAPollRefutesChangesNothing() {
        var health = Health()
        _ = health.receive(good, purpose: .regular, polling: polling())
        let before = health
        #expect(health.receive(good, purpose: .accusation, polling: polling()) == nil)
        #expect(health == before)
    }

    @Test func ourOwnFaultAccusesNobody() {
        var health = Health()
        _ = health.receive(good, purpose: .regular, polling: polling())
        _ = health.receive(PollResult(cause: .ownFault), purpose: .regular, polling: polling())
        #expect(health.status == .up)
        #expect(PollCause(Errno.tooManyOpenFiles) == .ownFault)
        #expect(PollCause(Errno.addressNotAvailable) == .ownFault)
        #expect(PollCause(Errno.connectionRefused) == .refused)
    }
}

@Suite struct HistoryTests {
    @Test func keepsTheNewestPacketsUpToTheLimit() {
        var history = History(limit: 100)
        for index in 0..<1000 as Range<UInt64> {
            history.append(
                startedAt: 1_000_000 + index * 10, PollResult(cause: .ok, status: 200, durationMilliseconds: index))
        }
        #expect(history.endSequence == 1000)
        #expect(history.firstShown == 900)
        #expect(history.packet(899) == nil)
        #expect(history.packet(1000) == nil)
        #expect(history.packet(900)?.startedAt == 1_009_000)
        #expect(history.packet(999)?.1.status == 200)
        #expect(history.count <= 100 + History.chunkPackets)
    }

    @Test func aClockThatGoesBackBeginsAChunkAnew() {
        var history = History(limit: 10)
        history.append(startedAt: 5000, PollResult(cause: .ok))
        history.append(startedAt: 1000, PollResult(cause: .refused))
        #expect(history.packet(0)?.startedAt == 5000)
        #expect(history.packet(1)?.startedAt == 1000)
    }

    @Test func aPacketIsEightBytesAndItsDurationWithinTwoPercent() {
        #expect(MemoryLayout<Packet>.size == 8)
        for exact in [0, 1, 127, 128, 129, 1000, 4999, 60_000, 86_400_000, 1 << 40] as [UInt64] {
            let packet = Packet(
                offsetMilliseconds: 77, PollResult(cause: .badStatus, status: 503, durationMilliseconds: exact))
            #expect(packet.offsetMilliseconds == 77)
            #expect(packet.cause == .badStatus)
            #expect(packet.status == 503)
            let error = Double(exact) - Double(packet.durationMilliseconds)
            #expect(abs(error) <= Double(exact) * 0.02)
        }
    }
}

@Suite struct AvailabilityTests {
    @Test func countsTimeAndNotPolls() {
        var availability = Availability(now: 0)
        availability.set(up: true, now: 0)
        availability.set(up: false, now: 900_000)
        // Dense polling while down adds nothing.
        for step in 1...100 as ClosedRange<UInt64> { availability.set(up: false, now: 900_000 + step * 1000) }
        availability.set(up: true, now: 1_000_000)
        #expect(availability.points(now: 1_800_000) == 94)
    }

    @Test func saysNothingBeforeTenMinutes() {
        var availability = Availability(now: 0)
        availability.set(up: true, now: 0)
        #expect(availability.points(now: 599_999) == nil)
        #expect(availability.points(now: 600_000) == 100)
    }

    @Test func forgetsWhatIsOlderThanTheWindow() {
        var availability = Availability(now: 0)
        availability.set(up: false, now: 0)
        availability.set(up: true, now: 600_000)
        #expect(availability.points(now: 600_000 + 3_700_000) == 100)
        #expect(availability.points(now: 1 << 50) == 100)
    }
}

@Suite struct PollScheduleTests {
    @Test func delaysVaryByATenthAndTheFirstIsSpreadOverAll() {
        var schedule = PollSchedule(seed: 1)
        let next = Health.Next(delayMilliseconds: 1000, purpose: .regular, isExact: false)
        let delays = (0..<1000).map { _ in schedule.delay(next, isFirst: false) }
        #expect((delays.min() ?? 0) >= 900)
        #expect((delays.max() ?? 0) <= 1100)
        let first = (0..<1000).map { _ in schedule.delay(next, isFirst: true) }
        #expect((first.min() ?? 0) < 50)
        #expect((first.max() ?? 0) > 950)
        #expect(
            schedule.delay(Health.Next(delayMilliseconds: 77, purpose: .retry, isExact: true), isFirst: false) == 77)
    }
}

@Suite struct EchoMessageTests {
    @Test func aReplyIsRecognisedByItsSecretOnly() {
        let request = EchoMessage.request(.ipv4, sequence: 0x1234, cookie: 99)
        var reply = request
        reply[0] = 0
        #expect(EchoMessage.reply(.ipv4, reply, isRaw: false, cookie: 99) == 0x1234)
        #expect(EchoMessage.reply(.ipv4, reply, isRaw: false, cookie: 98) == nil)
        #expect(EchoMessage.reply(.ipv4, request, isRaw: false, cookie: 99) == nil)
        #expect(
            EchoMessage.reply(.ipv4, [0x45] + [UInt8](repeating: 0, count: 19) + reply, isRaw: true, cookie: 99)
                == 0x1234)
        for end in reply.indices {
            #expect(EchoMessage.reply(.ipv4, Array(reply[..<end]), isRaw: false, cookie: 99) == nil)
        }
        var sum: UInt32 = 0
        for index in stride(from: 0, to: request.count, by: 2) {
            sum += UInt32(request[index]) << 8 | UInt32(request[index + 1])
        }
        #expect((sum & 0xffff) + (sum >> 16) == 0xffff, "the checksum of RFC 1071")
    }
}
