/// Reads JSON (RFC 8259) strictly: one value, no trailing commas, no duplicate names, no lone surrogates, no numbers
/// beyond what a double holds. Nesting is bounded by `Limits.nestingDepth`.
public struct JSONReader: ~Copyable {
    private let source: [UInt8]
    private var builder = DocumentBuilder()
    private var position = 0
    private var depth = 0
    private let maxDepth: Int
    private let keepsDuplicates: Bool
    private let collectsFaults: Bool
    private var faults: [Diagnostic] = []

    private init(_ source: [UInt8], maxDepth: Int, keepsDuplicates: Bool, collectsFaults: Bool) {
        self.source = source
        self.maxDepth = maxDepth
        self.keepsDuplicates = keepsDuplicates
        self.collectsFaults = collectsFaults
    }

    /// Parses a whole text. Throws the first error with its offset. A name that appears twice in an object is an error,
    /// since readers differ in which value they take (RFC 8259 4); `keepsDuplicates` keeps both, for showing what is there.
    /// `collectsFaults`: what does not keep the rest from being read is left to the document's `faults`.
    public static func parse(
        _ source: [UInt8], maxDepth: Int = Limits.nestingDepth, keepsDuplicates: Bool = false,
        collectsFaults: Bool = false
    ) throws(Diagnostic) -> Document {
        guard source.count < Int(Int32.max) else {
            throw Diagnostic(at: 0, "the text has \(source.count) bytes; at most \(Int32.max) are read")
        }
        if let invalid = UTF8Validation.firstInvalid(source.span) {
            throw Diagnostic(at: invalid, "byte \(Text.hex(source[invalid])) is not valid UTF-8; JSON is UTF-8 text")
        }
        var reader = JSONReader(
            source, maxDepth: maxDepth, keepsDuplicates: keepsDuplicates, collectsFaults: collectsFaults)
        reader.builder.nodes.reserveCapacity(source.count / 12)
        reader.skipWhitespace()
        if reader.position == source.count { throw Diagnostic(at: 0, "the text is empty; a JSON value is needed") }
        let root = try reader.value()
        reader.skipWhitespace()
        if reader.position < source.count {
            throw reader.error("found \(reader.found) after the end of the value; a JSON text is one value")
        }
        return Document(source: source, builder: reader.builder, root: root, faults: reader.faults)
    }

    /// Something that is wrong and does not keep the rest from being read.
    private mutating func note(_ fault: Diagnostic) throws(Diagnostic) {
        guard collectsFaults else { throw fault }
        if faults.count < Limits.diagnostics { faults.append(fault) }
    }

    private func error(_ message: String, at offset: Int? = nil) -> Diagnostic {
        Diagnostic(at: offset ?? position, message)
    }

    private var found: String { Text.describe(source, at: position) }

    private var current: UInt8? { position < source.count ? source[position] : nil }

    private mutating func skipWhitespace() {
        while position < source.count {
            switch source[position] {
            case 0x20, 0x09, 0x0a, 0x0d: position += 1
            default: return
            }
        }
    }

    private mutating func value() throws(Diagnostic) -> Int32 {
        switch current {
        case UInt8(ascii: "{"): return try object()
        case UInt8(ascii: "["): return try array()
        case UInt8(ascii: "\""): return try string()
        case UInt8(ascii: "-"): return try number()
        case let digit? where digit >= 0x30 && digit <= 0x39: return try number()
        case UInt8(ascii: "t"): return try literal("true", .boolean)
        case UInt8(ascii: "f"): return try literal("false", .boolean)
        case UInt8(ascii: "n"): return try literal("null", .null)
        default:
            throw error(
                "found \(found); a value is needed: a map {, a list [, text in \"\", a number, true, false or null")
        }
    }

    private mutating func literal(_ word: String, _ kind: Document.Kind) throws(Diagnostic) -> Int32 {
        let start = position
        guard source[start...].starts(with: word.utf8) else {
            throw error("found \(found); did you mean `\(word)`? Text must be in \"\"")
        }
        position += word.utf8.count
        return builder.scalar(kind, at: start, text: start..<position)
    }

