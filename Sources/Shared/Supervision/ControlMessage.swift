/// What serverpyctl says to a child on the `control` socketpair: one JSON object a packet, descriptors beside it.
public enum ControlMessage: Equatable, Sendable {
    /// Say so for `delay`, accept nothing more after it, finish what is open within the time, then exit 0.
    case drain(delayMilliseconds: UInt64, timeoutMilliseconds: UInt64)
    /// Exit 0 now.
    case stop
    /// Open log files anew (after a rename).
    case reopenLogs
    /// Listeners that replace the present ones; the descriptors come beside it.
    case listeners
    /// The configuration's bytes; a memory file comes beside it.
    case configuration(path: String)
    /// A child's answer: the configuration is in force, with every forwarder.
    case applied(snapshot: String)
    /// A child's answer: it is not, and why.
    case refused(reason: String)

    public struct Fault: Error, Equatable, Sendable {
        public let reason: String
    }

    public func encode() -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        switch self {
        case .drain(let delay, let timeout):
            writer.field("type", "drain")
            writer.field("delay_ms", delay)
            writer.field("timeout_ms", timeout)
        case .stop: writer.field("type", "stop")
        case .reopenLogs: writer.field("type", "reopen_logs")
        case .listeners: writer.field("type", "listeners")
        case .configuration(let path):
            writer.field("type", "configuration")
            writer.field("path", path)
        case .applied(let snapshot):
            writer.field("type", "applied")
            writer.field("snapshot", snapshot)
        case .refused(let reason):
            writer.field("type", "refused")
            // All of it fits a packet.
            let bounded =
                reason.utf8.count <= Limits.refusalBytes
                ? reason : String(decoding: reason.utf8.prefix(Limits.refusalBytes), as: UTF8.self) + "..."
            writer.field("reason", bounded)
        }
        writer.endObject()
        return writer.bytes
    }

    public static func decode(_ bytes: [UInt8]) throws(Fault) -> ControlMessage {
        let root: Document.Value
        do {
            root = try JSONReader.parse(bytes).root
        } catch {
            throw Fault(reason: "not JSON: \(error.message)")
        }
        switch root["type"]?.string {
        case "drain":
            return .drain(
                delayMilliseconds: min(root["delay_ms"]?.unsigned ?? 0, Limits.drainMaximumMilliseconds),
                timeoutMilliseconds: min(
                    root["timeout_ms"]?.unsigned ?? Limits.drainTimeoutMilliseconds, Limits.drainMaximumMilliseconds))
        case "stop": return .stop
        case "reopen_logs": return .reopenLogs
        case "listeners": return .listeners
        case "configuration": return .configuration(path: root["path"]?.string ?? "configuration")
        case "applied": return .applied(snapshot: root["snapshot"]?.string ?? "")
        case "refused": return .refused(reason: root["reason"]?.string ?? "no reason given")
        default: throw Fault(reason: "an unknown message: \(Text.shown(bytes))")
        }
    }
}
