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
    /// Those of the two that we have opened ourselves, by name: no service manager holds them, too.
    var ownListeners: Set<String>
    let discovery: Descriptor
    let control: Descriptor
    let notify: Descriptor
    /// For pings, where discoveryd will not be allowed to open them itself.
    var icmp: [(name: String, descriptor: Descriptor)] = []

    static let listenerNames = ["requests", "discovery-http"]

    var notifyPath: String { runtimeDirectory + "/notify.sock" }

    /// `inherited`: listeners that a socket unit of systemd holds for us, named `requests` and `discovery-http`; they are used as they are.
    /// `privileges`: given up when the ports are open and before anything is made that is to belong to the user.
    static func open(
        _ general: Configuration.General, runtimeDirectory: String, inherited: InheritedDescriptors,
        privileges: Privileges?, log: Log
    ) throws(StartFault) -> Sockets {
        let longest = runtimeDirectory.utf8.count + "/discovery.sock".utf8.count
        guard longest <= UnixSocket.maxPathBytes else {
            throw StartFault(
                "the runtime directory's path has \(runtimeDirectory.utf8.count) bytes; at most \(UnixSocket.maxPathBytes - "/discovery.sock".utf8.count) fit a socket's address"
            )
        }
        let directory: Descriptor
        let made: Bool
        do {
            (directory, made) = try Files.openPrivateDirectory(runtimeDirectory, alsoOf: privileges?.user.id)
        } catch {
            throw StartFault("the runtime directory cannot be used: \(error)")
        }
        do {
            guard try Files.lock(directory) else {
                throw StartFault(
                    "serverpy is running with the runtime directory \(runtimeDirectory) already\(holder(runtimeDirectory)); stop it, or choose another with --runtime-dir"
                )
            }
            let requests = try listener("requests", .requestProcessor(general), inherited)
            let discoveryHTTP = try listener("discovery-http", .discovery(general), inherited)
            let icmp = try privileges?.drop(runtimeDirectory: directory, path: runtimeDirectory) ?? []
            removeCounters(directory)
            for name in ["notify.sock", "discovery.sock", "control.sock"] {
                guard let other = try Files.makeWay(for: name, in: directory) else { continue }
                log.warning("\(runtimeDirectory)/\(name) was a directory; it is set aside as \(other)")
            }
            let notify = try UnixSocket.bind(.datagram, path: runtimeDirectory + "/notify.sock")
            try UnixSocket.receiveCredentials(notify)
            var sockets = Sockets(
                runtimeDirectory: runtimeDirectory, madeDirectory: made, directory: directory, requests: requests,
                discoveryHTTP: discoveryHTTP,
                ownListeners: try Set(Self.listenerNames.filter { try inherited.listeners($0).isEmpty }),
                discovery: try UnixSocket.bind(.stream, path: runtimeDirectory + "/discovery.sock"),
                control: try UnixSocket.bind(.stream, path: runtimeDirectory + "/control.sock"), notify: notify)
            sockets.icmp = icmp
            return sockets
        } catch {
            if made { Files.removeDirectory(runtimeDirectory) }
            directory.close()
            if let fault = error as? StartFault { throw fault }
            throw StartFault("a socket in \(runtimeDirectory) cannot be opened: \(error)")
        }
    }

    /// What a supervisor in this process had before.
    init(_ handover: Handover, runtimeDirectory: String) {
        self.runtimeDirectory = runtimeDirectory
        madeDirectory = handover.madeDirectory
        directory = handover.descriptor("directory")
        requests = handover.descriptor("requests")
        discoveryHTTP = handover.descriptor("discovery-http")
        ownListeners = handover.ownListeners
        discovery = handover.descriptor("discovery.sock")
        control = handover.descriptor("control.sock")
        notify = handover.descriptor("notify.sock")
        icmp = ["icmp4", "icmp6"].compactMap { name in
            handover.descriptors[name].map { (name, Descriptor($0)) }
        }
    }

    private init(
        runtimeDirectory: String, madeDirectory: Bool, directory: Descriptor, requests: Descriptor,
        discoveryHTTP: Descriptor, ownListeners: Set<String>, discovery: Descriptor, control: Descriptor,
        notify: Descriptor
    ) {
        self.runtimeDirectory = runtimeDirectory
        self.madeDirectory = madeDirectory
        self.directory = directory
        self.requests = requests
        self.discoveryHTTP = discoveryHTTP
        self.ownListeners = ownListeners
        self.discovery = discovery
        self.control = control
        self.notify = notify
    }

    private static func listener(
        _ name: String, _ address: ListenAddress, _ inherited: InheritedDescriptors
    ) throws(StartFault) -> Descriptor {
        if let given = try inherited.listeners(name).first { return given }
        do throws(ListenAddress.Fault) {
            return try address.listen()
        } catch {
            throw StartFault(error.reason)
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
                + icmp.map { ($0.name, $0.descriptor) }
        // Its access log does not pass through us.
        case .forwarderd: [("requests", requests), ("stderr", .standardError)]
        case .sample: []
        }
    }

    /// What forwarders counted is of this run of serverpy alone.
    private static func removeCounters(_ directory: Descriptor) {
        for name in (try? Files.list(of: directory)) ?? [] where name.hasPrefix("counters.") {
            Files.remove(name, in: directory)
        }
    }

    /// In our directory, whatever has its name now.
    func removeFiles() {
        Self.removeCounters(directory)
        for name in ["notify.sock", "control.sock", "discovery.sock"] { Files.remove(name, in: directory) }
        if madeDirectory, isInPlace { Files.removeDirectory(runtimeDirectory) }
    }

    /// The runtime directory's path still leads to the one that we have opened.
    var isInPlace: Bool {
        guard let mine = try? Files.status(of: directory), let named = try? Files.status(runtimeDirectory) else {
            return false
        }
        return mine.device == named.device && mine.inode == named.inode
    }

    var requestsAddress: String { Self.url(requests) }
    var discoveryAddress: String { Self.url(discoveryHTTP) }

    /// As it can be given to curl: a wildcard is shown as loopback.
    private static func url(_ listener: Descriptor) -> String {
        guard let address = (try? Socket.localAddress(listener)) ?? nil else { return "?" }
        return address.high == 0 && address.low == 0 ? "http://127.0.0.1:\(address.port)" : "http://\(address)"
    }
}
