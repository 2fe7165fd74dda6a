import Shared

/// What root gives up: it becomes a user for good, who owns serverpy's own directories.
struct Privileges {
    let user: User
    /// The directory that those of all runtime directories are in, and ours in it.
    let stateBase: String
    let stateDirectory: String

    /// Nil: there is nothing to give up. Throws where this process cannot become the user.
    init?(_ user: User?, stateBase: String, runtimeDirectory: String) throws(StartFault) {
        guard let user, user.id != Process.userID else { return nil }
        guard Process.userID == 0 else {
            throw StartFault("only root can become `\(user.name)`; this is uid \(Process.userID)")
        }
        self.user = user
        self.stateBase = stateBase
        stateDirectory = Directories.state(base: stateBase, runtime: runtimeDirectory)
    }

    /// Gives the two directories to the user, opens what only root can open (sockets for pings), and becomes the user.
    func drop(runtimeDirectory: Descriptor, path: String) throws(StartFault) -> [(name: String, descriptor: Descriptor)]
    {
        var icmp: [(name: String, descriptor: Descriptor)] = []
        for (name, family) in [("icmp4", .ipv4), ("icmp6", .ipv6)] as [(String, SocketAddress.Family)] {
            // Where even root may not, discoveryd says so when it has something to ping.
            if let (socket, _) = try? Socket.icmp(family) { icmp.append((name, socket)) }
        }
        let state: Descriptor
        do {
            // Others' state is in it too: it stays root's, and all may pass.
            try Files.makeParents(stateBase)
            state = try Files.openPrivateDirectory(stateDirectory, alsoOf: user.id).0
        } catch {
            throw StartFault("the state directory cannot be used: \(error)")
        }
        defer { state.close() }
        try give(state, stateDirectory)
        try give(runtimeDirectory, path)
        do {
            try Process.become(user)
        } catch {
            throw StartFault("this process cannot become `\(user.name)`: \(error)")
        }
        return icmp
    }

    /// What serverpy itself has put into its directories: sockets, counters, the log; state, history and the saved snapshot.
    private static func isOurs(_ name: String) -> Bool {
        // Those that a crash has left half-written, and those set aside as damaged, bear their names too.
        let name = name.hasPrefix(".") ? String(name.dropFirst()) : name
        return [
            "control.sock", "discovery.sock", "notify.sock", "counters.", "log", "epoch", "history-", "instances",
            "snapshot",
        ]
        .contains { name.hasPrefix($0) }
    }

    /// Gives a directory that is root's alone, with the files that a run as root has left in it: nobody else can have put anything there.
    /// One that is the user's already stays as it is; one that is not serverpy's own is refused.
    private func give(_ directory: Descriptor, _ path: String) throws(StartFault) {
        do {
            let status = try Files.status(of: directory)
            if status.ownerID == user.id { return }
            guard status.mode & 0o077 == 0 else {
                throw StartFault(
                    "\(path) is root's and open to others (mode \(String(status.mode, radix: 8))): it is not given to `\(user.name)`; a directory of serverpy's own is needed"
                )
            }
            let names = try Files.list(of: directory)
            if let other = names.first(where: { !Self.isOurs($0) }) {
                throw StartFault(
                    "\(path) holds `\(Text.shown(other.utf8))`, which is not serverpy's: it is not given to `\(user.name)`; a directory of serverpy's own is needed"
                )
            }
            for name in names { try Files.give(name, in: directory, to: user) }
            try Files.give(directory, to: user)
        } catch let fault as StartFault {
            throw fault
        } catch {
            throw StartFault("\(path) cannot be given to `\(user.name)`: \(error)")
        }
    }
}
