import Shared

/// All listening sockets, opened once and held through every restart of a child.
struct Sockets {
    let runtimeDirectory: String
    /// We made the directory and remove it at the end.
    let madeDirectory: Bool
    /// Holds the lock on the runtime directory.
    let directory: Descriptor
    var requests: Descriptor
    var discoveryHTTP: Descriptor
    let discovery: Descriptor
    let control: Descriptor
    let notify: Descriptor

    var notifyPath: String { runtimeDirectory + "/notify.sock" }
    var controlPath: String { runtimeDirectory + "/control.sock" }
    var discoveryPath: String { runtimeDirectory + "/discovery.sock" }

    static func open(_ general: Configuration.General, runtimeDirectory: String) throws(StartFault) -> Sockets {
        let longest = runtimeDirectory.utf8.count + "/discovery.sock".utf8.count
        guard longest <= UnixSocket.maxPathBytes else {
            throw StartFault(
                "the runtime directory's path has \(runtimeDirectory.utf8.count) bytes; at most \(UnixSocket.maxPathBytes - "/discovery.sock".utf8.count) fit a socket's address"
            )
        }
        let directory: Descriptor
        let made: Bool
        do {
            (directory, made) = try Files.openPrivateDirectory(runtimeDirectory)
        } catch {
            throw StartFault("the runtime directory cannot be used: \(error)")
        }
        do {
            guard try Files.lock(directory) else {
                throw StartFault(
                    "serverpy is running with the runtime directory \(runtimeDirectory) already\(holder(runtimeDirectory)); stop it, or choose another with --runtime-dir"
                )
            }
            let requests: Descriptor
            let discoveryHTTP: Descriptor
            do throws(ListenAddress.Fault) {
                requests = try ListenAddress.requestProcessor(general).listen()
                discoveryHTTP = try ListenAddress.discovery(general).listen()
            } catch {
                throw StartFault(error.reason)
            }
            removeCounters(runtimeDirectory)
            let notify = try UnixSocket.bind(.datagram, path: runtimeDirectory + "/notify.sock")
            try UnixSocket.receiveCredentials(notify)
            return Sockets(
                runtimeDirectory: runtimeDirectory, madeDirectory: made, directory: directory, requests: requests,
                discoveryHTTP: discoveryHTTP,
                discovery: try UnixSocket.bind(.stream, path: runtimeDirectory + "/discovery.sock"),
                control: try UnixSocket.bind(.stream, path: runtimeDirectory + "/control.sock"), notify: notify)
        } catch {
            if made { Files.removeDirectory(runtimeDirectory) }
            directory.close()
            if let fault = error as? StartFault { throw fault }
            throw StartFault("a socket in \(runtimeDirectory) cannot be opened: \(error)")
        }
    }

    /// Who has the directory: whoever listens on its control socket.
    private static func holder(_ runtimeDirectory: String) -> String {
        guard let socket = try? UnixSocket.connect(.stream, path: runtimeDirectory + "/control.sock") else { return "" }
        defer { socket.close() }
        guard let peer = try? UnixSocket.peer(of: socket) else { return "" }
        return " (pid \(peer.pid))"
    }

    /// What a child gets beside its control socket.
    func passed(to role: Child.Role, configuration: Descriptor) -> [(name: String, descriptor: Descriptor)] {
        switch role {
        case .discoveryd:
            [("configuration", configuration), ("discovery.sock", discovery), ("discovery-http", discoveryHTTP)]
        case .forwarderd: [("requests", requests)]
        case .sample: []
        }
    }

    /// What forwarders counted is of this run of serverpy alone.
    private static func removeCounters(_ runtimeDirectory: String) {
        for name in (try? Files.list(runtimeDirectory)) ?? [] where name.hasPrefix("counters.") {
            Files.remove(runtimeDirectory + "/" + name)
        }
    }

    func removeFiles() {
        Self.removeCounters(runtimeDirectory)
        for path in [notifyPath, controlPath, discoveryPath] { Files.remove(path) }
        if madeDirectory { Files.removeDirectory(runtimeDirectory) }
    }

    var requestsAddress: String { Self.url(requests) }
    var discoveryAddress: String { Self.url(discoveryHTTP) }

    /// As it can be given to curl: a wildcard is shown as loopback.
    private static func url(_ listener: Descriptor) -> String {
        guard let address = (try? Socket.localAddress(listener)) ?? nil else { return "?" }
        return address.high == 0 && address.low == 0 ? "http://127.0.0.1:\(address.port)" : "http://\(address)"
    }
}

/// The programs beside this one.
enum Programs {
    static func path(_ role: Child.Role) throws(Errno) -> String {
        let own = try Process.executablePath()
        let directory = own[..<(own.lastIndex(of: "/") ?? own.startIndex)]
        return switch role {
        case .discoveryd: directory + "/discoveryd"
        case .forwarderd: directory + "/forwarderd"
        case .sample: own
        }
    }

    static func arguments(_ role: Child.Role, _ settings: Supervisor.Settings) -> [String] {
        let common = ["--runtime-dir", settings.runtimeDirectory, "-l", settings.logLevel.name]
        switch role {
        case .discoveryd:
            let state = settings.stateDirectory.map { ["--state-dir", $0] } ?? []
            return ["-c", settings.file.path] + common + state
        case .forwarderd(let index):
            let state = Directories.state(settings.stateDirectory, runtime: settings.runtimeDirectory)
            return [
                "--index", String(index), "--snapshot", state + "/snapshot", "--configuration",
                LineDigest(of: settings.file.bytes).text,
            ] + common
        case .sample(let name, let port): return ["sample", "--name", name, "--port", String(port)]
        }
    }
}
