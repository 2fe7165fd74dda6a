import Shared

/// The file `instances` of the state directory: a line that says what it is, then one line per instance, then one more for each
/// change; the last of an instance counts, and one may say that it is gone. So a change costs one line, a torn end loses that line alone, and when the changes
/// outweigh the rest the file is written anew beside the old one.
enum SavedState {
    static let fileName = "instances"
    static let format = 1

    struct Loaded {
        var instances: [SavedInstance] = []
        /// When discoveryd was last seen at work: wall clock, milliseconds, as the last line says.
        var aliveAt: UInt64 = 0
        /// Something at the end was not whole.
        var isTorn = false
    }

    /// Reads the file's bytes; nil: it is not such a file.
    static func read(_ bytes: [UInt8]) -> Loaded? {
        var loaded = Loaded()
        var places: [InstanceName: Int] = [:]
        var isGone = Set<Int>()
        var isFirst = true
        var start = 0
        while start < bytes.count {
            guard let end = bytes[start...].firstIndex(of: 0x0a) else {
                loaded.isTorn = true
                break
            }
            let line = Array(bytes[start...end])
            start = end + 1
            guard let message = try? JSONReader.parse(line).root else {
                if isFirst { return nil }
                loaded.isTorn = true
                break
            }
            if isFirst {
                guard message["type"]?.string == "serverpy-state", message["format"]?.unsigned == UInt64(format) else {
                    return nil
                }
                isFirst = false
                loaded.aliveAt = message["at"]?.unsigned ?? 0
            } else if let alive = message["alive"]?.unsigned {
                loaded.aliveAt = alive
                if let gone = message["gone"], let service = gone["service"]?.string,
                    let url = gone["instance"]?.string,
                    let place = places.removeValue(
                        forKey: InstanceName(
                            service: service, url: url,
                            address: gone["address"]?.string.flatMap(SocketAddress.init(hostPort:))))
                {
                    isGone.insert(place)
                }
            } else if let instance = SavedInstance(message) {
                loaded.aliveAt = instance.at
                let name = instance.name
                if let place = places[name] {
                    loaded.instances[place] = instance
                } else {
                    places[name] = loaded.instances.count
                    loaded.instances.append(instance)
                }
            } else {
                loaded.isTorn = true
                break
            }
        }
        if isFirst { return nil }
        if !isGone.isEmpty {
            loaded.instances = loaded.instances.enumerated().filter { !isGone.contains($0.offset) }.map(\.element)
        }
        return loaded
    }

    static func begin(at wall: UInt64, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("type", "serverpy-state")
        writer.field("format", format)
        writer.field("at", wall)
        writer.endObject()
        writer.endLine()
    }

    /// The instance was taken out of the configuration. Who does not know that takes the line for a sign of life.
    static func gone(_ name: InstanceName, at wall: UInt64, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("alive", wall)
        writer.key("gone")
        writer.beginObject()
        writer.field("service", name.service)
        writer.field("instance", name.url)
        if let address = name.address { writer.field("address", address.description) }
        writer.endObject()
        writer.endObject()
        writer.endLine()
    }

    static func alive(at wall: UInt64, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("alive", wall)
        writer.endObject()
        writer.endLine()
    }
}
