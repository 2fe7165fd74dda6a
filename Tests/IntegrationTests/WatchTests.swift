import Foundation
import Shared
import Testing

/// `start --watch` reads a file that others write: it takes what they have finished, and nothing else.
@Suite struct WatchTests {
    private func configuration(_ path: String, _ port: UInt16) -> Data {
        Data(
            "{\(StubInstance.service([port], paths: "\"/hello\", \"\(path)\"")), \"meta-info\": {\"discovery_server_port\": 0, \"request_processor_port\": 0, \"request_processor_host\": \"127.0.0.1\"}}"
                .utf8)
    }

    private func start(_ sample: Sample) throws -> Serverpy {
        try Serverpy(StubInstance.service([sample.port], paths: "\"/hello\""), forwarders: 1, extra: ["--watch"])
            .ready()
    }

    /// A writer that truncates, writes something that is good by itself, and goes on later.
    @Test func aFileThatIsBeingWrittenIsNotInForce() throws {
        let sample = try Sample("one")
        let serverpy = try start(sample)
        let file = try #require(FileHandle(forWritingAtPath: serverpy.directory + "/c.json"))
        try file.truncate(atOffset: 0)
        try file.write(contentsOf: configuration("/hello/half", sample.port))
        // A file that nobody has finished gives no event to wait for: longer than three looks of the watcher.
        let end = Date(timeIntervalSinceNow: 3.5)
        while end.timeIntervalSinceNow > 0 {
            #expect(try Client.get(serverpy.requests, "/hello").status == 200)
            #expect(!serverpy.running.errors.contains { $0.contains("reload") }, "\(serverpy.running.errors)")
            Thread.sleep(forTimeInterval: 0.05)
        }
        try file.truncate(atOffset: 0)
        try file.seek(toOffset: 0)
        try file.write(contentsOf: configuration("/whole", sample.port))
        try file.close()
        #expect(serverpy.running.waitForError("reloaded, snapshot") != nil)
        let (status, _, _) = try Programs.run(["explain", "GET", "/whole", "--runtime-dir", serverpy.runtimeDirectory])
        #expect(status == 0)
        #expect(!serverpy.running.errors.contains { $0.contains("/half") })
    }

    /// Gone, a directory, a FIFO, without permission, broken: the old one holds, and a good one is taken when it comes.
    @Test(arguments: ["gone", "directory", "pipe", "broken", "empty"]) func theOldOneHoldsUntilAGoodOneIsThere(
        _ kind: String
    ) throws {
        let sample = try Sample("one")
        let serverpy = try start(sample)
        let path = serverpy.directory + "/c.json"
        let manager = FileManager.default
        try manager.removeItem(atPath: path)
        switch kind {
        case "directory": try manager.createDirectory(atPath: path, withIntermediateDirectories: false)
        case "pipe": #expect(unsafe mkfifo(path, 0o600) == 0)
        case "broken": try Data("{\"s\": ".utf8).write(to: URL(fileURLWithPath: path))
        case "empty": try Data().write(to: URL(fileURLWithPath: path))
        default: break
        }
        if kind != "gone" { #expect(serverpy.running.waitForError("c.json") != nil, "it says so") }
        #expect(try Client.get(serverpy.requests, "/hello").status == 200)
        try? manager.removeItem(atPath: path)
        try configuration("/new", sample.port).write(to: URL(fileURLWithPath: path), options: .atomic)
        #expect(serverpy.running.waitForError("reloaded, snapshot") != nil, "\(serverpy.running.errors)")
        #expect(serverpy.stop() == 0)
    }
}
