/// The core schema (section 10.3): what a plain scalar is.
enum CoreSchema {
    /// The number that a scalar of kind integer or number stands for.
    static func double(_ text: ArraySlice<UInt8>) -> Double? {
        Double(String(decoding: text, as: UTF8.self)) ?? resolve(text).canonical.flatMap(Double.init)
    }

    /// A number as JSON writes it; nil for infinities and NaN, which it has not.
    static func json(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        if (try? JSONReader.parse(Array(text)))?.root.kind.isNumber ?? false { return text }
        guard let canonical = resolve(text).canonical, let value = Double(canonical), value.isFinite else { return nil }
        return ArraySlice(canonical.utf8)
    }

    /// The kind, and the text that JSON would have where it differs from what was written.
    static func resolve(_ text: ArraySlice<UInt8>) -> (kind: Document.Kind, canonical: String?) {
        guard let first = text.first else { return (.null, nil) }
        switch first {
        case UInt8(ascii: "~"): return text.count == 1 ? (.null, nil) : (.string, nil)
        case UInt8(ascii: "n"), UInt8(ascii: "N"):
            return isOneOf(text, ["null", "Null", "NULL"]) ? (.null, nil) : (.string, nil)
        case UInt8(ascii: "t"), UInt8(ascii: "T"):
            return isOneOf(text, ["true", "True", "TRUE"]) ? (.boolean, "true") : (.string, nil)
        case UInt8(ascii: "f"), UInt8(ascii: "F"):
            return isOneOf(text, ["false", "False", "FALSE"]) ? (.boolean, "false") : (.string, nil)
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."):
            return number(text)
        default: return (.string, nil)
        }
    }

    private static func isOneOf(_ text: ArraySlice<UInt8>, _ words: [String]) -> Bool {
        words.contains { text.elementsEqual($0.utf8) }
    }

    private static func number(_ text: ArraySlice<UInt8>) -> (kind: Document.Kind, canonical: String?) {
        let string = String(decoding: text, as: UTF8.self)
        if string.hasPrefix("0x"), let value = UInt64(hexadecimalDigits: text.dropFirst(2), radix: 16) {
            return (.integer, String(value))
        }
        if string.hasPrefix("0o"), let value = UInt64(hexadecimalDigits: text.dropFirst(2), radix: 8) {
            return (.integer, String(value))
        }
        let isNegative = string.hasPrefix("-")
        let digits = isNegative || string.hasPrefix("+") ? text.dropFirst() : text
        if !digits.isEmpty, digits.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
            let significant = digits.drop { $0 == 0x30 }
            let plain = significant.isEmpty ? "0" : String(decoding: significant, as: UTF8.self)
            return (.integer, isNegative && plain != "0" ? "-" + plain : plain)
        }
        if isOneOf(digits, [".inf", ".Inf", ".INF"]) { return (.number, isNegative ? "-inf" : "inf") }
        if isOneOf(text, [".nan", ".NaN", ".NAN"]) { return (.number, "nan") }
        guard isFloat(digits), let value = Double(isNegative ? string : String(decoding: digits, as: UTF8.self)) else {
            return (.string, nil)
        }
        return (.number, value.description)
    }

    /// ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
    private static func isFloat(_ text: ArraySlice<UInt8>) -> Bool {
        var rest = text
        func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
        let whole = rest.prefix(while: isDigit).count
        rest = rest.dropFirst(whole)
        var fraction = 0
        if rest.first == UInt8(ascii: ".") {
            rest = rest.dropFirst()
            fraction = rest.prefix(while: isDigit).count
            rest = rest.dropFirst(fraction)
        }
        guard whole + fraction > 0 else { return false }
        if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
            rest = rest.dropFirst()
            if rest.first == UInt8(ascii: "+") || rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
            let exponent = rest.prefix(while: isDigit).count
            guard exponent > 0 else { return false }
            rest = rest.dropFirst(exponent)
        }
        return rest.isEmpty
    }
}

