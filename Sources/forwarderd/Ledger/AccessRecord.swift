import Shared

/// The fields of one line of the access log. Exists only if there is an access log.
final class AccessRecord {
    private let startedAt = Clock.wallMilliseconds()
    private let start = Clock.monotonicNanoseconds()
    let client: [UInt8]
    var method: [UInt8] = [0x2d]
    var target: [UInt8] = [0x2d]
    var minorVersion = 1
    /// The API path that matched.
    var route = ""
    var service = ""
    var instance = ""
    /// Which of the instance's addresses, if its name has several.
    var address: SocketAddress?
    var tries = 0
    var status: UInt16 = 0
    /// Why this forwarder responded itself, or why the response was cut; empty for an instance's response.
    var cause = ""
    private var receivedBytes = 0
    private var sentBytes = 0
    /// Nanoseconds since `start`; 0 for never.
    private var chosenAfter: UInt64 = 0
    private var connectedAfter: UInt64 = 0
    private var firstByteAfter: UInt64 = 0

    init(client: [UInt8]) { self.client = client }

    private var elapsed: UInt64 { Clock.monotonicNanoseconds() &- start }

    /// Shortens the fields so that the line fits a single write to a pipe, even if every byte has to be escaped.
    func shorten() {
        if target.count > 300 { target = target[..<300] + Array("...".utf8) }
        if route.utf8.count > 200 { route = String(decoding: route.utf8.prefix(200), as: UTF8.self) + "..." }
        if service.utf8.count > 100 { service = String(decoding: service.utf8.prefix(100), as: UTF8.self) + "..." }
        if cause.utf8.count > 100 { cause = String(decoding: cause.utf8.prefix(100), as: UTF8.self) + "..." }
    }

    func received(_ count: Int) { receivedBytes &+= count }
    func sent(_ count: Int) { sentBytes &+= count }
    func chosen() { chosenAfter = elapsed }
    func connected() { connectedAfter = elapsed }
    func firstByte() { if firstByteAfter == 0 { firstByteAfter = elapsed } }

    /// The line, with its line break.
    func line(_ format: Log.Format, _ outcome: Outcome, requestID id: String) -> [UInt8] {
        // Each part begins where the one before ended.
        let total = elapsed
        let queue = chosenAfter
        let connect = connectedAfter > chosenAfter ? connectedAfter - chosenAfter : 0
        let firstByte =
            firstByteAfter > max(connectedAfter, chosenAfter) ? firstByteAfter - max(connectedAfter, chosenAfter) : 0
        switch format {
        case .json:
            var writer = JSONWriter()
            writer.beginObject()
            writer.field("time", Timestamp.iso8601(wallMilliseconds: startedAt))
            writer.field("client", String(decoding: client, as: UTF8.self))
            writer.field("method", String(decoding: method, as: UTF8.self))
            writer.field("target", String(decoding: target, as: UTF8.self))
            writer.field("protocol", "HTTP/1.\(minorVersion)")
            writer.field("status", status)
            writer.field("outcome", outcome.rawValue)
            writer.field("bytes_received", receivedBytes)
            writer.field("bytes_sent", sentBytes)
            writer.field("service", service)
            writer.field("route", route)
            writer.field("instance", instance)
            if let address { writer.field("address", address.description) }
            writer.field("tries", tries)
            writer.field("cause", cause)
            writer.key("queue_ms")
            writer.value(Self.milliseconds(queue))
            writer.key("connect_ms")
            writer.value(Self.milliseconds(connect))
            writer.key("first_byte_ms")
            writer.value(Self.milliseconds(firstByte))
            writer.key("total_ms")
            writer.value(Self.milliseconds(total))
            writer.field("request_id", id)
            writer.endObject()
            writer.endLine()
            return writer.bytes
        case .text:
            var line = Array("\(Timestamp.iso8601(wallMilliseconds: startedAt)) ".utf8)
            Self.append(client, to: &line)
            line.append(contentsOf: " \"".utf8)
            Self.append(method, to: &line)
            line.append(0x20)
            Self.append(target, to: &line)
            line.append(contentsOf: " HTTP/1.\(minorVersion)\" \(status) \(outcome.rawValue) ".utf8)
            line.append(contentsOf: "\(receivedBytes) \(sentBytes) ".utf8)
            for word in [service, route, instance + (address.map { "(\($0))" } ?? "")] {
                Self.append(word.isEmpty ? [0x2d] : Array(word.utf8), to: &line)
                line.append(0x20)
            }
            line.append(
                contentsOf:
                    "tries=\(tries) queue=\(Self.milliseconds(queue)) connect=\(Self.milliseconds(connect)) first_byte=\(Self.milliseconds(firstByte)) total=\(Self.milliseconds(total)) id="
                    .utf8)
            Self.append(Array(id.utf8), to: &line)
            line.append(contentsOf: " cause=\"".utf8)
            Self.append(Array(cause.utf8), to: &line, keepsSpaces: true)
            line.append(contentsOf: "\"\n".utf8)
            return line
        }
    }

    /// With three decimals at most.
    private static func milliseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds / 1000) / 1000 }

    /// Escapes a client's bytes so that they stay one word on one line.
    private static func append(_ bytes: [UInt8], to line: inout [UInt8], keepsSpaces: Bool = false) {
        for byte in bytes {
            if byte < 0x20 || byte >= 0x7f || byte == 0x22 || byte == 0x5c || byte == 0x20 && !keepsSpaces {
                line.append(contentsOf: "\\x".utf8)
                line.append(contentsOf: Text.hex(byte).utf8.dropFirst(2))
            } else {
                line.append(byte)
            }
        }
    }
}
