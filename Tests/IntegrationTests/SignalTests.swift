import Foundation
import Shared
import Testing

/// Every signal, every program, before and after it is ready: none ends what it was not meant to end.
@Suite struct SignalTests {
    /// All but those that nobody can catch, those that say that the program itself is broken, and those that stop or end it by intent.
    private static let harmless: [Int32] = (1...64).filter {
        ![
            SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGINT, SIGTERM, SIGQUIT, SIGSEGV, SIGBUS, SIGFPE, SIGILL,
            SIGTRAP,
            SIGABRT, SIGSYS, 32, 33,
        ].contains($0)
    }

    private func service(_ sample: Sample) -> String {
        StubInstance.service([sample.port], paths: "\"/hello\"", polling: ", \"frequency\": 1")
    }

    /// Whether it has decided what it does with signals: until then the system's rules hold, for any program.
    private func hasBegun(_ pid: Int32) -> Bool {
        let status = (try? Files.read("/proc/\(pid)/status", maxBytes: 65_536)).map {
            String(decoding: $0, as: UTF8.self)
        }
        // What it blocks it may have from its parent; what it ignores comes right behind.
        let ignored = status?.split(separator: "\n").first { $0.hasPrefix("SigIgn:") }?.split(separator: "\t").last
        return (ignored.flatMap { UInt64($0, radix: 16) } ?? 0) & 1 << (UInt64(SIGXFSZ) - 1) != 0
    }

