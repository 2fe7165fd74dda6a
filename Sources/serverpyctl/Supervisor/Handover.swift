import Shared

/// What a supervisor tells its successor, which the kernel puts in its place (execve(2)): same process, same children, same open sockets.
/// Descriptors keep their numbers.
struct Handover: Equatable {
    /// Of what is below; a successor that does not know it refuses before anything has happened.
    static let version: UInt64 = 1
    /// The environment's variable that names the memory file's descriptor.
    static let variable = "SERVERPY_HANDOVER"

    struct Place: Equatable {
        var role: Child.Role
        var pid: Int32
        var isReady: Bool
        /// Told to drain and to end.
        var isStopping: Bool
        var control: Int32
        var output: Int32
        var startedAt: UInt64
        var restarts: Int
        var status: String
    }

    struct Fault: Error, Equatable {
        let reason: String
    }

    var program: String
    var startedAt: UInt64
    var configurationPath: String
    var runtimeDirectory: String
    var stateDirectory: String
    var madeDirectory: Bool
    var forwarders: Int
    var hasFixedForwarders: Bool
    /// A reload has been asked for and not been done.
    var mustReload: Bool
    /// The configuration's file as it was when it was last read.
    var fingerprint: [Int64]
    /// The names of the listeners that we have opened ourselves: no service manager holds them, too.
    var ownListeners: Set<String>
    /// By the names below.
    var descriptors: [String: Int32]
    var children: [Place]

    /// Others who have connected and not asked yet: this and a number.
    static let client = "client-"

    /// What must be there; `operator`, who asked for it, clients, and the ICMP sockets may be missing.
    static let needed = [
        "configuration", "directory", "requests", "discovery-http", "discovery.sock", "control.sock", "notify.sock",
        "discoveryd", "forwarderd",
    ]