    private mutating func number() throws(Diagnostic) -> Int32 {
        let start = position
        var kind = Document.Kind.integer
        if current == UInt8(ascii: "-") { position += 1 }
        let integer = digits()
        if integer == 0 { throw error("found \(found); a digit is needed, and text must be in \"\"") }
        if integer > 1, source[position - integer] == UInt8(ascii: "0") {
            throw error("a number must not begin with 0, and text must be in \"\"", at: position - integer)
        }
        if current == UInt8(ascii: ".") {
            kind = .number
            position += 1
            if digits() == 0 {
                throw error("found \(found); a digit is needed after the point, and text must be in \"\"")
            }
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            kind = .number
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            if digits() == 0 {
                throw error("found \(found); a digit is needed in the exponent, and text must be in \"\"")
            }
        }
        if kind == .number || position - start > 18 {
            let text = String(decoding: source[start..<position], as: UTF8.self)
            guard let value = Double(text), value.isFinite else {
                throw error(
                    "the number is out of range; at most 1.7976931348623157e308 is allowed, and text must be in \"\"",
                    at: start)
            }
        }
        if let byte = current, byte == 0x5f || byte == 0x2e || byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a {
            throw error("found \(found) behind a number; text must be in \"\"")
        }
        return builder.scalar(kind, at: start, text: start..<position)
    }

    private mutating func digits() -> Int {
        let start = position
        while position < source.count, source[position] >= 0x30, source[position] <= 0x39 { position += 1 }
        return position - start
    }

    private mutating func string() throws(Diagnostic) -> Int32 {
        let start = position
        position += 1
        let textStart = position
        while position < source.count {
            let byte = source[position]
            if byte == UInt8(ascii: "\"") {
                let node = builder.scalar(.string, at: start, text: textStart..<position)
                position += 1
                return node
            }
            if byte == UInt8(ascii: "\\") { return try escapedString(start, textStart) }
            if byte < 0x20 { throw controlCharacter() }
            position += 1
        }
        throw error("the text that begins here does not end; a closing \" is missing", at: start)
    }

    private func controlCharacter() -> Diagnostic {
        error("found \(found) inside text; control characters must be escaped, such as \\n")
    }

