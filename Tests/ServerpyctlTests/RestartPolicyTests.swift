import Shared
import Testing

@testable import serverpyctl

@Suite struct RestartPolicyTests {
    @Test func aChildThatHadBeenReadyIsRestartedAtOnce() {
        var policy = RestartPolicy()
        #expect(policy.ended(wasReady: true, now: 1_000, random: 7) == .restart(afterMilliseconds: 0))
        #expect(policy.ended(wasReady: true, now: 2_000, random: 7) == .restart(afterMilliseconds: 100))
        #expect(policy.ended(wasReady: true, now: 3_000, random: 7) == .restart(afterMilliseconds: 100))
        #expect(policy.ended(wasReady: true, now: 60_000, random: 7) == .restart(afterMilliseconds: 0))
        #expect(policy.restarts == 4)
    }

    @Test func deathsBeforeReadinessDoubleTheDelayAndFiveAreTooMany() {
        var policy = RestartPolicy()
        for delay in [75, 150, 300, 600] as [UInt64] {
            #expect(policy.ended(wasReady: false, now: 0, random: 0) == .restart(afterMilliseconds: delay))
        }
        #expect(policy.ended(wasReady: false, now: 0, random: 0) == .giveUp)
    }

    @Test func theDelayIsAQuarterMoreOrLess() {
        for random in [0, 1, 25, 50, 1_000_003, UInt64.max] {
            var policy = RestartPolicy()
            guard case .restart(let delay) = policy.ended(wasReady: false, now: 0, random: random) else {
                Issue.record("the first death is not the last")
                return
            }
            #expect((75...125).contains(delay))
        }
    }

    @Test func readinessForgivesEarlierDeaths() {
        var policy = RestartPolicy()
        for _ in 0..<4 { _ = policy.ended(wasReady: false, now: 0, random: 0) }
        _ = policy.ended(wasReady: true, now: 0, random: 0)
        #expect(policy.ended(wasReady: false, now: 0, random: 25) == .restart(afterMilliseconds: 100))
    }
}

@Suite struct CommandTests {
    @Test func everyCommandExplainsItselfWithAnExample() {
        for command in Command.all {
            #expect(command.usage.contains("usage: serverpyctl \(command.name)"))
            #expect(command.usage.contains("example:\n  serverpyctl \(command.name)"))
            for option in command.options {
                #expect(command.usage.contains("--\(option.name)"), "\(command.name) \(option.name)")
            }
        }
    }

    @Test func theDemosConfigurationIsGood() throws {
        let text = DemoText.configuration([("one", 9001), ("two", 9002)], requestPort: 8001, discoveryPort: 8008)
        let (configuration, warnings) = try ConfigurationFile(path: "demo.yaml", bytes: Array(text.utf8))
            .configuration()
        #expect(configuration.services.map(\.name) == ["greeter"])
        #expect(configuration.instanceCount == 2)
        #expect(warnings.isEmpty)
    }
}
