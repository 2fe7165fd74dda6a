import Shared

/// The programs as they were when serverpyctl started: a child that is started again is what it was, whatever a package update has put on
/// the disk meanwhile. `upgrade` takes those on the disk, all together.
struct Programs {
    /// serverpyctl's own path, as noted at the start: /proc/self/exe ends in " (deleted)" after an update.
    let own: String
    var discoveryd: Descriptor
    var forwarderd: Descriptor

    /// The files on the disk now.
    static func open() throws(StartFault) -> Programs {
        let path = try ownPath()
        let discoveryd = try file("discoveryd", beside: path)
        return Programs(own: path, discoveryd: discoveryd, forwarderd: try file("forwarderd", beside: path))
    }

    static func ownPath() throws(StartFault) -> String {
        do {
            let own = try Process.executablePath()
            let suffix = " (deleted)"
            return own.hasSuffix(suffix) ? String(own.dropLast(suffix.count)) : own
        } catch {
            throw StartFault("/proc/self/exe cannot be read: \(error)")
        }
    }

    static func path(_ name: String, beside own: String) -> String {
        String(own[..<(own.lastIndex(of: "/") ?? own.startIndex)]) + "/" + name
    }

    private static func file(_ name: String, beside own: String) throws(StartFault) -> Descriptor {
        let path = path(name, beside: own)
        do {
            return try Files.openProgram(path)
        } catch {
            throw StartFault("\(path) cannot be started: \(error)")
        }
    }

    func path(_ role: Child.Role) -> String {
        switch role {
        case .discoveryd: Self.path("discoveryd", beside: own)
        case .forwarderd: Self.path("forwarderd", beside: own)
        case .sample: own
        }
    }

    func file(_ role: Child.Role) -> Descriptor {
        switch role {
        case .discoveryd: discoveryd
        case .forwarderd: forwarderd
        case .sample: .none
        }
    }

    func close() {
        discoveryd.close()
        forwarderd.close()
    }

    static func arguments(_ role: Child.Role, _ settings: Supervisor.Settings) -> [String] {
        let common = ["--runtime-dir", settings.runtimeDirectory, "-l", settings.logLevel.name]
        switch role {
        case .discoveryd:
            return ["-c", settings.file.path, "--state-dir", settings.stateDirectory] + common
        case .forwarderd(let index):
            let state = Directories.state(base: settings.stateDirectory, runtime: settings.runtimeDirectory)
            return [
                "--index", String(index), "--snapshot", state + "/snapshot", "--configuration",
                LineDigest(of: settings.file.bytes).text,
            ] + common
        case .sample(let name, let port): return ["sample", "--name", name, "--port", String(port)]
        }
    }
}
