/// Scalars: plain, quoted (section 7.3), literal and folded (section 8.1).
extension YAMLReader {
    // MARK: Plain

    /// Whether a plain scalar may begin here (7.3.3, ns-plain-first).
    func isPlainStart(_ offset: Int, isFlow: Bool) -> Bool {
        guard let first = byte(offset), !isSpace(offset) else { return false }
        switch first {
        case UInt8(ascii: "-"), UInt8(ascii: "?"), UInt8(ascii: ":"):
            guard let next = byte(offset + 1), !isSpace(offset + 1) else { return false }
            return !(isFlow && Self.isFlowIndicator(next))
        case UInt8(ascii: ","), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "{"), UInt8(ascii: "}"),
            UInt8(ascii: "#"),
            UInt8(ascii: "&"), UInt8(ascii: "*"), UInt8(ascii: "!"), UInt8(ascii: "|"), UInt8(ascii: ">"),
            UInt8(ascii: "'"),
            UInt8(ascii: "\""), UInt8(ascii: "%"), UInt8(ascii: "@"), UInt8(ascii: "`"):
            return false
        default: return true
        }
    }

    mutating func plain(parent: Int, isFlow: Bool, isKey: Bool = false) throws(Diagnostic) -> Int32 {
        let start = position
        guard isPlainStart(start, isFlow: isFlow) else {
            let hint =
                current == UInt8(ascii: "%") || current == UInt8(ascii: "@") || current == UInt8(ascii: "`")
                ? "; text that begins with it must be in quotes" : ""
            throw error("found \(found) where a value is needed\(hint)")
        }
        try count(1)
        var end = plainLine(isFlow)
        guard !isKey, let first = try continuation(parent, isFlow) else {
            return typed(start, start..<end, multiline: nil)
        }
        var arena = Array(source[start..<end])
        var breaks: Int? = first
        while let count = breaks {
            // Line folding (6.5): one break is a space, more are one less.
            if count == 1 {
                arena.append(0x20)
            } else {
                arena.append(contentsOf: repeatElement(0x0a, count: count - 1))
            }
            let lineStart = position
            end = plainLine(isFlow)
            arena.append(contentsOf: source[lineStart..<end])
            breaks = try continuation(parent, isFlow)
        }
        return typed(start, start..<start, multiline: arena)
    }

    /// Reads to the end of plain text on this line; returns where it ends without trailing blanks.
    private mutating func plainLine(_ isFlow: Bool) -> Int {
        var end = position
        while let byte = current, !Self.isBreak(byte) {
            if byte == UInt8(ascii: ":") {
                if isSpace(position + 1) { break }
                if isFlow, let next = self.byte(position + 1), Self.isFlowIndicator(next) { break }
            } else if byte == UInt8(ascii: "#"), position > lineStart, Self.isBlank(source[position - 1]) {
                break
            } else if isFlow, Self.isFlowIndicator(byte) {
                break
            }
            position += 1
            if !Self.isBlank(byte) { end = position }
        }
        position = end
        return end
    }

    /// If the scalar goes on on a later line, moves there and returns how many breaks lie between.
    private mutating func continuation(_ parent: Int, _ isFlow: Bool) throws(Diagnostic) -> Int? {
        let end = place
        var breaks = 0
        while true {
            while let byte = current, Self.isBlank(byte) { position += 1 }
            guard let byte = current, Self.isBreak(byte) else { break }
            lineBreak()
            breaks += 1
        }
        let indentation = source[lineStart..<position].prefix { $0 == 0x20 }.count
        guard breaks > 0, let first = current, !isDocumentMarker(), first != UInt8(ascii: "#"), indentation > parent,
            !(first == UInt8(ascii: ":")
                && (isSpace(position + 1) || isFlow && byte(position + 1).map(Self.isFlowIndicator) ?? true)),
            !(isFlow && Self.isFlowIndicator(first))
        else {
            goBack(end)
            return nil
        }
        return breaks
    }

    /// A plain scalar's type by the core schema; its text stays as it was written.
    private mutating func typed(_ start: Int, _ range: Range<Int>, multiline: [UInt8]?) -> Int32 {
        if let multiline {
            let from = builder.arena.count
            builder.arena.append(contentsOf: multiline)
            return builder.scalar(.string, at: start, arenaFrom: from)
        }
        return builder.scalar(CoreSchema.resolve(source[range]).kind, at: start, text: range)
    }

    // MARK: Quoted

    mutating func quoted(parent: Int) throws(Diagnostic) -> Int32 {
        try count(1)
        let start = position
        let quote = source[start]
        let isDouble = quote == UInt8(ascii: "\"")
        position += 1
        let from = builder.arena.count
        /// Up to here the text is final: trailing blanks of a line may still go.
        var solid = from
        while let byte = current {
            if byte == quote {
                if !isDouble, self.byte(position + 1) == quote {
                    builder.arena.append(quote)
                    position += 2
                    solid = builder.arena.count
                    continue
                }
                position += 1
                return builder.scalar(.string, at: start, arenaFrom: from)
            }
            if Self.isBreak(byte) {
                builder.arena.removeSubrange(solid...)
                try fold(parent, start, isEscaped: false)
                solid = builder.arena.count
            } else if isDouble, byte == UInt8(ascii: "\\") {
                if let next = self.byte(position + 1), Self.isBreak(next) {
                    position += 1
                    try fold(parent, start, isEscaped: true)
                } else {
                    try escape()
                }
                solid = builder.arena.count
            } else {
                builder.arena.append(byte)
                position += 1
                if !Self.isBlank(byte) { solid = builder.arena.count }
            }
        }
        throw error("the text that begins here does not end; a closing \(isDouble ? "\"" : "'") is missing", at: start)
    }

    /// Line folding inside quotes (7.3.1): skips breaks and the blanks around them.
    private mutating func fold(_ parent: Int, _ start: Int, isEscaped: Bool) throws(Diagnostic) {
        var breaks = 0
        while let byte = current, Self.isBreak(byte) {
            lineBreak()
            breaks += 1
            if isDocumentMarker() { throw error("a document marker inside quoted text") }
            while let byte = current, Self.isBlank(byte) { position += 1 }
        }
        if current != nil, source[lineStart..<position].prefix(while: { $0 == 0x20 }).count <= parent {
            throw error("a line of quoted text must be indented further than what it belongs to")
        }
        if breaks == 1 {
            if !isEscaped { builder.arena.append(0x20) }
        } else {
            builder.arena.append(contentsOf: repeatElement(0x0a, count: breaks - 1))
        }
    }

    /// Escapes of double-quoted text (5.7).
    private mutating func escape() throws(Diagnostic) {
        let start = position
        position += 1
        guard let byte = current else { return }
        position += 1
        var digits = 0
        var scalar: UInt32
        switch byte {
        case UInt8(ascii: "0"): scalar = 0
        case UInt8(ascii: "a"): scalar = 7
        case UInt8(ascii: "b"): scalar = 8
        case UInt8(ascii: "t"), 0x09: scalar = 9
        case UInt8(ascii: "n"): scalar = 10
        case UInt8(ascii: "v"): scalar = 11
        case UInt8(ascii: "f"): scalar = 12
        case UInt8(ascii: "r"): scalar = 13
        case UInt8(ascii: "e"): scalar = 27
        case UInt8(ascii: " "), UInt8(ascii: "\""), UInt8(ascii: "/"), UInt8(ascii: "\\"): scalar = UInt32(byte)
        case UInt8(ascii: "N"): scalar = 0x85
        case UInt8(ascii: "_"): scalar = 0xa0
        case UInt8(ascii: "L"): scalar = 0x2028
        case UInt8(ascii: "P"): scalar = 0x2029
        case UInt8(ascii: "x"): (digits, scalar) = (2, 0)
        case UInt8(ascii: "u"): (digits, scalar) = (4, 0)
        case UInt8(ascii: "U"): (digits, scalar) = (8, 0)
        default:
            throw error(
                "found \\ before \(Text.describe(source, at: start + 1)); allowed are \\0 \\a \\b \\t \\n \\v \\f \\r \\e \\\" \\/ \\\\ \\N \\_ \\L \\P \\x \\u \\U",
                at: start)
        }
        for _ in 0..<digits {
            guard let byte = current, let digit = Text.hexValue(byte) else {
                throw error("this escape needs \(digits) hex digits", at: start)
            }
            scalar = scalar << 4 | UInt32(digit)
            position += 1
        }
        guard let character = Unicode.Scalar(scalar), let encoded = UTF8.encode(character) else {
            throw error("no such character", at: start)
        }
        builder.arena.append(contentsOf: encoded)
    }

    // MARK: Literal and folded

    mutating func blockScalar(parent: Int) throws(Diagnostic) -> Int32 {
        try count(1)
        let start = position
        let isFolded = current == UInt8(ascii: ">")
        let (chomping, explicit) = try blockHeader()
        let base = max(parent, -1)
        var indentation = explicit.map { max(parent, 0) + $0 }
        let from = builder.arena.count
        var lines = BlockLines(isFolded: isFolded, from: from)
        var widestBlank = 0
        while current != nil {
            let lineBegin = place
            while current == 0x20, indentation.map({ column < $0 }) ?? true { position += 1 }
            guard let byte = current else {
                if column > 0 { lines.blank() }
                break
            }
            if Self.isBreak(byte) {
                if indentation == nil { widestBlank = max(widestBlank, column) }
                lines.blank()
                lineBreak()
                continue
            }
            if indentation == nil {
                guard column > base else {
                    if byte == 0x09 { throw error("a tab is not allowed in indentation; use spaces") }
                    goBack(lineBegin)
                    break
                }
                if widestBlank > column {
                    throw error(
                        "a blank line before this one has more spaces; indent the first line of text at least as far")
                }
                indentation = column
            }
            guard column >= indentation ?? 0, !isDocumentMarker() else {
                goBack(lineBegin)
                break
            }
            let textStart = position
            while let byte = current, !Self.isBreak(byte) { position += 1 }
            lines.add(source[textStart..<position], to: &builder.arena)
            // The end of the text ends a line as a break does.
            guard current != nil else { break }
            lineBreak()
        }
        lines.finish(chomping, &builder.arena)
        // The scalar ends at the end of a line: what follows begins on a new one.
        if position == lineStart, position > 0 {
            position -= 1
            if source[position] == 0x0a, position > 0, source[position - 1] == 0x0d { position -= 1 }
            lineStart = position
            while lineStart > 0, !Self.isBreak(source[lineStart - 1]) { lineStart -= 1 }
        }
        return builder.scalar(.string, at: start, arenaFrom: from)
    }

    enum Chomping { case strip, clip, keep }

    /// `|` or `>`, an indentation digit and `+` or `-` in any order, a comment.
    private mutating func blockHeader() throws(Diagnostic) -> (Chomping, Int?) {
        position += 1
        var chomping: Chomping?
        var explicit: Int?
        while let byte = current, !isSpace(position) {
            if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-"), chomping == nil {
                chomping = byte == UInt8(ascii: "+") ? .keep : .strip
            } else if byte >= 0x31, byte <= 0x39, explicit == nil {
                explicit = Int(byte - 0x30)
            } else {
                throw error("found \(found) behind | or >; a digit from 1 to 9, + or -, and a comment may stand there")
            }
            position += 1
        }
        while let byte = current, Self.isBlank(byte) { position += 1 }
        if current == UInt8(ascii: "#"), Self.isBlank(source[position - 1]) {
            while let byte = current, !Self.isBreak(byte) { position += 1 }
        }
        if let byte = current {
            guard Self.isBreak(byte) else {
                throw error("found \(found) behind | or >; the text begins on the next line")
            }
            lineBreak()
        }
        return (chomping ?? .clip, explicit)
    }
}