    func encode() -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("version", Self.version)
        writer.field("program", program)
        writer.field("started_at_ms", startedAt)
        writer.field("configuration", configurationPath)
        writer.field("runtime_directory", runtimeDirectory)
        writer.field("state_directory", stateDirectory)
        writer.field("made_directory", madeDirectory)
        writer.field("forwarders", forwarders)
        writer.field("fixed_forwarders", hasFixedForwarders)
        writer.field("must_reload", mustReload)
        writer.key("fingerprint")
        writer.beginArray()
        for word in fingerprint { writer.value(UInt64(bitPattern: word)) }
        writer.endArray()
        writer.key("own_listeners")
        writer.beginArray()
        for name in ownListeners.sorted() { writer.value(name) }
        writer.endArray()
        writer.key("descriptors")
        writer.beginArray()
        for (name, number) in descriptors.sorted(by: { $0.key < $1.key }) {
            writer.beginObject()
            writer.field("name", name)
            writer.field("number", Int(number))
            writer.endObject()
        }
        writer.endArray()
        writer.key("children")
        writer.beginArray()
        for child in children {
            writer.beginObject()
            if case .forwarderd(let index) = child.role { writer.field("index", index) }
            writer.field("pid", child.pid)
            writer.field("ready", child.isReady)
            writer.field("stopping", child.isStopping)
            writer.field("control", Int(child.control))
            writer.field("output", Int(child.output))
            writer.field("started_at_ms", child.startedAt)
            writer.field("restarts", child.restarts)
            writer.field("status", child.status)
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8]) throws(Fault) -> Handover {
        let root: Document.Value
        do {
            root = try JSONReader.parse(bytes).root
        } catch {
            throw Fault(reason: "what the running supervisor hands over is no JSON: \(error.message)")
        }
        guard root["version"]?.unsigned == version else {
            let found = root["version"]?.unsigned.map(String.init) ?? "none"
            throw Fault(
                reason: "what the running supervisor hands over has version \(found); this one understands \(version)")
        }
        func number(_ value: Document.Value?) -> Int32 { value?.unsigned.map { Int32(clamping: $0) } ?? -1 }
        var descriptors: [String: Int32] = [:]
        for entry in root["descriptors"]?.elements.map({ $0 }) ?? [] {
            if let name = entry["name"]?.string { descriptors[name] = number(entry["number"]) }
        }
        for name in needed where descriptors[name] == nil {
            throw Fault(reason: "the running supervisor does not hand over `\(name)`")
        }
        let children = (root["children"]?.elements.map({ $0 }) ?? []).map { child -> Place in
            var role = Child.Role.discoveryd
            if let index = child["index"]?.unsigned { role = .forwarderd(index: Int(clamping: index)) }
            return Place(
                role: role,
                pid: Int32(clamping: child["pid"]?.unsigned ?? 0), isReady: child["ready"]?.boolean ?? false,
                isStopping: child["stopping"]?.boolean ?? false, control: number(child["control"]),
                output: number(child["output"]), startedAt: child["started_at_ms"]?.unsigned ?? 0,
                restarts: Int(clamping: child["restarts"]?.unsigned ?? 0), status: child["status"]?.string ?? "")
        }
        guard children.contains(where: { $0.role == .discoveryd }), let runtime = root["runtime_directory"]?.string,
            let state = root["state_directory"]?.string,
            let forwarders = root["forwarders"]?.unsigned, (1...UInt64(Limits.forwarders)).contains(forwarders),
            children.count <= 2 * Limits.forwarders
        else {
            throw Fault(reason: "the running supervisor hands over no possible set of processes")
        }
        return Handover(
            program: root["program"]?.string ?? "", startedAt: root["started_at_ms"]?.unsigned ?? 0,
            configurationPath: root["configuration"]?.string ?? "",
            runtimeDirectory: runtime, stateDirectory: state, madeDirectory: root["made_directory"]?.boolean ?? false,
            forwarders: Int(forwarders),
            hasFixedForwarders: root["fixed_forwarders"]?.boolean ?? false,
            mustReload: root["must_reload"]?.boolean ?? false,
            fingerprint: (root["fingerprint"]?.elements.map({ $0 }) ?? []).map {
                Int64(bitPattern: $0.unsigned ?? 0)
            },
            ownListeners: Set(root["own_listeners"]?.elements.compactMap { $0.string } ?? []), descriptors: descriptors,
            children: children)
    }

    func descriptor(_ name: String) -> Descriptor { Descriptor(descriptors[name] ?? -1) }

    /// All numbers that must outlive the change of programs.
    var numbers: [Int32] {
        (Array(descriptors.values) + children.flatMap { [$0.control, $0.output] }).filter { $0 >= 0 }
    }

    /// The one that our predecessor has left for us; nil where there was none.
    static func take() throws(Fault) -> (Handover, configuration: [UInt8])? {
        guard let text = Process.environment(variable) else { return nil }
        Process.unsetEnvironment(variable)
        guard let number = DecimalDigits.parse(text.utf8, max: UInt64(Int32.max)) else {
            throw Fault(reason: "\(variable) is no descriptor")
        }
        let memory = Descriptor(Int32(number))
        defer { memory.close() }
        let bytes: [UInt8]
        let configuration: [UInt8]
        let handover: Handover
        do throws(Errno) {
            bytes = try Files.read(memory, maxBytes: Limits.handoverBytes)
        } catch {
            throw Fault(reason: "what the running supervisor hands over cannot be read: \(error)")
        }
        handover = try decode(bytes)
        for name in needed where !handover.descriptor(name).isOpen {
            throw Fault(reason: "the running supervisor has no `\(name)` to hand over")
        }
        for number in handover.numbers {
            guard Descriptor(number).isValid else { throw Fault(reason: "descriptor \(number) was not handed over") }
            try? Descriptor(number).setCloseOnExec(true)
        }
        do throws(Errno) {
            let file = handover.descriptor("configuration")
            defer { file.close() }
            configuration = try Files.read(file, maxBytes: Limits.configurationBytes)
        } catch {
            throw Fault(reason: "the configuration in force was not handed over: \(error)")
        }
        return (handover, configuration)
    }
}
