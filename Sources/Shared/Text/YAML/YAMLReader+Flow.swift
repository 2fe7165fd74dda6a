/// Flow collections (section 7.4), and what block and flow have in common: maps, anchors, tags.
extension YAMLReader {
    /// What to do about a `${NAME}` in a collection in brackets, where { begins a map.
    private var variableHint: String {
        current == UInt8(ascii: "{") && position > 0 && source[position - 1] == UInt8(ascii: "$")
            ? "; text with `${` must be in quotes here" : ""
    }

    /// `[...]` or `{...}`. Every line of it must stand to the right of `parent`.
    mutating func flowCollection(parent: Int, _ properties: Properties) throws(Diagnostic) -> Int32 {
        try current == UInt8(ascii: "[")
            ? flowSequence(parent: parent, properties) : flowMapping(parent: parent, properties)
    }

    /// Separation inside a flow collection.
    private mutating func flowSeparation(_ parent: Int, _ start: Int) throws(Diagnostic) {
        let crossed = try separation()
        guard current != nil else {
            throw error(
                "the \(source[start] == UInt8(ascii: "[") ? "list" : "map") that begins here does not end", at: start)
        }
        if isDocumentMarker() { throw error("a document marker inside a flow collection") }
        // Indentation is spaces; a tab may follow it.
        if crossed, source[lineStart..<position].prefix(while: { $0 == 0x20 }).count <= parent {
            throw error(
                "found \(found) inside a flow collection; its lines must be indented further than what it belongs to")
        }
    }

    private mutating func flowSequence(parent: Int, _ properties: Properties) throws(Diagnostic) -> Int32 {
        try enter()
        let start = position
        let weightBefore = weight
        let node = try open(.sequence, properties)
        var last: Int32 = -1
        position += 1
        while true {
            try flowSeparation(parent, start)
            if current == UInt8(ascii: "]") { break }
            if current == UInt8(ascii: ",") { throw error("found `,` where a list entry is needed") }
            builder.link(try flowEntry(parent, start), below: node, after: &last)
            try flowSeparation(parent, start)
            if current == UInt8(ascii: ",") {
                position += 1
            } else if current != UInt8(ascii: "]") {
                throw error("found \(found) in a list; , or ] is needed\(variableHint)")
            }
        }
        position += 1
        depth -= 1
        return try close(node, properties, weightBefore)
    }

    /// An entry of a flow list: a node, or a single pair `key: value`, which is a map of its own.
    private mutating func flowEntry(_ parent: Int, _ start: Int) throws(Diagnostic) -> Int32 {
        let entryStart = position
        let line = lineStart
        let weightBefore = weight
        let key: Int32
        if isIndicator(UInt8(ascii: "?")) {
            position += 1
            try flowSeparation(parent, start)
            if current == UInt8(ascii: ",") || current == UInt8(ascii: "]") {
                key = try null(at: position)
            } else if isFlowValueIndicator(afterJSONLike: false) {
                key = try null(at: position)
            } else {
                key = try flowNode(parent)
            }
        } else if isFlowValueIndicator(afterJSONLike: false) {
            key = try null(at: position)
        } else {
            let isJSONLike = startsJSONLike()
            key = try flowNode(parent)
            let end = place
            let endLine = lineStart
            try flowSeparation(parent, start)
            let isValue = isFlowValueIndicator(afterJSONLike: isJSONLike)
            if isValue, endLine != line || lineStart != line {
                throw error("the key of a single pair in a list must be on one line", at: entryStart)
            }
            if isValue, position - entryStart > Limits.keyBytes {
                throw error("the key of a single pair has more than \(Limits.keyBytes) bytes", at: entryStart)
            }
            if !isValue {
                goBack(end)
                return key
            }
        }
        try count(1)
        let map = builder.append(Document.Node(kind: .mapping, offset: UInt32(entryStart)))
        var entries = MappingEntries(parent: map)
        let value = try flowValue(parent, start)
        try add(key, value, entryStart, &entries)
        try merge(&entries)
        return try close(map, Properties(), weightBefore)
    }

    /// Behind a key: `: value`, or nothing.
    private mutating func flowValue(_ parent: Int, _ start: Int) throws(Diagnostic) -> Int32 {
        try flowSeparation(parent, start)
        guard current == UInt8(ascii: ":") else { return try null(at: position) }
        position += 1
        try flowSeparation(parent, start)
        if current == UInt8(ascii: ",") || current == UInt8(ascii: "]") || current == UInt8(ascii: "}") {
            return try null(at: position)
        }
        return try flowNode(parent)
    }

    private mutating func flowMapping(parent: Int, _ properties: Properties) throws(Diagnostic) -> Int32 {
        try enter()
        let start = position
        let weightBefore = weight
        let node = try open(.mapping, properties)
        var entries = MappingEntries(parent: node)
        position += 1
        while true {
            try flowSeparation(parent, start)
            if current == UInt8(ascii: "}") { break }
            if current == UInt8(ascii: ",") { throw error("found `,` where an entry of a map is needed") }
            let entryStart = position
            let key: Int32
            var isJSONLike = false
            if isIndicator(UInt8(ascii: "?")) {
                position += 1
                try flowSeparation(parent, start)
            }
            if current == UInt8(ascii: ",") || current == UInt8(ascii: "}")
                || isFlowValueIndicator(afterJSONLike: false)
            {
                key = try null(at: position)
            } else {
                isJSONLike = startsJSONLike()
                key = try flowNode(parent)
            }
            try flowSeparation(parent, start)
            let value =
                isFlowValueIndicator(afterJSONLike: isJSONLike) ? try flowValue(parent, start) : try null(at: position)
            try add(key, value, entryStart, &entries)
            try flowSeparation(parent, start)
            if current == UInt8(ascii: ",") {
                position += 1
            } else if current != UInt8(ascii: "}") {
                throw error("found \(found) in a map; , or } is needed\(variableHint)")
            }
        }
        position += 1
        depth -= 1
        try merge(&entries)
        return try close(node, properties, weightBefore)
    }

    /// `:` that ends a key: followed by white space or an indicator; right after "" or a bracket by anything.
    private func isFlowValueIndicator(afterJSONLike: Bool) -> Bool {
        guard current == UInt8(ascii: ":") else { return false }
        if afterJSONLike || isSpace(position + 1) { return true }
        return byte(position + 1).map(Self.isFlowIndicator) ?? true
    }

    /// Quoted or bracketed: a key like those of JSON.
    private func startsJSONLike() -> Bool {
        var index = position
        while let byte = byte(index), byte == UInt8(ascii: "&") || byte == UInt8(ascii: "!") {
            while !isSpace(index) { index += 1 }
            while isSpace(index), index < source.count { index += 1 }
        }
        switch byte(index) {
        case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "["), UInt8(ascii: "{"): return true
        default: return false
        }
    }

