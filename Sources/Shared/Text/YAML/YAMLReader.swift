/// Reads YAML 1.2.2 (yaml.org/spec/1.2.2) as people write configuration: one document; block and flow collections; all five
/// scalar styles; comments, anchors, aliases and merge keys (bounded); core schema typing. Several documents, tags other than
/// the core ones and keys that are collections are refused. A value is exactly what the specification says, or an error.
///
/// A recursive descent over the bytes. Block structure is decided by columns; one look ahead along the line tells whether a
/// node begins a map ("implicit key", section 7.4.2).
public struct YAMLReader: ~Copyable {
    let source: [UInt8]
    var builder = DocumentBuilder()
    var position = 0
    /// Where the present line begins.
    var lineStart = 0
    var depth = 0
    let maxDepth: Int
    /// What an anchor names: a node and what it weighs; no node while it is still being read.
    var anchors: [ArraySlice<UInt8>: (node: Int32?, weight: Int)] = [:]
    /// Values with all aliases followed, and their texts: what reading the tree costs.
    var weight = 0
    var hasAliases = false
    var tagHandles: [String: String] = [:]
    private let collectsFaults: Bool
    private var faults: [Diagnostic] = []

    init(_ source: [UInt8], maxDepth: Int, collectsFaults: Bool) {
        self.source = source
        self.maxDepth = maxDepth
        self.collectsFaults = collectsFaults
    }

    /// Parses a whole text. Throws the first error with its offset. `collectsFaults`: what does not keep the rest from being read
    /// is left to the document's `faults`.
    public static func parse(
        _ source: [UInt8], maxDepth: Int = Limits.nestingDepth, collectsFaults: Bool = false
    ) throws(Diagnostic) -> Document {
        guard source.count < Int(Int32.max) else {
            throw Diagnostic(at: 0, "the text has \(source.count) bytes; at most \(Int32.max) are read")
        }
        if let invalid = UTF8Validation.firstInvalid(source.span) {
            throw Diagnostic(
                at: invalid, "byte \(Text.hex(source[invalid])) is not valid UTF-8; YAML is read as UTF-8 text")
        }
        for index in source.indices where !isPrintable(source, index) {
            throw Diagnostic(
                at: index,
                "found \(Text.describe(source, at: index)), which YAML does not allow; in \"\" write it as an escape such as \\x07"
            )
        }
        var reader = YAMLReader(source, maxDepth: maxDepth, collectsFaults: collectsFaults)
        let root: Int32
        do throws(Diagnostic) { root = try reader.stream() } catch { throw namingSpaces(in: source, error) }
        return Document(source: source, builder: reader.builder, root: root, faults: reader.faults)
    }

    /// Something that is wrong and does not keep the rest from being read.
    mutating func note(_ fault: Diagnostic) throws(Diagnostic) {
        guard collectsFaults else { throw fault }
        if faults.count < Limits.diagnostics { faults.append(fault) }
    }

    /// A character that looks like a space and is none makes a line something else than what is seen, and the fault is found behind
    /// it: the nearest one is named.
    private static func namingSpaces(in source: [UInt8], _ fault: Diagnostic) -> Diagnostic {
        var end = fault.offset
        while end < source.count, !isBreak(source[end]) { end += 1 }
        // The line of the fault and the two before it.
        var start = min(fault.offset, source.count)
        var lines = 0
        while start > 0, lines < 3 {
            start -= 1
            if source[start] == 0x0a { lines += 1 }
        }
        var nearest: Int?
        for index in start..<max(start, end)
        where source[index] == 0xc2 || source[index] == 0xe2 || source[index] == 0xe3 {
            let bytes = source[index..<min(index + 3, source.count)]
            let isSpace =
                bytes.starts(with: [0xc2, 0xa0]) || bytes.starts(with: [0xe3, 0x80, 0x80])
                || bytes.starts(with: [0xe2, 0x80]) && (0x80...0x8b).contains(bytes.last ?? 0)
                || bytes.starts(with: [0xe2, 0x80, 0xaf])
            if isSpace { nearest = index }
        }
        guard let nearest else { return fault }
        let line = source[..<nearest].count { $0 == 0x0a } + 1
        let message = "\(fault.message); line \(line) holds \(Text.describe(source, at: nearest)), which is no space"
        return Diagnostic(fault.severity, at: fault.offset, message)
    }

