/// Writes JSON text (RFC 8259) into bytes; commas are placed by it. With `indent` each entry gets a line.
public struct JSONWriter: Sendable {
    public private(set) var bytes: [UInt8] = []
    private var needsComma = false
    private var afterKey = false
    private var depth = 0
    private let indent: Int

    public init(indent: Int = 0, capacity: Int = 0) {
        self.indent = indent
        bytes.reserveCapacity(capacity)
    }

    /// What has been written since the last piece; the value goes on behind it.
    public mutating func takePiece() -> [UInt8] {
        defer { bytes.removeAll(keepingCapacity: true) }
        return bytes
    }

    private mutating func separate() {
        if afterKey {
            afterKey = false
            return
        }
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        if indent > 0, depth > 0 { newline() }
        needsComma = true
    }

    private mutating func newline() {
        bytes.append(0x0a)
        bytes.append(contentsOf: repeatElement(0x20, count: depth * indent))
    }

    private mutating func open(_ byte: UInt8) {
        separate()
        bytes.append(byte)
        depth += 1
        needsComma = false
    }

    private mutating func close(_ byte: UInt8) {
        depth -= 1
        if indent > 0, needsComma { newline() }
        bytes.append(byte)
        needsComma = true
    }

    public mutating func beginObject() { open(UInt8(ascii: "{")) }
    public mutating func endObject() { close(UInt8(ascii: "}")) }
    public mutating func beginArray() { open(UInt8(ascii: "[")) }
    public mutating func endArray() { close(UInt8(ascii: "]")) }

    public mutating func key(_ name: some StringProtocol) {
        separate()
        quote(name.utf8)
        bytes.append(UInt8(ascii: ":"))
        if indent > 0 { bytes.append(0x20) }
        afterKey = true
    }

    public mutating func value(_ text: some StringProtocol) {
        separate()
        quote(text.utf8)
    }

    public mutating func value(utf8 text: some Sequence<UInt8>) {
        separate()
        quote(text)
    }

    public mutating func value(_ number: some FixedWidthInteger) {
        separate()
        bytes.append(contentsOf: String(number).utf8)
    }

    /// Infinities and NaN, which JSON does not have, become null.
    public mutating func value(_ number: Double) {
        separate()
        if !number.isFinite {
            bytes.append(contentsOf: "null".utf8)
        } else if number == number.rounded(), abs(number) < 1e15 {
            bytes.append(contentsOf: String(Int64(number)).utf8)
        } else {
            bytes.append(contentsOf: String(number).utf8)
        }
    }

    public mutating func value(_ flag: Bool) {
        separate()
        bytes.append(contentsOf: (flag ? "true" : "false").utf8)
    }

    public mutating func null() {
        separate()
        bytes.append(contentsOf: "null".utf8)
    }

    public mutating func field(_ name: StaticString, _ text: some StringProtocol) {
        key(name.description)
        value(text)
    }

    public mutating func field(_ name: StaticString, _ number: some FixedWidthInteger) {
        key(name.description)
        value(number)
    }

    public mutating func field(_ name: StaticString, _ flag: Bool) {
        key(name.description)
        value(flag)
    }

    /// A line break outside the JSON: the end of a line of newline-delimited JSON.
    public mutating func endLine() {
        bytes.append(0x0a)
        needsComma = false
    }

    private mutating func quote(_ text: some Sequence<UInt8>) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""): bytes.append(contentsOf: [0x5c, 0x22])
            case UInt8(ascii: "\\"): bytes.append(contentsOf: [0x5c, 0x5c])
            case 0x0a: bytes.append(contentsOf: [0x5c, UInt8(ascii: "n")])
            case 0x0d: bytes.append(contentsOf: [0x5c, UInt8(ascii: "r")])
            case 0x09: bytes.append(contentsOf: [0x5c, UInt8(ascii: "t")])
            case 0..<0x20, 0x7f:
                bytes.append(contentsOf: "\\u00".utf8)
                bytes.append(contentsOf: Text.hex(byte).utf8.dropFirst(2))
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}

extension JSONWriter {
    /// Writes a parsed text; aliases are written out. Infinities and NaN, which JSON does not have, become null.
    public mutating func value(_ value: Document.Value) {
        switch value.kind {
        case .null, .alias: null()
        case .boolean: self.value(value.boolean ?? false)
        case .integer, .number:
            // YAML writes some numbers in ways that JSON has not.
            if let text = CoreSchema.json(value.bytes) { raw(text) } else { null() }
        case .string: self.value(utf8: value.bytes)
        case .sequence:
            beginArray()
            for element in value.elements { self.value(element) }
            endArray()
        case .mapping:
            beginObject()
            for (key, value) in value.members {
                self.key(key.text)
                self.value(value)
            }
            endObject()
        }
    }

    private mutating func raw(_ text: ArraySlice<UInt8>) {
        separate()
        bytes.append(contentsOf: text)
    }
}