    /// A node in flow context.
    private mutating func flowNode(_ parent: Int) throws(Diagnostic) -> Int32 {
        var properties = Properties()
        let start = position
        if current == UInt8(ascii: "&") || current == UInt8(ascii: "!") {
            properties = try self.properties()
            let end = place
            _ = try separation()
            guard let byte = current, byte != UInt8(ascii: ","), byte != UInt8(ascii: "]"), byte != UInt8(ascii: "}"),
                !isFlowValueIndicator(afterJSONLike: false)
            else {
                goBack(end)
                return try finish(try null(at: position), properties)
            }
        }
        switch current {
        case UInt8(ascii: "*"):
            if !properties.isEmpty { throw error("an alias has neither anchor nor tag of its own", at: start) }
            return try alias()
        case UInt8(ascii: "["), UInt8(ascii: "{"): return try flowCollection(parent: parent, properties)
        case UInt8(ascii: "\""), UInt8(ascii: "'"): return try finish(try quoted(parent: parent), properties)
        default: return try finish(try plain(parent: parent, isFlow: true), properties)
        }
    }

    // MARK: Maps in both styles

    /// A map as it fills.
    struct MappingEntries {
        let parent: Int32
        var last: Int32 = -1
        var keys = KeySet()
        /// Values of merge keys `<<`, in order.
        var merged: [(value: Int32, offset: Int)] = []

        init(parent: Int32) { self.parent = parent }
    }

    mutating func add(_ key: Int32, _ value: Int32, _ offset: Int, _ entries: inout MappingEntries) throws(Diagnostic) {
        var target = key
        while builder.nodes[Int(target)].kind == .alias { target = builder.nodes[Int(target)].first }
        let kind = builder.nodes[Int(target)].kind
        if kind == .sequence || kind == .mapping {
            throw error("a key that is \(kind.name) is not supported; keys are text", at: offset)
        }
        let text = builder.text(target, source: source)
        if text.count > Limits.keyBytes {
            try note(
                error("the key has \(text.count) bytes; at most \(Limits.keyBytes) are allowed", at: offset))
        } else if !entries.keys.insert(text) {
            try note(error("the key `\(Text.shown(text))` appears twice in this map", at: offset))
        }
        let valueKind = resolved(value)
        if key == target, kind == .string, text.elementsEqual([0x3c, 0x3c]), !isQuoted(key),
            valueKind == .mapping || valueKind == .sequence
        {
            entries.merged.append((value, offset))
            return
        }
        builder.link(key, below: entries.parent, after: &entries.last)
        builder.link(value, below: entries.parent, after: &entries.last)
    }

    private func resolved(_ node: Int32) -> Document.Kind { builder.nodes[Int(target(node))].kind }

    private func target(_ node: Int32) -> Int32 {
        var node = node
        while builder.nodes[Int(node)].kind == .alias { node = builder.nodes[Int(node)].first }
        return node
    }

