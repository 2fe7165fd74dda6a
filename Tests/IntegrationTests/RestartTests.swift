import Foundation
import Shared
import Testing

/// What /stats, /dump and /metrics say before and after discoveryd has been replaced, field by field: kept, or begun anew, never what
/// it was at some time in between.
@Suite struct RestartTests {
    private struct Fields: Equatable {
        var polls: UInt64
        var changes: UInt64
        var since: String
        var firstChecked: String
        var lastChecked: String
        var packets: [String]
        var metric: UInt64
    }

    private func fields(_ serverpy: Serverpy) throws -> Fields {
        let stats = try Client.get(serverpy.discovery, "/stats").text
        let dump = try Client.get(serverpy.discovery, "/dump").text
        let metrics = try Client.get(serverpy.discovery, "/metrics").text
        func text(_ name: String) throws -> String {
            let rest = try #require(
                stats.components(separatedBy: "\"\(name)\":").dropFirst().first, "\(name) in \(stats)")
            return String(rest.prefix { $0 != "," && $0 != "}" })
        }
        let line = try #require(
            metrics.split(separator: "\n").first {
                $0.hasPrefix("serverpy_instance_polls_total") && $0.contains("outcome=\"ok\"")
            }
                ?? metrics.split(separator: "\n").first { $0.hasPrefix("serverpy_instance_polls_total") })
        return Fields(
            polls: try #require(UInt64(text("polls"))), changes: try #require(UInt64(text("changes"))),
            since: try text("since"), firstChecked: try text("check_start_time"),
            lastChecked: try text("last_checked_at"),
            packets: dump.components(separatedBy: "\"start_time\":").dropFirst().map { String($0.prefix(26)) },
            metric: try #require(line.split(separator: " ").last.flatMap { UInt64($0) }))
    }

    private func historyBytes(_ state: String) -> Int {
        ((try? Files.list(state)) ?? []).filter { $0.hasPrefix("history-") }
            .map { (try? Files.status(state + "/" + $0).size) ?? 0 }.reduce(0, +)
    }

    @Test(arguments: ["kill", "stop"]) func nothingGoesBack(_ way: String) throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port], paths: "\"/hello\"", polling: ", \"frequency\": 0.1"), forwarders: 1
        ).ready()
        #expect(Eventually.holds { (try? fields(serverpy).polls) ?? 0 > 25 })
        let before = try fields(serverpy)
        #expect((before.polls...before.polls + 10).contains(before.metric), "asked for a moment later")
        let state = serverpy.directory + "/state/" + (try #require(try Files.list(serverpy.directory + "/state").first))
        // A write of history that began after `before` has it.
        for _ in 0..<2 {
            let size = historyBytes(state)
            #expect(Eventually.holds { historyBytes(state) > size })
        }
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        // No poll comes between, so that what is seen is what was restored.
        Signal(way == "kill" ? SIGKILL : SIGTERM).send(to: discoveryd)
        #expect(Eventually.holds { (try? fields(serverpy).packets.count) ?? 0 >= before.packets.count })
        let after = try fields(serverpy)
        #expect(
            after.since == before.since && after.firstChecked == before.firstChecked && after.changes == before.changes)
        #expect(after.packets.starts(with: before.packets), "history is whole")
        #expect(after.lastChecked >= before.lastChecked, "\(after.lastChecked) after \(before.lastChecked)")
        #expect(after.polls < 20 && after.metric < 20, "counted by each process from 0: \(after.polls)")
        #expect(serverpy.stop() == 0)
    }

    /// The first answer after a restart knows the last poll, not that of the last change of status, before another one comes.
    @Test(arguments: ["kill", "stop"]) func theFirstAnswerKnowsTheLastPoll(_ way: String) throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(
            StubInstance.service([sample.port], paths: "\"/hello\"", polling: ", \"frequency\": 3"), forwarders: 1
        ).ready()
        #expect(Eventually.holds { (try? fields(serverpy).polls) ?? 0 >= 3 })
        let before = try fields(serverpy)
        #expect(before.lastChecked > before.since, "the status has not changed with it")
        let state = serverpy.directory + "/state/" + (try #require(try Files.list(serverpy.directory + "/state").first))
        // What was polled earlier is on the disk already: whatever is written next is of this poll, or of one behind it.
        let size = historyBytes(state)
        #expect(Eventually.holds { historyBytes(state) > size })
        let discoveryd = try #require(try serverpy.pids("discoveryd").first)
        Signal(way == "kill" ? SIGKILL : SIGTERM).send(to: discoveryd)
        var after: Fields?
        #expect(
            Eventually.holds {
                after = try? fields(serverpy)
                return after != nil
            })
        let first = try #require(after)
        #expect(first.lastChecked >= before.lastChecked, "\(first.lastChecked) after \(before.lastChecked)")
        #expect(first.since == before.since && first.firstChecked == before.firstChecked)
        #expect(first.packets.starts(with: before.packets))
        #expect(first.polls <= 1 && first.metric <= 1, "counted from 0: \(first.polls)")
    }
}
