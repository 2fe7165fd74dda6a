/// Where sockets and state are, by the interface contract. A variable that is empty or no absolute path counts as not set, as the XDG
/// Base Directory Specification has it.
public enum Directories {
    /// What decides where they are: the environment and the user.
    struct Surroundings {
        var userID = Process.userID
        var variable: (String) -> String? = { Process.environment($0) }
        /// Who owns what a path leads to.
        var owner: (String) -> UInt32? = { (try? Files.status($0, followsLink: true))?.ownerID }
        /// The home directory that the system knows of.
        var home: (UInt32) -> String? = { User.home(of: $0) }

        /// The absolute path that a variable holds, of a list the first; nil: it holds none.
        func path(_ name: String, isList: Bool = false) -> String? {
            // systemd separates several directories by colons.
            variable(name).flatMap { usable(isList ? $0.split(separator: ":").first.map(String.init) ?? "" : $0) }
        }

        /// The path without what adds nothing to it; nil: it is not absolute, or no more than the root.
        func usable(_ path: String) -> String? {
            path.hasPrefix("/") && path.utf8.contains { $0 != 0x2f } ? Files.absolute(path) : nil
        }
    }

    /// `--runtime-dir`, else $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/serverpy, else /run/serverpy as root,
    /// else /tmp/serverpy-UID.
    public static func runtime(_ option: String?) -> String { runtime(option, Surroundings()) }

    static func runtime(_ option: String?, _ around: Surroundings) -> String {
        if let option { return Files.absolute(option) }
        if let given = around.path("RUNTIME_DIRECTORY", isList: true) { return given }
        // Another user's, left over from `su` or `sudo`, is not for us.
        if let base = around.path("XDG_RUNTIME_DIR"), around.owner(base) == around.userID { return base + "/serverpy" }
        return around.userID == 0 ? "/run/serverpy" : "/tmp/serverpy-\(around.userID)"
    }

    /// `--state-dir`, else $STATE_DIRECTORY, else $XDG_STATE_HOME/serverpy, else /var/lib/serverpy as root, else
    /// $HOME/.local/state/serverpy; below it one directory per runtime directory. A fault says that there is none.
    public static func state(_ option: String?, runtime: String) throws(StartFault) -> String {
        state(base: try stateBase(option), runtime: runtime)
    }

    public static func state(base: String, runtime: String) -> String { base + "/" + name(of: runtime) }

    /// The directory that those of all runtime directories are in.
    public static func stateBase(_ option: String?) throws(StartFault) -> String {
        try stateBase(option, Surroundings())
    }

    static func stateBase(_ option: String?, _ around: Surroundings) throws(StartFault) -> String {
        if let option { return Files.absolute(option) }
        if let given = around.path("STATE_DIRECTORY", isList: true) { return given }
        if let home = around.path("XDG_STATE_HOME") { return home + "/serverpy" }
        if around.userID == 0 { return "/var/lib/serverpy" }
        // Never a place that everybody can guess and make.
        guard let home = around.path("HOME") ?? around.home(around.userID).flatMap(around.usable) else {
            throw StartFault(
                "there is no directory for state: HOME names none and uid \(around.userID) has none; give one with --state-dir"
            )
        }
        return home + "/.local/state/serverpy"
    }

    /// A runtime directory's path as one file name: `run-serverpy` for the usual one, else the path with its digest, because
    /// different paths must not meet where they look alike when flattened.
    static func name(of path: String) -> String {
        if path == "/run/serverpy" { return "run-serverpy" }
        let flat = path.utf8.drop { $0 == 0x2f }.prefix(80).map { byte -> Character in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2e, 0x5f: Character(Unicode.Scalar(byte))
            default: "-"
            }
        }
        var digest = LineDigest()
        digest.add(path.utf8)
        return "\(String(flat))-\(digest.text)"
    }
}
