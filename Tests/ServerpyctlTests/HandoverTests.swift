import Shared
import Testing

@testable import serverpyctl

@Suite struct HandoverTests {
    private func sample() -> Handover {
        var descriptors: [String: Int32] = ["operator": 40]
        for (index, name) in Handover.needed.enumerated() { descriptors[name] = Int32(10 + index) }
        return Handover(
            program: "1.2.3", startedAt: 12, configurationPath: "/etc/serverpy/a \"b\".yaml",
            runtimeDirectory: "/run/serverpy", stateDirectory: "/var/lib/serverpy", madeDirectory: true, forwarders: 3,
            hasFixedForwarders: true, mustReload: true, fingerprint: [1, -2, Int64.max],
            ownListeners: ["requests"], descriptors: descriptors,
            children: [
                .init(
                    role: .discoveryd, pid: 100, isReady: true, isStopping: false, control: 50, output: 51,
                    startedAt: 5, restarts: 2, status: "3 of 3 instances up"),
                .init(
                    role: .forwarderd(index: 2), pid: 0, isReady: false, isStopping: true, control: -1, output: -1,
                    startedAt: 0, restarts: 0, status: ""),
            ])
    }

    @Test func theSuccessorKnowsAllThatItsPredecessorKnew() throws {
        let handover = sample()
        var read = try Handover.decode(handover.encode())
        // What is not open has no number.
        #expect(read.children[1].control == -1)
        read.children[1].control = handover.children[1].control
        #expect(read == handover)
        #expect(Set(read.numbers).isSuperset(of: [10, 40, 50, 51]) && !read.numbers.contains(-1))
    }

    @Test func whatCannotBeUnderstoodIsRefusedWithAReason() throws {
        func reason(_ text: String) -> String {
            do {
                _ = try Handover.decode(Array(text.utf8))
                return ""
            } catch {
                return error.reason
            }
        }
        let good = String(decoding: sample().encode(), as: UTF8.self)
        #expect(reason(good) == "")
        #expect(reason("nothing").contains("no JSON"))
        #expect(reason(good.replacing("\"version\":1", with: "\"version\":9")).contains("has version 9"))
        #expect(reason(good.replacing("\"requests\"", with: "\"other\"")).contains("`requests`"))
        #expect(reason(good.replacing("\"forwarders\":3", with: "\"forwarders\":0")).contains("no possible set"))
        #expect(reason(good.replacing("runtime_directory", with: "x")).contains("no possible set"))
    }

    @Test func noBytesMakeItTrap() {
        let good = sample().encode()
        var random = SplitMix(seed: 1)
        for _ in 0..<20_000 {
            var bytes = good
            for _ in 0..<4 {
                let place = Int(random.next() % UInt64(bytes.count))
                bytes[place] = UInt8(truncatingIfNeeded: random.next())
            }
            _ = try? Handover.decode(bytes)
        }
    }
}
