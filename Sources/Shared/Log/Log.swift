import Synchronization

/// Operational messages: one line each on stderr, written whole, and dropped rather than waited for where nobody reads.
///
///     2026-11-23T22:36:17.123Z info discoveryd[812]: service2 127.0.0.1:8080 is active (200 in 1 ms)
public struct Log: Sendable {
    public enum Level: Int, Sendable, Comparable, CaseIterable {
        case debug, info, warning, error

        public var name: String {
            switch self {
            case .debug: "debug"
            case .info: "info"
            case .warning: "warning"
            case .error: "error"
            }
        }

        public init?(name: String) {
            guard let level = Level.allCases.first(where: { $0.name == name.lowercased() }) else { return nil }
            self = level
        }

        public static func < (a: Level, b: Level) -> Bool { a.rawValue < b.rawValue }
    }

    /// How lines are written: for people, or one JSON object each.
    public enum Format: String, Sendable, CaseIterable {
        case text, json
    }

    /// The same for all of a process; it may change with the configuration.
    public static var format: Format {
        get { isJSON.load(ordering: .relaxed) ? .json : .text }
        set { isJSON.store(newValue == .json, ordering: .relaxed) }
    }
    private static let isJSON = Atomic<Bool>(false)

    /// Messages below this are not written.
    public var level: Level
    private let program: String
    /// Lines that stderr did not take; the next one that it takes says how many.
    private static let dropped = Atomic<Int>(0)

    public init(program: String, level: Level = .info) {
        self.program = program
        self.level = level
    }

    /// The text is only made when it will be written.
    public func callAsFunction(_ level: Level, _ message: @autoclosure () -> String) {
        guard level >= self.level else { return }
        guard Descriptor.standardError.isWritable else {
            Self.dropped.add(1, ordering: .relaxed)
            return
        }
        let missing = Self.dropped.exchange(0, ordering: .relaxed)
        let text = message()
        var line = line(level, text, missing)
        // What a pipe takes whole (pipe(7), PIPE_BUF), however much had to be escaped.
        if line.count > 4096 {
            line = self.line(level, String(decoding: text.utf8.prefix(600), as: UTF8.self) + "...", missing)
        }
        // Nobody can be told that stderr is gone.
        _ = Descriptor.standardError.write(line.span)
    }

    private func line(_ level: Level, _ text: String, _ missing: Int) -> [UInt8] {
        Self.format == .json ? json(level, text, missing) : plain(level, text, missing)
    }

    private func plain(_ level: Level, _ text: String, _ missing: Int) -> [UInt8] {
        var line = Array(
            "\(Timestamp.iso8601(wallMilliseconds: Clock.wallMilliseconds())) \(level.name) \(program)[\(Process.pid)]: "
                .utf8)
        // A message may quote what a peer sent: no control character reaches the terminal.
        line.append(contentsOf: Text.shown(text.utf8, limit: .max).utf8)
        if missing > 0 { line.append(contentsOf: " (\(missing) messages before this one were dropped)".utf8) }
        line.append(0x0a)
        return line
    }

    private func json(_ level: Level, _ text: String, _ missing: Int) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("time", Timestamp.iso8601(wallMilliseconds: Clock.wallMilliseconds()))
        writer.field("level", level.name)
        writer.field("program", program)
        writer.field("pid", Process.pid)
        writer.field("message", text)
        if missing > 0 { writer.field("dropped", missing) }
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }

    public func debug(_ message: @autoclosure () -> String) { self(.debug, message()) }
    public func info(_ message: @autoclosure () -> String) { self(.info, message()) }
    public func warning(_ message: @autoclosure () -> String) { self(.warning, message()) }
    public func error(_ message: @autoclosure () -> String) { self(.error, message()) }
}
