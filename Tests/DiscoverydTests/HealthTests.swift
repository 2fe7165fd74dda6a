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
    private func outcome(_ cause: PollCause, _ status: UInt16 = 0, _ microseconds: UInt64 = 0) -> PollOutcome {
        PollOutcome(PollResult(cause: cause, status: status, durationMicroseconds: microseconds))
    }

    @Test func keepsTheNewestPacketsUpToTheLimit() {
        var arena = HistoryArena()
        var history = History(limit: 100)
        for index in 0..<1000 as Range<UInt64> {
            history.append(
                wall: 1_000_000 + index * 10, monotonic: 500 + index * 10, outcome: outcome(.ok, 200, index), in: &arena
            )
        }
        #expect(history.endSequence == 1000)
        #expect(history.firstShown == 900)
        #expect(history.packet(899, in: arena) == nil)
        #expect(history.packet(1000, in: arena) == nil)
        for sequence in 900..<1000 as Range<UInt64> {
            let (startedAt, outcome) = history.packet(sequence, in: arena) ?? (0, .none)
            #expect(startedAt == 1_000_000 + sequence * 10)
            #expect(outcome == self.outcome(.ok, 200, sequence))
        }
        #expect(history.count <= 100 + HistoryArena.chunkPackets)
    }

    @Test func aClockThatGoesBackBeginsAChunkAnew() {
        var arena = HistoryArena()
        var history = History(limit: 10)
        history.append(wall: 5000, monotonic: 100, outcome: outcome(.ok), in: &arena)
        history.append(wall: 1000, monotonic: 200, outcome: outcome(.refused), in: &arena)
        #expect(history.packet(0, in: arena)?.startedAt == 5000)
        #expect(history.packet(1, in: arena)?.startedAt == 1000)
    }

    @Test func aThousandRingsTakeEightBytesAPacketAndShareWhatIsFreed() {
        var arena = HistoryArena()
        var rings = [History](repeating: History(limit: 640), count: 100)
        for step in 0..<640 as Range<UInt64> {
            for index in rings.indices {
                rings[index].append(wall: step * 1000, monotonic: step * 1000, outcome: outcome(.ok, 200), in: &arena)
            }
        }
        #expect(arena.bytes <= 8 * 100 * 640 + 8 * 256 * HistoryArena.chunkPackets)
        let full = arena.bytes
        for index in rings.indices { rings[index].clear(in: &arena) }
        for step in 0..<640 as Range<UInt64> {
            for index in rings.indices {
                rings[index].append(wall: step, monotonic: step, outcome: outcome(.reset, 7), in: &arena)
            }
        }
        #expect(arena.bytes == full)
        #expect(rings[99].packet(639, in: arena)?.1 == outcome(.reset, 7))
    }

    @Test func aPacketKeepsItsOutcomeAndItsDurationWithinTwoPercent() {
        for exact in [0, 1, 63, 64, 65, 127, 129, 1000, 4999, 60_000, 5_000_000, 86_400_000] as [UInt64] {
            let packet = Packet(offsetMilliseconds: 77, outcome(.badStatus, 503, exact))
            #expect(packet.offsetMilliseconds == 77)
            #expect(packet.outcome.result?.cause == .badStatus)
            #expect(packet.outcome.result?.status == 503)
            let error = Double(exact) - Double(packet.outcome.result?.durationMicroseconds ?? 0)
            #expect(abs(error) <= Double(exact) * 0.02)
        }
    }
}

@Suite struct AdmissionTests {
    @Test func noMoreThanTheLimitAreYoungAndThoseThatHangDelayNobody() {
        var admission = Admission(limit: 2, youthMilliseconds: 100)
        let first = admission.begin(now: 1000)
        _ = admission.begin(now: 1050)
        let isFull = !admission.admits(now: 1099)
        #expect(isFull)
        #expect(admission.nextAging == 1100)
        let hasRoom = admission.admits(now: 1100)
        #expect(hasRoom)
        // One that has aged already makes no more room when it ends.
        admission.end(first)
        _ = admission.begin(now: 1101)
        let isFullAgain = !admission.admits(now: 1102)
        #expect(isFullAgain)
    }

    @Test func endedPollsMakeRoomInWhateverOrderTheyEnd() {
        var admission = Admission(limit: 100, youthMilliseconds: 100)
        for round in 0..<100 as Range<UInt64> {
            let tickets = (0..<100).map { _ in admission.begin(now: round) }
            #expect(admission.young == 100)
            for ticket in tickets.shuffled() { admission.end(ticket) }
            for ticket in tickets { admission.end(ticket) }
            #expect(admission.young == 0)
        }
    }
}

@Suite struct MassFailureTests {
    @Test func fiveOfTwoServicesAndMoreThanHalfMakeADoubtThatEnds() {
        var mass = MassFailure()
        mass.configure(1000)
        for instance in 0..<5 { mass.observe(failed: true, instance: instance, service: 0, now: 10_000) }
        #expect(!mass.isDoubted(now: 10_000), "one service's failure is its own")
        mass.observe(failed: true, instance: 5, service: 1, now: 10_001)
        #expect(mass.isDoubted(now: 10_001))
        #expect(mass.isDoubted(now: 12_001))
        #expect(!mass.isDoubted(now: 12_002), "no doubt outlasts two time-outs")
    }

    @Test func fourFailuresOrAMinorityAreBelieved() {
        var mass = MassFailure()
        mass.configure(1000)
        for instance in 0..<4 { mass.observe(failed: true, instance: instance, service: instance, now: 10_000) }
        #expect(!mass.isDoubted(now: 10_000))
        for instance in 0..<100 { mass.observe(failed: false, instance: instance, service: 0, now: 10_000) }
        for instance in 0..<90 { mass.observe(failed: true, instance: instance, service: instance, now: 10_001) }
        #expect(!mass.isDoubted(now: 10_001))
    }

    @Test func failuresThatAreFarApartDoNotCountTogether() {
        var mass = MassFailure()
        mass.configure(1000)
        for instance in 0..<20 as Range<UInt64> {
            mass.observe(failed: true, instance: Int(instance), service: Int(instance), now: 10_000 + instance * 400)
        }
        #expect(!mass.isDoubted(now: 18_000))
    }
}

@Suite struct LatencyBucketsTests {
    @Test func aTimeLiesInItsBucketAndTheErrorIsBounded() {
        for time in [0, 1, 15, 16, 17, 19, 20, 31, 32, 100, 999, 123_456, 5_000_000, 600_000_000] as [UInt64] {
            let index = LatencyBuckets.index(time)
            #expect(time < LatencyBuckets.bound(index))
            if index > 0 {
                #expect(time >= LatencyBuckets.bound(index - 1))
                #expect(
                    Double(LatencyBuckets.bound(index) - LatencyBuckets.bound(index - 1))
                        <= 0.25 * Double(LatencyBuckets.bound(index - 1)))
            }
        }
        #expect(LatencyBuckets.index(.max) == LatencyBuckets.count - 1)
    }

    @Test func theMedianOfManyIsNearTheTrueOne() {
        var histogram = LatencyHistogram()
        for time in 1...10_000 as ClosedRange<UInt64> { histogram.observe(time) }
        let median = LatencyBuckets.quantile(0.5, histogram.counts) ?? 0
        #expect(abs(median - 5000) <= 5000 * 0.125)
        #expect(LatencyBuckets.quantile(0.5, []) == nil)
        #expect(histogram.total == 10_000)
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