    /// c-printable (5.1), of valid UTF-8: neither control characters, U+0080 to U+009F but for U+0085 among them, nor U+FFFE
    /// and U+FFFF.
    private static func isPrintable(_ source: [UInt8], _ index: Int) -> Bool {
        let byte = source[index]
        if byte < 0x80 { return byte >= 0x20 && byte != 0x7f || byte == 0x09 || byte == 0x0a || byte == 0x0d }
        if byte == 0xc2 { return source[index + 1] >= 0xa0 || source[index + 1] == 0x85 }
        return byte != 0xef || source[index + 1] != 0xbf || source[index + 2] < 0xbe
    }

    // MARK: Characters

    var current: UInt8? { position < source.count ? source[position] : nil }
    var column: Int { position - lineStart }
    var found: String { Text.describe(source, at: position) }

    func error(_ message: String, at offset: Int? = nil) -> Diagnostic { Diagnostic(at: offset ?? position, message) }

    func byte(_ offset: Int) -> UInt8? { offset < source.count ? source[offset] : nil }

    static func isBreak(_ byte: UInt8) -> Bool { byte == 0x0a || byte == 0x0d }
    static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
    static func isFlowIndicator(_ byte: UInt8) -> Bool {
        byte == 0x2c || byte == 0x5b || byte == 0x5d || byte == 0x7b || byte == 0x7d
    }

    /// White space, a line break or the end.
    func isSpace(_ offset: Int) -> Bool {
        guard let byte = byte(offset) else { return true }
        return Self.isBlank(byte) || Self.isBreak(byte)
    }

    /// Steps over a line break: LF, CR LF or CR.
    mutating func lineBreak() {
        if source[position] == 0x0d, byte(position + 1) == 0x0a { position += 1 }
        position += 1
        lineStart = position
    }

    /// An indicator that stands for itself: followed by white space.
    func isIndicator(_ indicator: UInt8) -> Bool { current == indicator && isSpace(position + 1) }

    /// `---` or `...` at the start of a line.
    func isDocumentMarker() -> Bool {
        guard column == 0, position + 3 <= source.count else { return false }
        let first = source[position]
        guard first == 0x2d || first == 0x2e, source[position + 1] == first, source[position + 2] == first else {
            return false
        }
        return isSpace(position + 3)
    }

    /// Skips white space, comments and line breaks. True: a line break was among them.
    mutating func separation() throws(Diagnostic) -> Bool {
        var crossed = false
        while let byte = current {
            if Self.isBlank(byte) {
                position += 1
            } else if Self.isBreak(byte) {
                lineBreak()
                crossed = true
            } else if byte == UInt8(ascii: "#") {
                guard position == lineStart || Self.isBlank(source[position - 1]) else {
                    throw error("a comment needs a space before its #")
                }
                while let byte = current, !Self.isBreak(byte) { position += 1 }
            } else {
                break
            }
        }
        return crossed
    }

    struct Place {
        let position: Int
        let lineStart: Int
    }

    var place: Place { Place(position: position, lineStart: lineStart) }

    mutating func goBack(_ place: Place) {
        position = place.position
        lineStart = place.lineStart
    }

    // MARK: Nodes

    mutating func enter() throws(Diagnostic) {
        depth += 1
        if depth > maxDepth { throw error("nested deeper than \(maxDepth) levels, which is the limit") }
    }

    /// Counts a node; aliases count for all that they stand for, so that an alias bomb ends here.
    mutating func count(_ added: Int) throws(Diagnostic) {
        weight += added
        if weight > Limits.expandedNodes {
            throw error(
                hasAliases
                    ? "with its aliases followed this text holds more than \(Limits.expandedNodes) values of \(Limits.textBytesPerNode) bytes, which is the limit"
                    : "this text holds more than \(Limits.expandedNodes) values, which is the limit")
        }
    }