/// The lines of a block scalar as they become text (8.1.2, 8.1.3).
struct BlockLines {
    let isFolded: Bool
    let from: Int
    private var blanks = 0
    private var hasText = false
    private var lastWasMoreIndented = false

    init(isFolded: Bool, from: Int) {
        self.isFolded = isFolded
        self.from = from
    }

    mutating func blank() { blanks += 1 }

    mutating func add(_ line: ArraySlice<UInt8>, to arena: inout [UInt8]) {
        let isMoreIndented = line.first == 0x20 || line.first == 0x09
        if !hasText {
            arena.append(contentsOf: repeatElement(0x0a, count: blanks))
        } else if isFolded, !isMoreIndented, !lastWasMoreIndented {
            if blanks == 0 { arena.append(0x20) } else { arena.append(contentsOf: repeatElement(0x0a, count: blanks)) }
        } else {
            arena.append(contentsOf: repeatElement(0x0a, count: blanks + 1))
        }
        arena.append(contentsOf: line)
        hasText = true
        lastWasMoreIndented = isMoreIndented
        blanks = 0
    }

    func finish(_ chomping: YAMLReader.Chomping, _ arena: inout [UInt8]) {
        switch chomping {
        case .strip: break
        case .clip: if hasText { arena.append(0x0a) }
        case .keep:
            if hasText { arena.append(0x0a) }
            arena.append(contentsOf: repeatElement(0x0a, count: blanks))
        }
    }
}