extension UInt64 {
    /// Digits of base 8 or 16 and nothing else; nil on overflow.
    init?(hexadecimalDigits digits: ArraySlice<UInt8>, radix: UInt64) {
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard let digit = Text.hexValue(byte), UInt64(digit) < radix else { return nil }
            let (scaled, overflow) = value.multipliedReportingOverflow(by: radix)
            if overflow { return nil }
            value = scaled + UInt64(digit)
        }
        self = value
    }
}

/// The tags of the core schema; all others are refused.
enum CoreTag: String {
    case string = "str"
    case integer = "int"
    case number = "float"
    case boolean = "bool"
    case null
    case sequence = "seq"
    case mapping = "map"
    /// `!`: no type resolution.
    case nonSpecific = ""

    func check(_ kind: Document.Kind, at offset: Int) throws(Diagnostic) {
        switch self {
        case .nonSpecific: return
        case .sequence: if kind == .sequence { return }
        case .mapping: if kind == .mapping { return }
        case .string, .integer, .number, .boolean, .null: break
        }
        throw Diagnostic(at: offset, "the tag !!\(rawValue) does not fit \(kind.name)")
    }
}

extension YAMLReader {
    /// A tag (6.9.1): `!!str`, `!<tag:yaml.org,2002:str>`, `!`, or a handle defined to mean a core tag.
    mutating func tag() throws(Diagnostic) -> CoreTag {
        let start = position
        position += 1
        var name: String
        if current == UInt8(ascii: "<") {
            while let byte = current, byte != UInt8(ascii: ">"), !isSpace(position) { position += 1 }
            guard current == UInt8(ascii: ">") else { throw error("the > of a tag is missing", at: start) }
            name = String(decoding: source[start + 2..<position], as: UTF8.self)
            position += 1
        } else {
            while !isSpace(position), !Self.isFlowIndicator(source[position]) { position += 1 }
            let text = source[start..<position]
            let handleEnd = (text.dropFirst().firstIndex(of: UInt8(ascii: "!")) ?? start) + 1
            let handle = String(decoding: source[start..<handleEnd], as: UTF8.self)
            let suffix = String(decoding: source[handleEnd..<position], as: UTF8.self)
            if handle == "!", suffix.isEmpty { return .nonSpecific }
            guard let prefix = tagHandles[handle] ?? (handle == "!!" ? Self.corePrefix : handle == "!" ? "!" : nil)
            else {
                throw error("the tag handle \(Text.shown(handle.utf8)) is not defined by a %TAG directive", at: start)
            }
            name = prefix + suffix
        }
        if !isSpace(position), let byte = current, !Self.isFlowIndicator(byte) {
            throw error("found \(found) behind a tag; a space is needed")
        }
        guard name.hasPrefix(Self.corePrefix),
            let tag = CoreTag(rawValue: String(name.dropFirst(Self.corePrefix.count))), tag != .nonSpecific
        else {
            throw error(
                "the tag \(Text.shown(source[start..<position])) is not supported; !!str, !!int, !!float, !!bool, !!null, !!seq and !!map are",
                at: start)
        }
        return tag
    }

    private static var corePrefix: String { "tag:yaml.org,2002:" }

    /// Makes a scalar what its tag says.
    mutating func apply(_ tag: CoreTag, _ node: Int32, _ offset: Int) throws(Diagnostic) {
        let index = Int(node)
        let kind = builder.nodes[index].kind
        switch tag {
        case .string, .nonSpecific:
            builder.nodes[index].kind = .string
        case .integer, .number, .boolean, .null:
            let resolved = CoreSchema.resolve(builder.text(node, source: source)).kind
            let fits =
                switch tag {
                case .integer: resolved == .integer
                case .number: resolved == .number || resolved == .integer
                case .boolean: resolved == .boolean
                case .null: resolved == .null
                case .string, .sequence, .mapping, .nonSpecific: false
                }
            guard fits else {
                throw error(
                    "the tag !!\(tag.rawValue) does not fit `\(Text.shown(builder.text(node, source: source)))`",
                    at: offset)
            }
            builder.nodes[index].kind = resolved
        case .sequence, .mapping:
            throw error("the tag !!\(tag.rawValue) does not fit \(kind.name)", at: offset)
        }
    }
}