    mutating func null(at offset: Int) throws(Diagnostic) -> Int32 {
        try count(1)
        return builder.scalar(.null, at: offset, text: offset..<offset)
    }

    // MARK: Stream

    private mutating func stream() throws(Diagnostic) -> Int32 {
        if source.starts(with: [0xef, 0xbb, 0xbf]) {
            position = 3
            lineStart = 3
        }
        var hasDirectives = false
        var hasVersion = false
        while true {
            _ = try separation()
            guard current == UInt8(ascii: "%"), column == 0 else { break }
            try directive(&hasVersion)
            hasDirectives = true
        }
        if hasDirectives, !(isDocumentMarker() && current == UInt8(ascii: "-")) {
            throw error("found \(found) after a directive; --- must follow")
        }
        while isDocumentMarker(), current == UInt8(ascii: "."), !hasDirectives {
            try documentEnd()
            _ = try separation()
        }
        let root: Int32
        if isDocumentMarker(), current == UInt8(ascii: "-") {
            position += 3
            root = try blockNode(parent: -1, allowsSequenceAtParent: false, isCompactAllowed: false)
        } else {
            root = try blockNode(parent: -1, allowsSequenceAtParent: false, isCompactAllowed: true)
        }
        let before = position
        let crossed = try separation()
        if current != nil, !isDocumentMarker() {
            throw error(
                crossed
                    ? "found \(found) after the end of the document; is it indented less than what it belongs to?"
                    : "found \(found) after the end of a value", at: crossed ? nil : before)
        }
        try ending()
        return root
    }

    /// After the document: `...`, comments, and nothing else.
    private mutating func ending() throws(Diagnostic) {
        while current != nil {
            guard isDocumentMarker(), current == UInt8(ascii: ".") else {
                throw error("found \(found); several documents in one text are not supported")
            }
            try documentEnd()
            _ = try separation()
            if current != nil, !isDocumentMarker() || current == UInt8(ascii: "-") {
                throw error(
                    "found \(found) after the end of the document; several documents in one text are not supported")
            }
        }
    }

    private mutating func documentEnd() throws(Diagnostic) {
        position += 3
        while let byte = current, Self.isBlank(byte) { position += 1 }
        if let byte = current, !Self.isBreak(byte), byte != UInt8(ascii: "#") || !Self.isBlank(source[position - 1]) {
            throw error("found \(found) after ...; only a comment may stand there")
        }
    }

    private mutating func directive(_ hasVersion: inout Bool) throws(Diagnostic) {
        let start = position
        while let byte = current, !Self.isBreak(byte) { position += 1 }
        var line = source[start..<position]
        if let comment = line.indices.first(where: {
            line[$0] == UInt8(ascii: "#") && $0 > start && Self.isBlank(line[$0 - 1])
        }) {
            line = line[..<comment]
        }
        let words = line.split(whereSeparator: Self.isBlank).map { String(decoding: $0, as: UTF8.self) }
        switch words.first {
        case "%YAML":
            guard words.count == 2 else { throw error("%YAML needs one version, such as 1.2", at: start) }
            if hasVersion { throw error("a second %YAML directive", at: start) }
            let parts = words[1].split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 2, parts[0] == "1", DecimalDigits.parse(parts[1].utf8) != nil else {
                throw error("%YAML \(Text.shown(words[1].utf8)) is not supported; 1.2 is", at: start)
            }
            hasVersion = true
        case "%TAG":
            guard words.count == 3, words[1].hasPrefix("!"), words[1].hasSuffix("!") else {
                throw error("%TAG needs a handle such as !e! and a prefix", at: start)
            }
            if tagHandles[words[1]] != nil {
                throw error("the tag handle \(Text.shown(words[1].utf8)) is defined twice", at: start)
            }
            tagHandles[words[1]] = words[2]
        default: break  // Reserved for the future: ignored (6.8).
        }
    }
}
