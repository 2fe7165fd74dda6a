/// Descriptors that whoever started us passed on: LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID, the protocol of
/// systemd's socket units; see sd_listen_fds(3). serverpyctl uses it too, so a daemon has one way to be given things.
public struct InheritedDescriptors: Sendable {
    public private(set) var entries: [(name: String, descriptor: Descriptor)] = []

    /// The first descriptor passed on.
    static let first: Int32 = 3

    /// Takes the descriptors that are meant for this process, sets close-on-exec on them and removes the variables
    /// from the environment, so that no child believes they are its own.
    public static func take() -> InheritedDescriptors {
        let pid = Process.environment("LISTEN_PID")
        let count = Process.environment("LISTEN_FDS")
        let names = Process.environment("LISTEN_FDNAMES")
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { Process.unsetEnvironment(name) }
        return parse(pid: pid, count: count, names: names, own: Process.pid)
    }

    static func parse(pid: String?, count: String?, names: String?, own: Int32) -> InheritedDescriptors {
        var result = InheritedDescriptors()
        guard let pid, let count, DecimalDigits.parse(pid.utf8) == UInt64(own),
            let number = DecimalDigits.parse(count.utf8, max: UInt64(Limits.inheritedDescriptors))
        else { return result }
        let names = names.map { $0.split(separator: ":", omittingEmptySubsequences: false).map(String.init) } ?? []
        for index in 0..<Int(number) {
            let descriptor = Descriptor(first + Int32(index))
            guard descriptor.isValid else { continue }
            try? descriptor.setCloseOnExec(true)
            result.entries.append((index < names.count ? names[index] : "unknown", descriptor))
        }
        return result
    }

    /// All descriptors of a name, in order.
    public func all(_ name: String) -> [Descriptor] { entries.filter { $0.name == name }.map(\.descriptor) }

    public func first(_ name: String) -> Descriptor? { all(name).first }
}
