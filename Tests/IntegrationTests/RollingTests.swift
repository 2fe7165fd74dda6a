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

    /// A kept connection that makes requests until it is told to close, then a new one; counts what went wrong.
    private func requests(_ serverpy: Serverpy, while isOn: () -> Bool) throws -> (good: Int, bad: [String]) {
        var (good, bad): (Int, [String]) = (0, [])
        var client = try Client(port: serverpy.requests)
        while isOn() {
            do {
                try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
                let answer = try client.read()
                if answer.status == 200 { good += 1 } else { bad.append("\(answer.status)") }
                if answer.values("Connection") == ["close"] { client = try Client(port: serverpy.requests) }
            } catch {
                bad.append("\(error)")
                client = try Client(port: serverpy.requests)
            }
        }
        return (good, bad)
    }

    @Test func aRestartReplacesEachAndFailsNoRequest() throws {
        let serverpy = try start(forwarders: 2)
        let before = try serverpy.pids("forwarderd")
        let restart = try Running(
            program: "serverpyctl", arguments: ["restart", "forwarder", "--runtime-dir", serverpy.runtimeDirectory])
        let (good, bad) = try requests(serverpy) { restart.waitForExit(seconds: 0) == nil }
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
            let (good, bad) = try requests(serverpy) {
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
            ["scale", "forwarder=0"], ["scale", "four"], ["scale"], ["restart", "discoveryd"], ["restart"],
        ] {
            let refused = try run(arguments, serverpy)
            #expect(refused.status == 64 && !refused.errors.isEmpty, "\(arguments) \(refused)")
        }
    }
}
