/// Block structure (chapter 8).
extension YAMLReader {
    /// A node in block context, right behind the indicator that announced it. `parent` is the column of the collection it
    /// belongs to (-1 at the top): what is on a later line must stand to the right of it, except that a list may stand at
    /// the column of the map that it is a value of. `isCompactAllowed`: a collection may begin on the same line (after `- `).
    mutating func blockNode(parent: Int, allowsSequenceAtParent: Bool, isCompactAllowed: Bool) throws(Diagnostic)
        -> Int32
    {
        let start = place
        let before = position
        // A document without `---` begins on a line of its own.
        var crossed = try separation() || parent == -1 && isCompactAllowed
        guard let first = current, !isDocumentMarker() else {
            goBack(start)
            return try null(at: before)
        }
        if crossed, column <= parent {
            if allowsSequenceAtParent, column == parent, isIndicator(UInt8(ascii: "-")) {
                return try blockSequence(isIndentless: true, Properties())
            }
            goBack(start)
            return try null(at: before)
        }
        if first == UInt8(ascii: "&") || first == UInt8(ascii: "!") {
            if crossed || isCompactAllowed, try isImplicitKeyAhead() {
                return try blockMapping(Properties(), before, crossed)
            }
            var properties = try self.properties()
            var afterProperties = place
            crossed = try separation()
            // An anchor and a tag may stand on two lines.
            if crossed, let next = current, next == UInt8(ascii: "&") || next == UInt8(ascii: "!"), column > parent,
                try !isImplicitKeyAhead()
            {
                properties = try self.properties().joined(properties)
                afterProperties = place
                crossed = try separation()
            }
            if current == nil || isDocumentMarker() || crossed && column <= parent {
                if crossed, current != nil, !isDocumentMarker(), allowsSequenceAtParent, column == parent,
                    isIndicator(UInt8(ascii: "-"))
                {
                    return try blockSequence(isIndentless: true, properties)
                }
                goBack(afterProperties)
                return try finish(try null(at: position), properties)
            }
            return try content(parent: parent, properties, before, isCollectionAllowed: crossed, crossed)
        }
        return try content(
            parent: parent, Properties(), before, isCollectionAllowed: crossed || isCompactAllowed, crossed)
    }

    private mutating func content(
        parent: Int, _ properties: Properties, _ before: Int, isCollectionAllowed: Bool, _ crossed: Bool
    ) throws(Diagnostic) -> Int32 {
        guard let first = current else { return try null(at: position) }
        if isIndicator(UInt8(ascii: "-")) {
            guard isCollectionAllowed else { throw error("a list must begin on a line of its own") }
            try refuseTab(since: before, crossed)
            return try blockSequence(isIndentless: false, properties)
        }
        if try isImplicitKeyAhead() {
            guard isCollectionAllowed else {
                throw error(
                    "a map must begin on a line of its own; is this text with `: ` in it? Then put it in quotes")
            }
            return try blockMapping(properties, before, crossed)
        }
        switch first {
        case UInt8(ascii: "*"):
            if !properties.isEmpty { throw error("an alias has neither anchor nor tag of its own") }
            return try alias()
        case UInt8(ascii: "|"), UInt8(ascii: ">"):
            return try finish(try blockScalar(parent: parent), properties)
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            return try flowCollection(parent: parent, properties)
        case UInt8(ascii: "\""), UInt8(ascii: "'"):
            return try finish(try quoted(parent: parent), properties)
        default:
            return try finish(try plain(parent: parent, isFlow: false), properties)
        }
    }

    /// Indentation is made of spaces (6.1): a tab before a collection leaves its column undefined.
    private func refuseTab(since before: Int, _ crossed: Bool) throws(Diagnostic) {
        let from = crossed ? lineStart : max(lineStart, before)
        if let tab = source[from..<position].firstIndex(of: 0x09) {
            throw error("a tab is not allowed in indentation; use spaces", at: tab)
        }
    }

    // MARK: Lists

    private mutating func blockSequence(isIndentless: Bool, _ properties: Properties) throws(Diagnostic) -> Int32 {
        try enter()
        let column = column
        let weightBefore = weight
        let parent = try open(.sequence, properties)
        var last: Int32 = -1
        while true {
            position += 1
            let child = try blockNode(parent: column, allowsSequenceAtParent: false, isCompactAllowed: true)
            builder.link(child, below: parent, after: &last)
            let end = place
            let crossed = try separation()
            if current == nil || isDocumentMarker() || self.column < column {
                goBack(end)
                break
            }
            guard crossed else { throw error("found \(found) after the end of a list entry") }
            try refuseTab(since: lineStart, true)
            if self.column > column { throw error("found \(found) indented further than the entries of this list") }
            if !isIndicator(UInt8(ascii: "-")) {
                guard isIndentless else {
                    throw error("found \(found) at the indentation of a list; an entry `- ` is needed")
                }
                goBack(end)
                break
            }
        }
        depth -= 1
        return try close(parent, properties, weightBefore)
    }

    // MARK: Maps

    private mutating func blockMapping(_ properties: Properties, _ before: Int, _ crossed: Bool) throws(Diagnostic)
        -> Int32
    {
        try refuseTab(since: before, crossed)
        try enter()
        let column = column
        let weightBefore = weight
        let parent = try open(.mapping, properties)
        var entries = MappingEntries(parent: parent)
        while true {
            try entry(column, &entries)
            let end = place
            let crossed = try separation()
            if current == nil || isDocumentMarker() || self.column < column {
                goBack(end)
                break
            }
            guard crossed else { throw error("found \(found) after the end of a value") }
            try refuseTab(since: lineStart, true)
            if self.column > column { throw error("found \(found) indented further than the keys of this map") }
            if isIndicator(UInt8(ascii: "-")) { throw error("found a list entry at the indentation of a map's keys") }
            guard try isImplicitKeyAhead() else {
                throw error("found \(found) in a map; a key followed by `: ` is needed")
            }
        }
        depth -= 1
        try merge(&entries)
        return try close(parent, properties, weightBefore)
    }

