import Shared

/// A name server's message, as far as it matters here (RFC 1035 4.1). Whatever bytes come: it is read whole, or not at all.
struct DNSResponse: Equatable, Sendable {
    enum Value: Equatable, Sendable {
        case address(SocketAddress)
        /// The name is another one's (CNAME).
        case alias(DNSName)
        case service(priority: UInt16, weight: UInt16, port: UInt16, target: DNSName)
    }

    struct Record: Equatable, Sendable {
        let owner: DNSName
        let seconds: UInt32
        let value: Value
    }

    /// Why bytes are no response.
    struct Fault: Error, Equatable {
        let reason: String
    }

    let id: UInt16
    let question: DNSQuestion
    let isTruncated: Bool
    /// RCODE with its upper bits of EDNS (RFC 6895 2.3): 0 no error, 1 the query is not understood, 2 the server failed, 3 no such name, 4 not
    /// implemented, 5 refused, 16 another version of EDNS.
    private(set) var code: UInt16
    private(set) var records: [Record] = []
    /// For how long the absence of what was asked for may be believed (RFC 2308 5); nil: nothing is said of that.
    private(set) var absenceSeconds: UInt32?

    init(_ bytes: Span<UInt8>) throws(Fault) {
        var reader = Reader(bytes)
        let id = try reader.word()
        let flags = try reader.word()
        guard flags & 0x8000 != 0 else { throw Fault(reason: "a query where a response was awaited") }
        guard flags & 0x7800 == 0 else { throw Fault(reason: "a response to something other than a query") }
        let questions = try reader.word()
        let counts = [try reader.word(), try reader.word(), try reader.word()]
        guard questions == 1 else { throw Fault(reason: "\(questions) questions instead of one") }
        let name = try reader.name()
        guard let type = DNSQuestion.RecordType(rawValue: try reader.word()),
            try reader.word() == DNSQuestion.classInternet
        else { throw Fault(reason: "a question that was not asked") }
        self.id = id
        question = DNSQuestion(name: name, type: type)
        isTruncated = flags & 0x0200 != 0
        code = flags & 0xf
        // What a truncated one holds is not used: it may end anywhere.
        if isTruncated { return }
        for (section, count) in counts.enumerated() {
            for _ in 0..<count { try read(section, &reader) }
        }
    }

    /// Reads a record of the answers (0), the authorities (1) or the additional ones (2).
    private mutating func read(_ section: Int, _ reader: inout Reader) throws(Fault) {
        let owner = try reader.name()
        let type = try reader.word()
        let (group, seconds) = (try reader.word(), try reader.doubleWord())
        let length = Int(try reader.word())
        let end = reader.position + length
        guard length <= reader.rest else { throw Fault(reason: "a record that is cut") }
        if type == DNSQuestion.typeOptions {
            code |= UInt16(truncatingIfNeeded: seconds >> 24) << 4
        } else if group == DNSQuestion.classInternet {
            // RFC 2181 8: with its highest bit set it is none.
            let seconds = seconds > UInt32(Int32.max) ? 0 : seconds
            if section == 0, let value = try value(type, length, &reader) {
                records.append(Record(owner: owner, seconds: seconds, value: value))
            } else if section == 1, type == 6 {
                absenceSeconds = min(seconds, try minimum(&reader))
            }
            guard reader.position <= end else { throw Fault(reason: "a name that is longer than its record") }
        }
        reader.position = end
    }

    private func value(_ type: UInt16, _ length: Int, _ reader: inout Reader) throws(Fault) -> Value? {
        switch type {
        case DNSQuestion.RecordType.a.rawValue:
            guard length == 4 else { throw Fault(reason: "an IPv4 address of \(length) bytes") }
            return .address(SocketAddress(ipv4: try reader.doubleWord(), port: 0))
        case DNSQuestion.RecordType.aaaa.rawValue:
            guard length == 16 else { throw Fault(reason: "an IPv6 address of \(length) bytes") }
            let high = UInt64(try reader.doubleWord()) << 32 | UInt64(try reader.doubleWord())
            let low = UInt64(try reader.doubleWord()) << 32 | UInt64(try reader.doubleWord())
            return .address(SocketAddress(ipv6High: high, low: low, port: 0))
        case 5: return .alias(try reader.name())
        case DNSQuestion.RecordType.srv.rawValue:
            let (priority, weight, port) = (try reader.word(), try reader.word(), try reader.word())
            return .service(priority: priority, weight: weight, port: port, target: try reader.name())
        default: return nil
        }
    }

    /// The last field of SOA.
    private func minimum(_ reader: inout Reader) throws(Fault) -> UInt32 {
        _ = try reader.name()
        _ = try reader.name()
        for _ in 0..<4 { _ = try reader.doubleWord() }
        return try reader.doubleWord()
    }

    private struct Reader: ~Copyable, ~Escapable {
        let bytes: Span<UInt8>
        var position = 0

        @_lifetime(copy bytes)
        init(_ bytes: Span<UInt8>) { self.bytes = bytes }

        var rest: Int { bytes.count - position }

        mutating func word() throws(Fault) -> UInt16 {
            guard rest >= 2 else { throw Fault(reason: "a message that is cut") }
            defer { position += 2 }
            return UInt16(bytes[position]) << 8 | UInt16(bytes[position + 1])
        }

        mutating func doubleWord() throws(Fault) -> UInt32 {
            let high = try word()
            return UInt32(high) << 16 | UInt32(try word())
        }

        mutating func name() throws(Fault) -> DNSName {
            guard let name = DNSName.read(bytes, &position) else { throw Fault(reason: "a name that is none") }
            return name
        }
    }
}