    private func isQuoted(_ node: Int32) -> Bool {
        let byte = source[Int(builder.nodes[Int(node)].offset)]
        return byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'")
    }

    /// Merge keys (yaml.org/type/merge): the entries of the named maps that this one does not have itself; earlier ones win.
    mutating func merge(_ entries: inout MappingEntries) throws(Diagnostic) {
        for (value, offset) in entries.merged {
            var maps: [Int32] = []
            if resolved(value) == .mapping {
                maps = [target(value)]
            } else {
                var element = builder.nodes[Int(target(value))].first
                while element >= 0 {
                    guard resolved(element) == .mapping else {
                        throw error("`<<` takes a map or a list of maps", at: offset)
                    }
                    maps.append(target(element))
                    element = builder.nodes[Int(element)].next
                }
            }
            for map in maps { try merge(map, offset, &entries) }
        }
    }

    private mutating func merge(_ map: Int32, _ offset: Int, _ entries: inout MappingEntries) throws(Diagnostic) {
        var key = builder.nodes[Int(map)].first
        while key >= 0 {
            let value = builder.nodes[Int(key)].next
            let next = builder.nodes[Int(value)].next
            if entries.keys.insert(builder.text(target(key), source: source)) {
                try count(2)
                for child in [key, value] {
                    let link = builder.append(Document.Node(kind: .alias, offset: UInt32(offset), first: target(child)))
                    builder.link(link, below: entries.parent, after: &entries.last)
                }
            }
            key = next
        }
    }

    // MARK: Anchors and tags (section 6.9)

    struct Properties {
        var anchor: ArraySlice<UInt8>?
        var tag: CoreTag?
        var offset = 0
        var isEmpty: Bool { anchor == nil && tag == nil }

        /// These and those that stood before them.
        func joined(_ earlier: Properties) throws(Diagnostic) -> Properties {
            if anchor != nil, earlier.anchor != nil { throw Diagnostic(at: offset, "a second anchor for one value") }
            if tag != nil, earlier.tag != nil { throw Diagnostic(at: offset, "a second tag for one value") }
            return Properties(anchor: anchor ?? earlier.anchor, tag: tag ?? earlier.tag, offset: earlier.offset)
        }
    }

    mutating func properties() throws(Diagnostic) -> Properties {
        var properties = Properties()
        properties.offset = position
        while let byte = current, byte == UInt8(ascii: "&") || byte == UInt8(ascii: "!") {
            if byte == UInt8(ascii: "&") {
                if properties.anchor != nil { throw error("a second anchor for one value") }
                position += 1
                properties.anchor = try anchorName()
            } else {
                if properties.tag != nil { throw error("a second tag for one value") }
                properties.tag = try tag()
            }
            let end = position
            while let byte = current, Self.isBlank(byte) { position += 1 }
            if position == end { break }
            if let next = current, next != UInt8(ascii: "&"), next != UInt8(ascii: "!") {
                break
            }
        }
        if let anchor = properties.anchor { anchors[anchor] = (nil, 0) }
        return properties
    }

    private mutating func anchorName() throws(Diagnostic) -> ArraySlice<UInt8> {
        let start = position
        while !isSpace(position), !Self.isFlowIndicator(source[position]) { position += 1 }
        guard position > start else { throw error("found \(found); the name of an anchor is needed") }
        return source[start..<position]
    }

    mutating func alias() throws(Diagnostic) -> Int32 {
        let start = position
        position += 1
        let name = try anchorName()
        guard let anchor = anchors[name] else {
            throw error("the anchor `\(Text.shown(name))` is not defined before this alias", at: start)
        }
        guard let node = anchor.node else {
            throw error("the alias `\(Text.shown(name))` stands inside the value that it names", at: start)
        }
        hasAliases = true
        try count(max(1, anchor.weight))
        return builder.append(Document.Node(kind: .alias, offset: UInt32(start), first: node))
    }

    /// Begins a collection.
    mutating func open(_ kind: Document.Kind, _ properties: Properties) throws(Diagnostic) -> Int32 {
        try count(1)
        if let tag = properties.tag { try tag.check(kind, at: properties.offset) }
        return builder.append(Document.Node(kind: kind, offset: UInt32(position)))
    }

    /// Ends a collection: now its anchor may be used.
    mutating func close(_ node: Int32, _ properties: Properties, _ weightBefore: Int) throws(Diagnostic) -> Int32 {
        if let anchor = properties.anchor { anchors[anchor] = (node, weight - weightBefore) }
        return node
    }

    /// Ends a scalar: its tag decides the type, its anchor may be used.
    mutating func finish(_ node: Int32, _ properties: Properties) throws(Diagnostic) -> Int32 {
        if let tag = properties.tag { try apply(tag, node, properties.offset) }
        let text = Int(builder.nodes[Int(node)].count) / Limits.textBytesPerNode
        try count(text)
        if let anchor = properties.anchor { anchors[anchor] = (node, 1 + text) }
        return node
    }
}
