import Foundation
import Shared
import Testing

/// Forwarders come and go under load, and clients notice nothing but `Connection: close`.
@Suite struct RollingTests {
    private func start(forwarders: Int) throws -> Serverpy {
        let stub = try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: forwarders)
        serverpy.instances = [stub]
        return try serverpy.ready()
    }

    private func run(_ arguments: [String], _ serverpy: Serverpy) throws -> (
        status: Int32, output: String, errors: String
    ) { try Programs.run(arguments + ["--runtime-dir", serverpy.runtimeDirectory]) }

    @Test func aRestartReplacesEachAndFailsNoRequest() throws {
        let serverpy = try start(forwarders: 2)
        let before = try serverpy.pids("forwarderd")
        let restart = try Running(
            program: "serverpyctl", arguments: ["restart", "forwarder", "--runtime-dir", serverpy.runtimeDirectory])
        let (good, bad) = try keptRequests(serverpy) { restart.waitForExit(seconds: 0) == nil }
        #expect(good > 0 && bad.isEmpty, "\(bad)")
        #expect(restart.output == ["2 forwarders replaced"], "\(restart.output) \(restart.errors)")
        let isReplaced = Eventually.holds {
            let now = (try? serverpy.pids("forwarderd")) ?? []
            return now.count == 2 && Set(now).isDisjoint(with: before)
        }
        #expect(isReplaced)
    }

    @Test func scalingUpAndDownFailsNoRequest() throws {
        let serverpy = try start(forwarders: 1)
        for count in [3, 1, 2, 1] {
            let scaled = try run(["scale", "forwarder=\(count)"], serverpy)
            #expect(scaled.status == 0 && scaled.output.contains(" -> \(count)"), "\(scaled)")
            var turns = 0
            let (good, bad) = try keptRequests(serverpy) {
                turns += 1
                return turns < 300
            }
            #expect(good > 0 && bad.isEmpty, "\(bad)")
            #expect(Eventually.holds { (try? serverpy.pids("forwarderd").count) == count })
        }
    }

    @Test func wrongNumbersAndTargetsAreRefused() throws {
        let serverpy = try start(forwarders: 1)
        for arguments in [
            ["scale", "forwarder=0"], ["scale", "four"], ["scale"], ["restart", "everything"], ["restart", "all", "x"],
        ] {
            let refused = try run(arguments, serverpy)
            #expect(refused.status == 64 && !refused.errors.isEmpty, "\(arguments) \(refused)")
        }
    }
}
