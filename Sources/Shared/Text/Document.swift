/// A parsed JSON or YAML text: a tree in one array, each node with its place in the source, so that whoever reads a value
/// can say where it was written. 24 bytes a node; texts stay in the source unless they had to be unescaped.
///
/// A scalar keeps its text as it was written, whatever its type looks like: only who reads a field knows whether `1.10` is a
/// number there or a version.
public final class Document: Sendable {
    public enum Kind: UInt8, Sendable {
        case null, boolean, integer, number, string, sequence, mapping
        /// Stands for another node (YAML): never seen through `Value`.
        case alias

        var isNumber: Bool { self == .integer || self == .number }

        /// The word used in messages.
        public var name: String {
            switch self {
            case .null: "null"
            case .boolean: "a boolean"
            case .integer: "an integer"
            case .number: "a number"
            case .string: "text"
            case .sequence: "a list"
            case .mapping: "a map"
            case .alias: "an alias"
            }
        }
    }

    struct Node: Sendable {
        var kind: Kind
        /// The text is in `arena`, not in `source`.
        var inArena = false
        /// Part of the text came from the environment.
        var isSubstituted = false
        /// Byte offset of the node in the source.
        var offset: UInt32
        var textStart: UInt32 = 0
        /// Bytes of text; for collections the number of children (keys and values each count).
        var count: UInt32 = 0
        /// The first child; for an alias its target.
        var first: Int32 = -1
        var next: Int32 = -1
    }

    public let source: [UInt8]
    let nodes: [Node]
    let arena: [UInt8]
    let rootIndex: Int32
    /// What is wrong with the text and did not keep the rest from being read: keys that appear twice or are too long. Their
    /// entries are there, so that what is wrong with them is found, too.
    let faults: [Diagnostic]

    init(source: [UInt8], builder: consuming DocumentBuilder, root: Int32, faults: [Diagnostic] = []) {
        self.source = source
        self.faults = faults
        nodes = builder.nodes
        arena = builder.arena
        rootIndex = root
    }

    public var root: Value { Value(self, rootIndex) }

    /// One node of a document.
    public struct Value: Sendable {
        public let document: Document
        let index: Int32
        /// Where it was written; for an alias, where the alias was.
        public let offset: Int

        init(_ document: Document, _ index: Int32) {
            self.document = document
            offset = Int(document.nodes[Int(index)].offset)
            var target = index
            while document.nodes[Int(target)].kind == .alias { target = document.nodes[Int(target)].first }
            self.index = target
        }

        private var node: Node { document.nodes[Int(index)] }
        public var kind: Kind { node.kind }

        /// The scalar's text as it was written, unescaped; empty for collections.
        public var bytes: ArraySlice<UInt8> {
            let node = node
            if node.kind == .sequence || node.kind == .mapping { return [] }
            let range = Int(node.textStart)..<Int(node.textStart) + Int(node.count)
            return node.inArena ? document.arena[range] : document.source[range]
        }

        public var text: String { String(decoding: bytes, as: UTF8.self) }

        /// The text if this is a string.
        public var string: String? { kind == .string ? text : nil }
        public var boolean: Bool? {
            kind == .boolean ? bytes.first == UInt8(ascii: "t") || bytes.first == UInt8(ascii: "T") : nil
        }
        /// The number if this is a non-negative integer up to 2^64-1.
        public var unsigned: UInt64? {
            guard kind == .integer else { return nil }
            return DecimalDigits.parse(bytes)
                ?? CoreSchema.resolve(bytes).canonical.flatMap { DecimalDigits.parse($0.utf8) }
        }
        public var double: Double? { kind == .integer || kind == .number ? CoreSchema.double(bytes) : nil }

        /// Whether part of the text came from the environment.
        var isSubstituted: Bool { node.isSubstituted }

        /// What a scalar is if quotes count for nothing: who wants a number takes `8001` and `"8001"` alike.
        var unquotedKind: Kind { kind == .string ? CoreSchema.resolve(bytes).kind : kind }

        /// The elements of a list; nothing for other kinds.
        public var elements: Children { Children(document, kind == .sequence ? node.first : -1) }

        /// The entries of a map, in order; nothing for other kinds.
        public var members: Members { Members(document, kind == .mapping ? node.first : -1) }

        /// Children of a collection: elements of a list, entries of a map.
        public var count: Int {
            switch kind {
            case .sequence: Int(node.count)
            case .mapping: Int(node.count) / 2
            default: 0
            }
        }

        /// The value of a key; looks through the entries one by one.
        public subscript(_ key: StaticString) -> Value? {
            for member in members where member.key.matches(key) { return member.value }
            return nil
        }

        func matches(_ text: StaticString) -> Bool {
            text.equals(bytes)
        }
    }

    public struct Children: Sequence, IteratorProtocol {
        let document: Document
        var index: Int32

        init(_ document: Document, _ first: Int32) {
            self.document = document
            index = first
        }

        public mutating func next() -> Value? {
            guard index >= 0 else { return nil }
            let value = Value(document, index)
            index = document.nodes[Int(index)].next
            return value
        }
    }

    public struct Members: Sequence, IteratorProtocol {
        var children: Children

        init(_ document: Document, _ first: Int32) { children = Children(document, first) }

        public mutating func next() -> (key: Value, value: Value)? {
            guard let key = children.next(), let value = children.next() else { return nil }
            return (key, value)
        }
    }
}

/// Collects nodes while a text is read.
struct DocumentBuilder {
    var nodes: [Document.Node] = []
    var arena: [UInt8] = []

    /// Adds a scalar whose text stands in the source.
    mutating func scalar(_ kind: Document.Kind, at offset: Int, text: Range<Int>) -> Int32 {
        append(
            Document.Node(
                kind: kind, offset: UInt32(offset), textStart: UInt32(text.lowerBound), count: UInt32(text.count)))
    }

    /// Adds a scalar whose text is the arena from `start` on.
    mutating func scalar(_ kind: Document.Kind, at offset: Int, arenaFrom start: Int) -> Int32 {
        append(
            Document.Node(
                kind: kind, inArena: true, offset: UInt32(offset), textStart: UInt32(start),
                count: UInt32(arena.count - start)))
    }

    mutating func append(_ node: Document.Node) -> Int32 {
        nodes.append(node)
        return Int32(nodes.count - 1)
    }

    /// Hangs `child` behind `last` (or as the first) below `parent`.
    mutating func link(_ child: Int32, below parent: Int32, after last: inout Int32) {
        if last >= 0 { nodes[Int(last)].next = child } else { nodes[Int(parent)].first = child }
        nodes[Int(parent)].count += 1
        last = child
    }

    func text(_ index: Int32, source: [UInt8]) -> ArraySlice<UInt8> {
        let node = nodes[Int(index)]
        let range = Int(node.textStart)..<Int(node.textStart) + Int(node.count)
        // A slice of the arena would make the next text that is added copy all of it.
        return node.inArena ? Array(arena[range])[...] : source[range]
    }
}