    private mutating func entry(_ column: Int, _ entries: inout MappingEntries) throws(Diagnostic) {
        let keyPlace = position
        let key: Int32
        var isExplicit = false
        if isIndicator(UInt8(ascii: "?")) {
            isExplicit = true
            position += 1
            key = try blockNode(parent: column, allowsSequenceAtParent: true, isCompactAllowed: true)
            let end = place
            let crossed = try separation()
            guard crossed, self.column == column, isIndicator(UInt8(ascii: ":")) else {
                goBack(end)
                try add(key, try null(at: position), keyPlace, &entries)
                return
            }
            try refuseTab(since: lineStart, true)
        } else if isIndicator(UInt8(ascii: ":")) {
            key = try null(at: position)
        } else {
            key = try implicitKey()
            while let byte = current, Self.isBlank(byte) { position += 1 }
            guard current == UInt8(ascii: ":") else { throw error("found \(found); `:` is needed after a key") }
        }
        position += 1
        let value = try blockNode(parent: column, allowsSequenceAtParent: true, isCompactAllowed: isExplicit)
        try add(key, value, keyPlace, &entries)
    }

    /// A key on one line: scalar, alias or (refused later) collection, with its properties.
    mutating func implicitKey() throws(Diagnostic) -> Int32 {
        let properties =
            current == UInt8(ascii: "&") || current == UInt8(ascii: "!") ? try self.properties() : Properties()
        while let byte = current, Self.isBlank(byte) { position += 1 }
        switch current {
        case UInt8(ascii: "*"):
            if !properties.isEmpty { throw error("an alias has neither anchor nor tag of its own") }
            return try alias()
        case UInt8(ascii: "["), UInt8(ascii: "{"): return try flowCollection(parent: -1, properties)
        case UInt8(ascii: "\""), UInt8(ascii: "'"): return try finish(try quoted(parent: -1), properties)
        case UInt8(ascii: ":") where isSpace(position + 1): return try finish(try null(at: position), properties)
        default: return try finish(try plain(parent: -1, isFlow: false, isKey: true), properties)
        }
    }

    // MARK: Looking ahead

    /// Whether what stands here is a key of a block map: a node within the line, followed by `:` and white space.
    func isImplicitKeyAhead() throws(Diagnostic) -> Bool {
        if isIndicator(UInt8(ascii: "?")) || isIndicator(UInt8(ascii: ":")) { return true }
        var index = position
        // A key that is too long is found here too, and refused by its length later.
        let limit = source.count
        while let byte = byte(index), byte == UInt8(ascii: "&") || byte == UInt8(ascii: "!") {
            while !isSpace(index) { index += 1 }
            while let byte = self.byte(index), Self.isBlank(byte) { index += 1 }
        }
        guard let first = byte(index), !Self.isBreak(first) else { return false }
        switch first {
        case UInt8(ascii: "*"):
            while !isSpace(index), let byte = byte(index), !Self.isFlowIndicator(byte) { index += 1 }
        case UInt8(ascii: "\""), UInt8(ascii: "'"):
            guard let end = endOfQuoted(index, limit) else { return false }
            index = end
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            guard let end = endOfFlow(index, limit) else { return false }
            index = end
        case UInt8(ascii: ":") where isSpace(index + 1): return true
        default: return isPlainKeyAhead(index, limit)
        }
        while let byte = byte(index), Self.isBlank(byte) { index += 1 }
        return byte(index) == UInt8(ascii: ":") && isSpace(index + 1)
    }

    private func isPlainKeyAhead(_ start: Int, _ limit: Int) -> Bool {
        var index = start
        guard isPlainStart(index, isFlow: false) else { return false }
        while index < limit, !Self.isBreak(source[index]) {
            if source[index] == UInt8(ascii: ":"), isSpace(index + 1) { return true }
            if source[index] == UInt8(ascii: "#"), index > start, Self.isBlank(source[index - 1]) { return false }
            index += 1
        }
        return false
    }

    /// Behind the closing quote, if it is on this line.
    private func endOfQuoted(_ start: Int, _ limit: Int) -> Int? {
        let quote = source[start]
        var index = start + 1
        while index < limit, !Self.isBreak(source[index]) {
            if source[index] == quote {
                if quote == UInt8(ascii: "'"), byte(index + 1) == quote {
                    index += 1
                } else {
                    return index + 1
                }
            } else if source[index] == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
                index += 1
            }
            index += 1
        }
        return nil
    }

    /// Behind the closing bracket, if it is on this line.
    private func endOfFlow(_ start: Int, _ limit: Int) -> Int? {
        var open = 0
        var index = start
        while index < limit, !Self.isBreak(source[index]) {
            switch source[index] {
            case UInt8(ascii: "["), UInt8(ascii: "{"): open += 1
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                open -= 1
                if open == 0 { return index + 1 }
            case UInt8(ascii: "\""), UInt8(ascii: "'"):
                if Self.isBlank(source[index - 1]) || Self.isFlowIndicator(source[index - 1])
                    || source[index - 1] == UInt8(ascii: ":")
                {
                    guard let end = endOfQuoted(index, limit) else { return nil }
                    index = end - 1
                }
            default: break
            }
            index += 1
        }
        return nil
    }
}
