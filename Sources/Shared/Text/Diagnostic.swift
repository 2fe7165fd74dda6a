/// One thing that is wrong with a text, and where.
public struct Diagnostic: Error, Equatable, Sendable {
    public enum Severity: String, Sendable { case error, warning }

    public var severity: Severity
    /// Byte offset in the source.
    public var offset: Int
    /// What was found; what is allowed.
    public var message: String
    /// What stands there may be a secret, which is nobody's business.
    public var hidesSource: Bool

    public init(_ severity: Severity = .error, at offset: Int, _ message: String, hidesSource: Bool = false) {
        self.hidesSource = hidesSource
        self.severity = severity
        self.offset = offset
        self.message = message
    }
}

/// A place in a text, for people: both numbers start at 1, the column counts characters (Unicode scalars).
public struct SourcePosition: Equatable, Sendable {
    public var line: Int
    public var column: Int

    /// The position of a byte offset; the end of the text for offsets beyond it.
    public init(offset: Int, in source: [UInt8]) {
        var line = 1
        var column = 1
        var index = 0
        let end = min(offset, source.count)
        while index < end {
            let byte = source[index]
            if byte == 0x0a || (byte == 0x0d && !(index + 1 < source.count && source[index + 1] == 0x0a)) {
                line += 1
                column = 1
            } else if byte & 0xc0 != 0x80, byte != 0x0d {
                column += 1
            }
            index += 1
        }
        self.line = line
        self.column = column
    }
}

/// Where the lines of a text begin: for many positions in one text.
public struct LineIndex: Sendable {
    private var starts = [0]

    public init(_ source: [UInt8]) {
        for index in source.indices {
            let byte = source[index]
            if byte == 0x0a || byte == 0x0d && !(index + 1 < source.count && source[index + 1] == 0x0a) {
                starts.append(index + 1)
            }
        }
    }

    /// The line of a byte offset, from 1 on.
    public func line(of offset: Int) -> Int {
        var (low, high) = (0, starts.count)
        while low < high {
            let middle = (low + high) / 2
            if starts[middle] <= offset { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// Prints diagnostics the way compilers do: `FILE:LINE:COLUMN: error: message`, the line, and a caret.
public struct DiagnosticPrinter: Sendable {
    public var file: String
    public var source: [UInt8]

    public init(file: String, source: [UInt8]) {
        self.file = file
        self.source = source
    }

    /// `FILE:LINE:COLUMN: error: message`.
    public func headline(_ diagnostic: Diagnostic) -> String {
        let position = SourcePosition(offset: diagnostic.offset, in: source)
        return "\(file):\(position.line):\(position.column): \(diagnostic.severity.rawValue): \(diagnostic.message)"
    }

    /// All diagnostics in order of position, each with its line and a caret below the place.
    public func print(_ diagnostics: [Diagnostic]) -> String {
        var out = ""
        for diagnostic in diagnostics.sorted(by: { $0.offset < $1.offset }) {
            out += headline(diagnostic) + "\n"
            if diagnostic.hidesSource { continue }
            if let (line, caret) = excerpt(diagnostic.offset) {
                out += line + "\n" + (caret.isEmpty ? "" : caret + "\n")
            }
        }
        return out
    }

    /// Keys whose values are nobody's business.
    static let secretKeys = ["discovery_token", "authorization", "cookie", "password", "secret", "token"]

    /// A key on this line, misspelt perhaps, whose value is a secret.
    private static func secret(on line: ArraySlice<UInt8>) -> String? {
        var index = line.startIndex
        while index < line.endIndex {
            let start = index
            while index < line.endIndex, isWord(line[index]) { index += 1 }
            let word = line[start..<index]
            // The quote and white space between a key and its colon.
            while index < line.endIndex, [0x22, 0x27, 0x20, 0x09].contains(line[index]) { index += 1 }
            if !word.isEmpty, index < line.endIndex, line[index] == UInt8(ascii: ":"),
                let near = Text.nearest(String(decoding: word, as: UTF8.self), secretKeys)
            {
                return near
            }
            if index == start { index += 1 }
        }
        return nil
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        byte == 0x5f || byte == 0x2d || byte >= 0x30 && byte <= 0x39 || byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a
    }

    private func excerpt(_ offset: Int) -> (String, String)? {
        guard !source.isEmpty else { return nil }
        let place = min(offset, source.count - 1)
        var start = place
        while start > 0, source[start - 1] != 0x0a, place - start < 200 { start -= 1 }
        while start < place, source[start] & 0xc0 == 0x80 { start += 1 }
        var end = place
        while end < source.count, source[end] != 0x0a, source[end] != 0x0d, end - place < 200 { end += 1 }
        guard start < end else { return nil }
        // Control characters of a hostile file must not reach the terminal.
        let clean = { (bytes: ArraySlice<UInt8>) in
            String(decoding: bytes, as: UTF8.self).unicodeScalars.map {
                Text.isInvisible($0) && $0 != "\t" ? Unicode.Scalar("?") : $0
            }
        }
        let shown = { (scalars: [Unicode.Scalar]) in String(String.UnicodeScalarView(scalars)) }
        // A secret stays out of messages, which end in logs.
        if let secret = Self.secret(on: source[start..<end]) {
            return ("  ... (the line holds something like `\(secret)` and is not shown)", "")
        }
        let caret = clean(source[start..<min(max(offset, start), end)])
            .map { $0 == "\t" ? "\t" : String(repeating: " ", count: Text.cells($0)) }.joined()
        return ("  " + shown(clean(source[start..<end])), "  " + caret + "^")
    }
}
