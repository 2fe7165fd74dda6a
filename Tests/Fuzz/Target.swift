// One input of the fuzzer: its first byte says which reader gets the rest. What a reader may not do is trap, or contradict
// itself. Built by `Tests/Fuzz/run` together with the sources of Shared, not by the package.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 0 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: data, count: size))
    let text = Array(bytes.dropFirst())
    switch bytes[0] {
    case UInt8(ascii: "y"): configuration("c.yaml", text)
    case UInt8(ascii: "j"): configuration("c.json", text)
    case UInt8(ascii: "q"): request(text)
    case UInt8(ascii: "s"): response(text)
    case UInt8(ascii: "c"): chunks(text)
    case UInt8(ascii: "p"): proxyHeader(text)
    case UInt8(ascii: "n"): snapshot(text)
    default: return -1
    }
    return 0
}

private func require(_ condition: Bool, _ message: String) {
    if !condition { fatalError(message) }
}

/// What is accepted prints as a configuration that reads the same; what is refused has a place.
private func configuration(_ name: String, _ text: [UInt8]) {
    do throws(ConfigurationFile.Refusal) {
        let (configuration, _) = try ConfigurationFile(path: name, bytes: text).configuration { _ in "1" }
        let printed = Array(ConfigurationPrinter.yaml(configuration).utf8)
        let again = try ConfigurationFile(path: "again.yaml", bytes: printed).configuration { _ in nil }
        require(again.0 == configuration, "the printed configuration differs")
    } catch {
        require(error.text.hasPrefix("\(name):"), "a refusal without a place, or of what was printed: \(error.text)")
    }
}

/// However the bytes are split, the same head is read or refused.
private func request(_ text: [UInt8]) {
    var whole = RequestHead()
    let result = Result { try whole.parse(text.span) }
    for cut in [1, text.count / 2, text.count - 1] where cut > 0 && cut < text.count {
        var part = RequestHead()
        let beginning = Array(text[..<cut])
        if (try? part.parse(beginning.span)) == true {
            guard case .success(true) = result else { fatalError("a part is a head and the whole is not") }
            require(part.byteCount == whole.byteCount, "a part is another head")
        }
    }
    guard case .success(true) = result else { return }
    require(whole.byteCount <= text.count && whole.byteCount <= Limits.headBytes, "a head beyond its bytes")
    _ = whole.fields.nominatedNames(in: text.span)
}

private func response(_ text: [UInt8]) {
    var head = ResponseHead()
    guard (try? head.parse(text.span)) == true else { return }
    require(head.byteCount <= text.count && head.status >= 100 && head.status < 600, "an impossible head")
    _ = head.fields.announcedTimeout(in: text.span)
}

/// The data of a chunked body is the same however it is split.
private func chunks(_ text: [UInt8]) {
    func decode(_ step: Int) -> (data: [UInt8], ended: Bool)? {
        var decoder = BodyDecoder(.chunked, status: 400)
        var data: [UInt8] = []
        var input: [UInt8] = []
        var next = 0
        while !decoder.isComplete {
            var position = 0
            guard let piece = try? decoder.next(input.span, &position) else { return nil }
            switch piece {
            case .data(let start, let count): data += input[start..<start + count]
            case .end: break
            case .needsMore:
                input.removeFirst(position)
                position = 0
                if next == text.count { return (data, false) }
                input += text[next..<min(text.count, next + step)]
                next = min(text.count, next + step)
                continue
            }
            input.removeFirst(position)
        }
        return (data, true)
    }
    let (whole, pieces) = (decode(max(1, text.count)), decode(1))
    if let whole, whole.ended {
        require(pieces.map { $0.data == whole.data && $0.ended } ?? false, "the splitting changes a chunked body")
    }
}

private func proxyHeader(_ text: [UInt8]) {
    guard let parsed = try? ProxyHeader.parse(text.span), case .header(let count, _) = parsed else { return }
    require(count <= text.count, "a PROXY header beyond its bytes")
}

private func snapshot(_ text: [UInt8]) {
    var assembler = SnapshotAssembler()
    for line in text.split(separator: 0x0a) { _ = try? assembler.receive(Array(line) + [0x0a]) }
}
