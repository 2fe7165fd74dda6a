import Shared

/// What a child writes on its standard output and error, cut into lines that all look alike: what is no line of our log already, such as
/// a crash's last words, becomes one. A value without IO: bytes in, lines out.
struct ChildOutput {
    /// The beginning of a line whose end has not come.
    private var rest: [UInt8] = []
    /// That line is too long: what comes of it is passed over.
    private var isOverlong = false

    /// The whole lines that `bytes` complete, each with its line break and at most `Log.lineBytes`.
    mutating func lines(_ bytes: Span<UInt8>, program: String, pid: Int32) -> [[UInt8]] {
        var result: [[UInt8]] = []
        for index in bytes.indices {
            let byte = bytes[index]
            if byte == 0x0a {
                if let line = finish(program, pid) { result.append(line) }
            } else if rest.count < Log.lineBytes - 1 {
                rest.append(byte)
            } else {
                isOverlong = true
            }
        }
        return result
    }

    /// What came without a line break before the child ended.
    mutating func end(program: String, pid: Int32) -> [UInt8]? { finish(program, pid) }

    private mutating func finish(_ program: String, _ pid: Int32) -> [UInt8]? {
        defer {
            rest.removeAll(keepingCapacity: true)
            isOverlong = false
        }
        if rest.isEmpty { return nil }
        if !isOverlong, LogLine(rest) != nil { return rest + [0x0a] }
        return Log.line(
            .error, String(decoding: rest, as: UTF8.self) + (isOverlong ? "..." : ""), program: program, pid: pid)
    }
}

/// A line of the log, in either of its forms.
struct LogLine: Equatable {
    var time: String
    var level: Log.Level
    var program: String
    var pid: Int32
    var message: String

    /// Nil: it is no line of ours. `TIME LEVEL PROGRAM[PID]: MESSAGE`, or an object with these members.
    init?(_ bytes: [UInt8]) {
        if bytes.first == UInt8(ascii: "{") {
            guard let root = try? JSONReader.parse(bytes).root, let time = root["time"]?.string,
                let level = root["level"]?.string.flatMap(Log.Level.init(name:)), let program = root["program"]?.string,
                let message = root["message"]?.string
            else { return nil }
            (self.time, self.level, self.program, self.message) = (time, level, program, message)
            pid = Int32(clamping: root["pid"]?.unsigned ?? 0)
            return
        }
        let text = String(decoding: bytes, as: UTF8.self)
        let words = text.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard words.count == 3, words[0].utf8.count == 24, words[0].last == "Z",
            let level = Log.Level(name: String(words[1]))
        else { return nil }
        guard let colon = words[2].firstRange(of: "]: "),
            let bracket = words[2][..<colon.lowerBound].lastIndex(of: "["),
            let pid = DecimalDigits.parse(
                words[2][words[2].index(after: bracket)..<colon.lowerBound].utf8, max: UInt64(Int32.max))
        else { return nil }
        time = String(words[0])
        self.level = level
        program = String(words[2][..<bracket])
        self.pid = Int32(pid)
        message = String(words[2][colon.upperBound...])
    }

    var json: [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("time", time)
        writer.field("level", level.name)
        writer.field("program", program)
        writer.field("pid", pid)
        writer.field("message", message)
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }

    var text: [UInt8] { Array("\(time) \(level.name) \(program)[\(pid)]: \(message)\n".utf8) }
}
