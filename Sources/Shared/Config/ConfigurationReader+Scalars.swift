/// Single values: text, words, numbers, times; and what to say of a key that is not known.
extension ConfigurationReader {
    /// A scalar's text as it was written, for fields that are text: `007`, `1.10` and `true` are texts like others there, and what
    /// comes from the environment is text above all. Nil for collections, and for null unless the environment gave it.
    func scalarText(_ value: Value) -> String? {
        switch value.kind {
        case .string, .integer, .number, .boolean: value.text
        case .null: value.isSubstituted ? value.text : nil
        case .sequence, .mapping, .alias: nil
        }
    }

    mutating func text(_ key: Value, _ value: Value) -> String? {
        if let text = scalarText(value), !text.isEmpty, text.utf8.count <= 1024,
            !text.unicodeScalars.contains(where: Text.isInvisible)
        {
            return text
        }
        error(
            value, "`\(key.text)` is \(foundText(value)); text of 1 to 1024 bytes without control characters is needed")
        return nil
    }

    /// What stands where text is wanted and is none that can be taken.
    func foundText(_ value: Value) -> String {
        switch value.kind {
        case .null where !value.isSubstituted:
            value.bytes.isEmpty ? "empty" : "`\(value.text)`, which is null (in quotes it is text)"
        case .sequence, .mapping, .alias: value.kind.name
        case .null, .string, .integer, .number, .boolean:
            value.bytes.isEmpty
                ? "empty"
                : value.bytes.count > 1024
                    ? "longer than 1024 bytes" : "`\(Text.shown(value.bytes))`\(Text.unseen(value.bytes))"
        }
    }

    /// What stands where something else than text is wanted.
    func found(_ value: Value) -> String {
        switch value.kind {
        case .sequence, .mapping, .alias: value.kind.name
        case .null: value.bytes.isEmpty ? "empty" : "`\(value.text)`, which is null"
        case .boolean: "`\(value.text)`, which is a boolean"
        case .string, .integer, .number:
            value.bytes.isEmpty ? "empty text" : "`\(Text.shown(value.bytes))`\(Text.unseen(value.bytes))"
        }
    }

    mutating func word(_ key: Value, _ value: Value, _ allowed: [String], also other: String = "") -> String? {
        let word = scalarText(value) ?? ""
        if allowed.contains(word) { return word }
        var message = "`\(key.text)` is \(found(value)); allowed are \(list(allowed))\(other)"
        if let near = Text.nearest(word, allowed) { message += " (did you mean `\(near)`?)" }
        error(value, message)
        return nil
    }

    /// The whole number that a scalar stands for, in quotes or not; nil: it stands for none.
    func whole(_ value: Value) -> UInt64? {
        switch value.unquotedKind {
        case .integer, .number:
            // 1e3 is a whole number too.
            DecimalDigits.parse(value.bytes) ?? CoreSchema.double(value.bytes).flatMap { UInt64(exactly: $0) }
        case .null, .boolean, .string, .sequence, .mapping, .alias: nil
        }
    }

    mutating func integer(_ key: Value, _ value: Value, _ range: ClosedRange<Int>, orWord word: String? = nil)
        -> Int?
    {
        if let number = whole(value), number <= UInt64(Int.max), range.contains(Int(number)) { return Int(number) }
        let also = word.map { ", or `\($0)`" } ?? ""
        error(
            value,
            "`\(key.text)` is \(found(value)); a whole number from \(range.lowerBound) to \(range.upperBound)\(also) is needed"
        )
        return nil
    }

    /// Milliseconds. A number is seconds.
    mutating func duration(_ key: Value, _ value: Value, _ range: ClosedRange<UInt64>) -> UInt64? {
        let parsed =
            switch value.unquotedKind {
            case .integer, .number: CoreSchema.double(value.bytes).flatMap(Duration.milliseconds(seconds:))
            case .string: Duration.parse(value.text)
            case .null, .boolean, .sequence, .mapping, .alias: UInt64?.none
            }
        if let parsed, range.contains(parsed) { return parsed }
        error(
            value,
            "`\(key.text)` is \(found(value)); a time from \(Duration.text(range.lowerBound)) to \(Duration.text(range.upperBound)) is needed: seconds as a number, or such as \"250ms\", \"5s\", \"1m\""
        )
        return nil
    }

    mutating func flag(_ key: Value, _ value: Value) -> Bool? {
        if value.unquotedKind == .boolean { return value.bytes.first.map { $0 | 0x20 == UInt8(ascii: "t") } }
        error(value, "`\(key.text)` is \(found(value)); true or false is needed")
        return nil
    }

    /// Whether a scalar says `false`: what some write for `off`.
    func isFalse(_ value: Value) -> Bool {
        value.unquotedKind == .boolean && value.bytes.first.map { $0 | 0x20 } == UInt8(ascii: "f")
    }

    /// Bytes.
    mutating func size(_ key: Value, _ value: Value, _ range: ClosedRange<UInt64>) -> UInt64? {
        let isScalar = value.kind.isNumber || value.kind == .string
        let parsed = isScalar ? whole(value) ?? ByteSize.parse(value.text) : nil
        if let parsed, range.contains(parsed) { return parsed }
        error(
            value,
            "`\(key.text)` is \(found(value)); a size from \(ByteSize.text(range.lowerBound)) to \(ByteSize.text(range.upperBound)) is needed: bytes as a number, or such as \"16KiB\", \"10MiB\""
        )
        return nil
    }

    /// A status code, or two with `-` between them.
    func statusRange(_ value: Value) -> StatusRange? {
        if let code = whole(value) { return code >= 100 && code <= 599 ? StatusRange(UInt16(code), UInt16(code)) : nil }
        let parts = (scalarText(value) ?? "").split(separator: "-", omittingEmptySubsequences: false)
        let codes = parts.compactMap { DecimalDigits.parse($0.utf8, max: 599) }
        guard codes.count == 2, parts.count == 2, codes[0] >= 100, codes[1] >= codes[0] else { return nil }
        return StatusRange(UInt16(codes[0]), UInt16(codes[1]))
    }

    /// `hidesSource`: what is beside the key may be a secret whose key is misspelt.
    mutating func unknown(_ key: Value, _ allowed: [String], in place: String, hidesSource: Bool = false) {
        // That it is too long has been said.
        if key.bytes.count > Limits.keyBytes { return }
        var message = "`\(Text.shown(key.bytes))` is not known in \(place); allowed are \(list(allowed))"
        if let near = Text.nearest(key.text, allowed) { message += " (did you mean `\(near)`?)" }
        message += Text.unseen(key.bytes)
        note(.error, key, message, hidesSource: hidesSource)
    }

    func list(_ words: [String]) -> String { words.map { "`\($0)`" }.joined(separator: ", ") }
}