    private mutating func escapedString(_ start: Int, _ textStart: Int) throws(Diagnostic) -> Int32 {
        let arenaStart = builder.arena.count
        builder.arena.append(contentsOf: source[textStart..<position])
        while position < source.count {
            let byte = source[position]
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return builder.scalar(.string, at: start, arenaFrom: arenaStart)
            case UInt8(ascii: "\\"):
                try escape()
            case 0..<0x20:
                throw controlCharacter()
            default:
                builder.arena.append(byte)
                position += 1
            }
        }
        throw error("the text that begins here does not end; a closing \" is missing", at: start)
    }

    private mutating func escape() throws(Diagnostic) {
        let start = position
        position += 1
        let simple: UInt8
        switch current {
        case UInt8(ascii: "\""): simple = 0x22
        case UInt8(ascii: "\\"): simple = 0x5c
        case UInt8(ascii: "/"): simple = 0x2f
        case UInt8(ascii: "b"): simple = 0x08
        case UInt8(ascii: "f"): simple = 0x0c
        case UInt8(ascii: "n"): simple = 0x0a
        case UInt8(ascii: "r"): simple = 0x0d
        case UInt8(ascii: "t"): simple = 0x09
        case UInt8(ascii: "u"):
            position += 1
            try unicodeEscape(start)
            return
        default:
            throw error(
                "found \\ before \(found); allowed are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hex digits",
                at: start)
        }
        builder.arena.append(simple)
        position += 1
    }

    private mutating func unicodeEscape(_ start: Int) throws(Diagnostic) {
        var code = try fourHexDigits(start)
        if code >= 0xdc00, code < 0xe000 {
            throw error("a low surrogate stands alone; it must follow a high one", at: start)
        }
        if code >= 0xd800, code < 0xdc00 {
            guard position + 1 < source.count, source[position] == UInt8(ascii: "\\"),
                source[position + 1] == UInt8(ascii: "u")
            else { throw error("a high surrogate stands alone; a low one \\uDC00-\\uDFFF must follow", at: start) }
            position += 2
            let low = try fourHexDigits(start)
            guard low >= 0xdc00, low < 0xe000 else {
                throw error("a high surrogate stands alone; a low one \\uDC00-\\uDFFF must follow", at: start)
            }
            code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw error("no such character", at: start) }
        builder.arena.append(contentsOf: UTF8.encode(scalar)?.map { $0 } ?? [])
    }

    private mutating func fourHexDigits(_ start: Int) throws(Diagnostic) -> UInt32 {
        guard position + 4 <= source.count else { throw error("\\u needs four hex digits", at: start) }
        var code: UInt32 = 0
        for offset in 0..<4 {
            guard let digit = Text.hexValue(source[position + offset]) else {
                throw error("\\u needs four hex digits", at: start)
            }
            code = code << 4 | UInt32(digit)
        }
        position += 4
        return code
    }

    private mutating func enter() throws(Diagnostic) {
        depth += 1
        if depth > maxDepth { throw error("nested deeper than \(maxDepth) levels, which is the limit") }
    }

    private mutating func array() throws(Diagnostic) -> Int32 {
        try enter()
        let start = position
        let parent = builder.append(Document.Node(kind: .sequence, offset: UInt32(start)))
        var last: Int32 = -1
        position += 1
        skipWhitespace()
        if current == UInt8(ascii: "]") {
            position += 1
            depth -= 1
            return parent
        }
        while true {
            skipWhitespace()
            let child = try value()
            builder.link(child, below: parent, after: &last)
            skipWhitespace()
            switch current {
            case UInt8(ascii: ","):
                position += 1
                skipWhitespace()
                if current == UInt8(ascii: "]") {
                    throw error("a comma before ] is not allowed; remove it or add a value")
                }
            case UInt8(ascii: "]"):
                position += 1
                depth -= 1
                return parent
            default: throw error("found \(found) in a list; , or ] is needed")
            }
        }
    }

    private mutating func object() throws(Diagnostic) -> Int32 {
        try enter()
        let start = position
        let parent = builder.append(Document.Node(kind: .mapping, offset: UInt32(start)))
        var last: Int32 = -1
        var keys = KeySet()
        position += 1
        skipWhitespace()
        if current == UInt8(ascii: "}") {
            position += 1
            depth -= 1
            return parent
        }
        while true {
            skipWhitespace()
            guard current == UInt8(ascii: "\"") else { throw error("found \(found); a name in \"\" is needed") }
            let key = try string()
            let text = builder.text(key, source: source)
            if text.count > Limits.keyBytes {
                try note(
                    error(
                        "the name has \(text.count) bytes; at most \(Limits.keyBytes) are allowed",
                        at: Int(builder.nodes[Int(key)].offset)))
            } else if !keepsDuplicates, !keys.insert(text) {
                try note(
                    error(
                        "the name `\(Text.shown(text))` appears twice in this map",
                        at: Int(builder.nodes[Int(key)].offset)))
            }
            skipWhitespace()
            guard current == UInt8(ascii: ":") else { throw error("found \(found); : is needed after a name") }
            position += 1
            skipWhitespace()
            let child = try value()
            builder.link(key, below: parent, after: &last)
            builder.link(child, below: parent, after: &last)
            skipWhitespace()
            switch current {
            case UInt8(ascii: ","):
                position += 1
                skipWhitespace()
                if current == UInt8(ascii: "}") {
                    throw error("a comma before } is not allowed; remove it or add an entry")
                }
            case UInt8(ascii: "}"):
                position += 1
                depth -= 1
                return parent
            default: throw error("found \(found) in a map; , or } is needed")
            }
        }
    }
}

/// The keys of one map seen so far: a list while there are few, a hash set beyond.
struct KeySet {
    private var few: [ArraySlice<UInt8>] = []
    private var many: Set<ArraySlice<UInt8>> = []

    /// False when the key was there already.
    mutating func insert(_ key: ArraySlice<UInt8>) -> Bool {
        if many.isEmpty {
            if few.contains(where: { $0.elementsEqual(key) }) { return false }
            few.append(key)
            if few.count > 16 {
                many = Set(few)
                few = []
            }
            return true
        }
        return many.insert(key).inserted
    }
}
