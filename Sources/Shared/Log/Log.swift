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

        /// The level of a name in any case. The names of Python's and other programs' levels are known, too.
        public init?(name: String) {
            switch name.lowercased() {
            case "debug", "trace": self = .debug
            case "info", "notice": self = .info
            case "warning", "warn": self = .warning
            case "error", "err", "critical", "fatal": self = .error
            default: return nil
            }
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

    /// Where every line goes as well, whether stderr takes it or not: the file of whoever keeps them.
    public static var copy: Descriptor {
        get { Descriptor(copyNumber.load(ordering: .relaxed)) }
        set { copyNumber.store(newValue.rawValue, ordering: .relaxed) }
    }
    private static let copyNumber = Atomic<Int32>(-1)

    /// The text is only made when it will be written.
    public func callAsFunction(_ level: Level, _ message: @autoclosure () -> String) {
        guard level >= self.level else { return }
        let isHeard = Descriptor.standardError.isWritable
        guard isHeard || Self.copy.isOpen else {
            Self.dropped.add(1, ordering: .relaxed)
            return
        }
        let missing = isHeard ? Self.dropped.exchange(0, ordering: .relaxed) : 0
        Self.write(line(level, message(), missing))
    }

    /// A line as `callAsFunction` would make it, of another program: what a child said that is no line of ours.
    public static func line(_ level: Level, _ message: String, program: String, pid: Int32) -> [UInt8] {
        Log(program: program).line(level, message, 0, pid: pid)
    }

    /// Writes a whole line of at most `lineBytes`, or drops it where stderr would make us wait.
    public static func write(_ line: [UInt8]) {
        if copy.isOpen, copy.write(line.span).count != line.count { missedByCopy.add(1, ordering: .relaxed) }
        // Nobody can be told that stderr is gone.
        if Descriptor.standardError.isWritable {
            _ = Descriptor.standardError.write(line.span)
        } else {
            dropped.add(1, ordering: .relaxed)
        }
    }

    /// How many lines the copy did not take since the last call: the disk is full.
    public static func takeMissedByCopy() -> Int { missedByCopy.exchange(0, ordering: .relaxed) }
    private static let missedByCopy = Atomic<Int>(0)

    /// What a pipe takes whole (pipe(7), PIPE_BUF).
    public static let lineBytes = 4096

    private func line(_ level: Level, _ text: String, _ missing: Int, pid: Int32 = Process.pid) -> [UInt8] {
        func make(_ text: String) -> [UInt8] {
            Self.format == .json ? json(level, text, missing, pid) : plain(level, text, missing, pid)
        }
        let line = make(text)
        // However much had to be escaped.
        return line.count <= Self.lineBytes
            ? line : make(String(decoding: text.utf8.prefix(600), as: UTF8.self) + "...")
    }

    private func plain(_ level: Level, _ text: String, _ missing: Int, _ pid: Int32) -> [UInt8] {
        var line = Array(
            "\(Timestamp.iso8601(wallMilliseconds: Clock.wallMilliseconds())) \(level.name) \(program)[\(pid)]: "
                .utf8)
        // A message may quote what a peer sent: no control character reaches the terminal.
        line.append(contentsOf: Text.shown(text.utf8, limit: .max).utf8)
        if missing > 0 { line.append(contentsOf: " (\(missing) messages before this one were dropped)".utf8) }
        line.append(0x0a)
        return line
    }

    private func json(_ level: Level, _ text: String, _ missing: Int, _ pid: Int32) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("time", Timestamp.iso8601(wallMilliseconds: Clock.wallMilliseconds()))
        writer.field("level", level.name)
        writer.field("program", program)
        writer.field("pid", pid)
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
