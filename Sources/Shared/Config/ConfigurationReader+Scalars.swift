/// Single values: text, words, numbers, times; and what to say of a key that is not known.
extension ConfigurationReader {
    mutating func text(_ key: Value, _ value: Value) -> String? {
        if let text = value.string, !text.isEmpty, text.utf8.count <= 1024 { return text }
        let found = value.kind == .string ? (value.bytes.isEmpty ? "empty" : "longer than 1024 bytes") : value.kind.name
        error(value, "`\(key.text)` is \(found); text is needed")
        return nil
    }

    mutating func word(_ key: Value, _ value: Value, _ allowed: [String]) -> String? {
        let word = value.kind == .sequence || value.kind == .mapping ? "" : value.text
        if allowed.contains(word) { return word }
        var message =
            "`\(key.text)` is \(word.isEmpty ? value.kind.name : "`\(Text.shown(word.utf8))`"); allowed are \(list(allowed))"
        if let near = Text.nearest(word, allowed) { message += " (did you mean `\(near)`?)" }
        error(value, message)
        return nil
    }

    mutating func integer(_ key: Value, _ value: Value, _ range: ClosedRange<Int>, orWord word: String? = nil)
        -> Int?
    {
        // 1e3 is a whole number too.
        let whole = value.unsigned ?? value.double.flatMap { UInt64(exactly: $0) }
        if let number = whole, number <= UInt64(Int.max), range.contains(Int(number)) { return Int(number) }
        let found =
            value.kind == .sequence || value.kind == .mapping ? value.kind.name : "`\(Text.shown(value.text.utf8))`"
        let also = word.map { ", or `\($0)`" } ?? ""
        error(
            value,
            "`\(key.text)` is \(found); a whole number from \(range.lowerBound) to \(range.upperBound)\(also) is needed"
        )
        return nil
    }

    /// Milliseconds. A number is seconds.
    mutating func duration(_ key: Value, _ value: Value, _ range: ClosedRange<UInt64>) -> UInt64? {
        let parsed =
            switch value.kind {
            case .integer, .number: Duration.parse(seconds: value.text)
            case .string: Duration.parse(value.text)
            case .null, .boolean, .sequence, .mapping, .alias: UInt64?.none
            }
        if let parsed, range.contains(parsed) { return parsed }
        let found =
            value.kind == .sequence || value.kind == .mapping ? value.kind.name : "`\(Text.shown(value.text.utf8))`"
        error(
            value,
            "`\(key.text)` is \(found); a time from \(Duration.text(range.lowerBound)) to \(Duration.text(range.upperBound)) is needed: seconds as a number, or such as \"250ms\", \"5s\", \"1m\""
        )
        return nil
    }

    mutating func flag(_ key: Value, _ value: Value) -> Bool? {
        if let flag = value.boolean { return flag }
        error(value, "`\(key.text)` is \(value.kind.name); true or false is needed")
        return nil
    }

    /// Bytes.
    mutating func size(_ key: Value, _ value: Value, _ range: ClosedRange<UInt64>) -> UInt64? {
        let parsed = value.kind == .integer || value.kind == .string ? ByteSize.parse(value.text) : nil
        if let parsed, range.contains(parsed) { return parsed }
        let found =
            value.kind == .sequence || value.kind == .mapping ? value.kind.name : "`\(Text.shown(value.text.utf8))`"
        error(
            value,
            "`\(key.text)` is \(found); a size from \(ByteSize.text(range.lowerBound)) to \(ByteSize.text(range.upperBound)) is needed: bytes as a number, or such as \"16KiB\", \"10MiB\""
        )
        return nil
    }

    /// `hidesSource`: what is beside the key may be a secret whose key is misspelt.
    mutating func unknown(_ key: Value, _ allowed: [String], in place: String, hidesSource: Bool = false) {
        var message = "`\(Text.shown(key.bytes))` is not known in \(place); allowed are \(list(allowed))"
        if let near = Text.nearest(key.text, allowed) { message += " (did you mean `\(near)`?)" }
        note(.error, key, message, hidesSource: hidesSource)
    }

    func list(_ words: [String]) -> String { words.map { "`\($0)`" }.joined(separator: ", ") }
}
