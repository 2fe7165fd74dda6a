import Shared

extension Sockets {
    /// Gives what we have made, and what former runs as root have left, to `user`, opens what only root can open, and becomes that user.
    mutating func dropPrivileges(to user: User, stateDirectory: String) throws(StartFault) {
        if user.id == Process.userID { return }
        guard Process.userID == 0 else {
            throw StartFault("only root can become `\(user.name)`; this is uid \(Process.userID)")
        }
        for (name, family) in [("icmp4", .ipv4), ("icmp6", .ipv6)] as [(String, SocketAddress.Family)] {
            // Where even root may not, discoveryd says so when it has something to ping.
            if let (socket, _) = try? Socket.icmp(family) { icmp.append((name, socket)) }
        }
        let state = Directories.state(stateDirectory, runtime: runtimeDirectory)
        do {
            for path in [stateDirectory, state] { try Files.openPrivateDirectory(path).0.close() }
        } catch {
            throw StartFault("the state directory cannot be used: \(error)")
        }
        var path = ""
        do throws(Errno) {
            let files = (try Files.list(state)).map { state + "/" + $0 }
            for each in [runtimeDirectory, notifyPath, controlPath, discoveryPath, stateDirectory, state] + files {
                path = each
                try Files.give(each, to: user)
            }
        } catch {
            throw StartFault("\(path) cannot be given to `\(user.name)`: \(error)")
        }
        do {
            try Process.become(user)
        } catch {
            throw StartFault("this process cannot become `\(user.name)`: \(error)")
        }
    }
}