    @Test func noneEndsAProgramThatIsReady() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(service(sample), forwarders: 1).ready()
        let children = try serverpy.processes().map(\.pid)
        #expect(children.count == 2)
        for pid in children + [serverpy.running.pid] {
            for signal in Self.harmless { Signal(signal).send(to: pid) }
        }
        #expect(serverpy.running.waitForError("reloaded") != nil)
        #expect(try serverpy.processes().map(\.pid) == children)
        #expect(try Client.get(serverpy.requests, "/hello").status == 200)
        #expect(serverpy.stop() == 0)
    }

    @Test func noneEndsAProgramThatIsNotReadyYet() throws {
        let sample = try Sample("one")
        let serverpy = try Serverpy(service(sample), forwarders: 1)
        #expect(Eventually.holds { hasBegun(serverpy.running.pid) })
        for signal in Self.harmless { Signal(signal).send(to: serverpy.running.pid) }
        // Children are hit as soon as they are there.
        let parent = "/proc/\(serverpy.running.pid)/task/\(serverpy.running.pid)/children"
        var hit: Set<Int32> = []
        #expect(
            Eventually.holds {
                let text = (try? Files.read(parent, maxBytes: 4096)).map { String(decoding: $0, as: UTF8.self) } ?? ""
                for pid in text.split(separator: " ").compactMap({ Int32($0.trimmed) }) where hit.insert(pid).inserted {
                    for signal in Self.harmless { Signal(signal).send(to: pid) }
                }
                return hit.count >= 2
            })
        try serverpy.ready()
        #expect(
            Set(try serverpy.processes().map(\.pid)) == hit,
            "nobody had to be started again: \(serverpy.running.errors)")
        #expect(serverpy.stop() == 0)
    }

    /// A foreground command ends with its terminal, and leaves nothing behind.
    @Test(.serialized, arguments: [Signal.hangUp, .terminate, .quit, .interrupt])
    func aForegroundCommandEnds(_ signal: Signal)
        throws
    {
        // Several at one time would take each other the ports that they prefer, and those of their instances.
        let demo = try Running(
            program: "serverpyctl", arguments: ["demo", "--forwarders", "1", "--port", "0", "--discovery-port", "0"])
        #expect(demo.waitForError("ready: request processor on ") != nil)
        let place = try #require(
            demo.waitForError("nc -U ")?.split(separator: " ").last?.split(separator: "/run/").first)
        demo.signal(signal)
        #expect(demo.waitForExit() == 0)
        #expect(!FileManager.default.fileExists(atPath: String(place)))
        let sample = try Sample("one")
        sample.running.signal(signal)
        #expect(sample.running.waitForExit() == 0)
    }

    // MARK: Service managers

    /// serverpyctl with the socket of a service manager (sd_notify(3)).
    private final class Managed {
        let serverpy: Serverpy
        private let directory: String
        private let socket: Descriptor
        private let queue: EventQueue

        init(_ services: String, environment: [String] = []) throws {
            directory = try Serverpy.temporaryDirectory()
            socket = try UnixSocket.bind(.datagram, path: directory + "/notify")
            queue = try EventQueue(eventsPerTurn: 1)
            try queue.add(socket, token: 0, interest: [.readable])
            serverpy = try Serverpy(
                services, forwarders: 1, program: "/usr/bin/env",
                before: ["NOTIFY_SOCKET=" + directory + "/notify"] + environment
                    + [Programs.directory + "/serverpyctl"])
        }

        deinit {
            socket.close()
            try? FileManager.default.removeItem(atPath: directory)
        }

        /// The messages up to the next one with such a line, that one included.
        func messages(until isLast: (Substring) -> Bool) throws -> [String] {
            var all: [String] = []
            while all.last?.split(separator: "\n").contains(where: isLast) != true {
                try #require(try queue.wait(timeoutMilliseconds: 20_000) > 0, "the last of these is missing: \(all)")
                if let message = try UnixSocket.receive(on: socket, capacity: 4096) {
                    all.append(String(decoding: message.bytes, as: UTF8.self))
                }
            }
            return all
        }

        func messages(until line: String) throws -> [String] { try messages { $0 == line } }
    }

    /// What the programs say to a service manager, in order, over its whole life.
    @Test func aServiceManagerIsToldOfEachReloadAndOfTheEnd() throws {
        let sample = try Sample("one")
        let managed = try Managed(service(sample))
        let serverpy = managed.serverpy
        #expect(try managed.messages(until: "READY=1").last?.contains("\nSTATUS=") == true)
        try serverpy.ready()
        for isGood in [true, false] {
            if isGood {
                try serverpy.configure(StubInstance.service([sample.port], paths: "\"/other\""))
            } else {
                try Data("{".utf8).write(to: URL(fileURLWithPath: serverpy.directory + "/c.json"))
            }
            let before = Clock.monotonicNanoseconds() / 1000
            serverpy.running.signal(.hangUp)
            let begun = try #require(try managed.messages(until: "RELOADING=1").last)
            let time = begun.split(separator: "\n").first { $0.hasPrefix("MONOTONIC_USEC=") }.flatMap {
                UInt64($0.dropFirst(15))
            }
            #expect(time.map { $0 >= before && $0 <= Clock.monotonicNanoseconds() / 1000 } == true, "\(begun)")
            let ended = try managed.messages(until: "READY=1")
            #expect(ended.contains { $0.contains("STATUS=") }, "\(ended)")
        }
        #expect(try Client.get(serverpy.requests, "/other").status == 200)
        serverpy.running.signal(.terminate)
        _ = try managed.messages(until: "STOPPING=1")
        #expect(serverpy.running.waitForExit() == 0)
    }

    /// `systemctl status` shows what is the case now, not what was at the start.
    @Test func aServiceManagerIsToldWhenInstancesComeAndGo() throws {
        let sample = try Sample("one")
        let managed = try Managed(
            StubInstance.service([sample.port], polling: ", \"frequency\": 0.1"))
        _ = try managed.messages(until: "STATUS=1 forwarder, 1 of 1 instances up")
        sample.kill()
        _ = try managed.messages(until: "STATUS=1 forwarder, 0 of 1 instances up")
        #expect(managed.serverpy.stop() == 0)
    }

    /// Signs of progress are sent where they are asked for, and not by who was not meant; see sd_watchdog_enabled(3).
    @Test(arguments: [
        (["WATCHDOG_USEC=30000"], true), (["WATCHDOG_USEC=0"], false), (["WATCHDOG_USEC=x"], false),
        (["WATCHDOG_USEC=30000", "WATCHDOG_PID=1"], false), (["WATCHDOG_USEC=18446744073709551616"], false),
        ([], false),
    ])
    func signsOfProgress(_ environment: [String], _ areAskedFor: Bool) throws {
        let sample = try Sample("one")
        let managed = try Managed(service(sample), environment: environment)
        _ = try managed.messages(until: "READY=1")
        try managed.serverpy.ready()
        var seen: [String] = []
        if areAskedFor {
            seen = try managed.messages(until: "WATCHDOG=1")
        } else {
            // Where signs are sent, one is due each second at the latest; reloads give us something to wait for meanwhile.
            let start = Clock.monotonicMilliseconds()
            while Clock.monotonicMilliseconds() < start + 1200 {
                managed.serverpy.running.signal(.hangUp)
                seen += try managed.messages(until: "READY=1")
            }
        }
        #expect(seen.contains { $0.contains("WATCHDOG=1") } == areAskedFor, "\(seen)")
        #expect(managed.serverpy.stop() == 0)
    }
}
