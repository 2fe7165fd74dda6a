/// Replaces `${NAME}` and `${NAME:-default}` inside scalars, keys included, by the environment's values; `$${` is a plain `${`.
/// A name that is missing and has no default is an error with its place.
///
/// What comes from the environment is text: who reads a field that is a number, a time or a flag takes it as one, in both formats,
/// in quotes or not. It is never structure.
struct EnvironmentSubstitution {
    let lookUp: (String) -> String?
    private(set) var diagnostics: [Diagnostic] = []
    /// How many there are, those beyond the limit included.
    private(set) var failures = 0
    /// Where values stand that could not be replaced: they are wrong in other ways, too, which is nothing new.
    private(set) var unreplaced: Set<Int> = []
    private var keys: Set<Int32> = []

    init(_ lookUp: @escaping (String) -> String?) { self.lookUp = lookUp }

    mutating func apply(to document: Document) -> Document {
        // Almost no configuration has one: then nothing is copied.
        guard document.source.indices.contains(where: { isOpening(document.source, $0) }) else { return document }
        var builder = DocumentBuilder()
        builder.nodes = document.nodes
        builder.arena = document.arena
        for index in document.nodes.indices where document.nodes[index].kind == .mapping {
            var key = document.nodes[index].first
            while key >= 0 {
                let node = document.nodes[Int(key)]
                keys.insert(node.kind == .alias ? node.first : key)
                let value = document.nodes[Int(key)].next
                key = value >= 0 ? document.nodes[Int(value)].next : -1
            }
        }
        for index in document.nodes.indices {
            switch document.nodes[index].kind {
            case .string, .integer, .number, .boolean, .null: replace(index, document, &builder)
            case .sequence, .mapping, .alias: break
            }
        }
        for index in document.nodes.indices where document.nodes[index].kind == .mapping {
            refuseDuplicates(index, document.source, builder)
        }
        return Document(
            source: document.source, builder: builder, root: document.rootIndex, faults: document.faults)
    }

    /// Two keys may have become one.
    private mutating func refuseDuplicates(_ mapping: Int, _ source: [UInt8], _ builder: DocumentBuilder) {
        var keys = KeySet()
        var key = builder.nodes[mapping].first
        while key >= 0 {
            // Of an alias and of what a merge has brought, the text is elsewhere.
            let node = builder.nodes[Int(key)]
            let text = builder.text(node.kind == .alias ? node.first : key, source: source)
            if !keys.insert(text) {
                fail(builder.nodes[Int(key)], "the key `\(Text.shown(text))` is there twice, with what it became")
            }
            let value = builder.nodes[Int(key)].next
            key = value >= 0 ? builder.nodes[Int(value)].next : -1
        }
    }

    private func isOpening(_ bytes: [UInt8], _ index: Int) -> Bool {
        bytes[index] == UInt8(ascii: "$") && index + 1 < bytes.count && bytes[index + 1] == UInt8(ascii: "{")
    }

    private mutating func replace(_ index: Int, _ document: Document, _ builder: inout DocumentBuilder) {
        let node = document.nodes[index]
        let text = Array(builder.text(Int32(index), source: document.source))
        guard text.indices.contains(where: { isOpening(text, $0) }) else { return }
        var out: [UInt8] = []
        var position = 0
        var isGood = true
        while position < text.count {
            if text[position] == UInt8(ascii: "$"), position + 1 < text.count, text[position + 1] == UInt8(ascii: "$"),
                isOpening(text, position + 1)
            {
                out += [UInt8(ascii: "$"), UInt8(ascii: "{")]
                position += 3
            } else if isOpening(text, position) {
                guard let close = text[position...].firstIndex(of: UInt8(ascii: "}")) else {
                    fail(node, "`${` is not closed; write ${NAME} or ${NAME:-default}, or $${ for the text itself")
                    isGood = false
                    position = text.count
                    continue
                }
                if let value = value(text[position + 2..<close], node) {
                    out += Array(value.utf8)
                } else {
                    isGood = false
                }
                position = close + 1
            } else {
                out.append(text[position])
                position += 1
            }
        }
        guard isGood else {
            if !keys.contains(Int32(truncatingIfNeeded: index)) { unreplaced.insert(Int(node.offset)) }
            return
        }
        store(out, index, &builder)
    }

    private mutating func value(_ inside: ArraySlice<UInt8>, _ node: Document.Node) -> String? {
        let words = String(decoding: inside, as: UTF8.self)
        let separator = words.firstRange(of: ":-")
        let name = separator.map { String(words[..<$0.lowerBound]) } ?? words
        let isName =
            !name.isEmpty && name.utf8.first.map { $0 < 0x30 || $0 > 0x39 } ?? false
            && name.utf8.allSatisfy { $0 == 0x5f || $0 >= 0x30 && $0 <= 0x39 || $0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7a }
        guard isName else {
            fail(
                node,
                "`\(Text.shown(name.utf8))` is no name of an environment variable; letters, digits and _ are allowed")
            return nil
        }
        if let value = lookUp(name), !value.isEmpty || separator == nil {
            guard !value.unicodeScalars.contains("\u{FFFD}") else {
                fail(node, "the environment variable `\(name)` holds bytes that are not UTF-8")
                return nil
            }
            return value
        }
        if let separator {
            let fallback = words[separator.upperBound...]
            guard !fallback.contains("${") else {
                fail(node, "the default of `\(name)` holds another `${`; one variable has one plain default")
                return nil
            }
            return String(fallback)
        }
        fail(node, "the environment variable `\(name)` is not set; set it, or write ${\(name):-default}")
        return nil
    }

    private mutating func fail(_ node: Document.Node, _ message: String) {
        failures += 1
        if failures <= Limits.diagnostics { diagnostics.append(Diagnostic(at: Int(node.offset), message)) }
    }

    private func store(_ text: [UInt8], _ index: Int, _ builder: inout DocumentBuilder) {
        builder.nodes[index].kind = .string
        builder.nodes[index].isSubstituted = true
        builder.nodes[index].inArena = true
        builder.nodes[index].textStart = UInt32(builder.arena.count)
        builder.nodes[index].count = UInt32(text.count)
        builder.arena += text
    }
}
