import Shared

/// Copies consecutive field lines that are canonical already in one piece.
struct FieldRun {
    private var start = 0
    private var end = 0

    @inline(__always)
    mutating func add(_ line: FieldLine, _ bytes: Span<UInt8>, _ out: inout Buffer) {
        let name = Int(line.nameStart)
        let value = Int(line.valueStart)
        let valueEnd = value &+ Int(line.valueCount)
        // `name: value` CR LF, with one space and nothing else between.
        guard value == name &+ Int(line.nameCount) &+ 2, bytes[value &- 1] == 0x20, bytes[value &- 2] == 0x3a,
            bytes[valueEnd] == 0x0d
        else {
            flush(bytes, &out)
            return ForwardedRequest.writeLine(line, bytes, &out)
        }
        if name != end {
            flush(bytes, &out)
            start = name
        }
        end = valueEnd &+ 2
    }

    @inline(__always)
    mutating func flush(_ bytes: Span<UInt8>, _ out: inout Buffer) {
        if end > start { out.append(bytes.extracting(start..<end)) }
        start = 0
        end = 0
    }
}
