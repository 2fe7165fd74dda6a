/// Where sockets and state are, by the interface contract.
public enum Directories {
    /// `--runtime-dir`, else $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/serverpy, else /run/serverpy as root,
    /// else /tmp/serverpy-UID.
    public static func runtime(_ option: String?) -> String {
        if let option { return Files.absolute(option) }
        if let given = Process.environment("RUNTIME_DIRECTORY"), !given.isEmpty { return first(given) }
        if let base = Process.environment("XDG_RUNTIME_DIR"), !base.isEmpty { return base + "/serverpy" }
        return Process.userID == 0 ? "/run/serverpy" : "/tmp/serverpy-\(Process.userID)"
    }

    /// `--state-dir`, else $STATE_DIRECTORY, else $XDG_STATE_HOME/serverpy, else /var/lib/serverpy as root, else
    /// $HOME/.local/state/serverpy; below it one directory per runtime directory.
    public static func state(_ option: String?, runtime: String) -> String {
        stateBase(option) + "/" + name(of: runtime)
    }

    /// The directory that those of all runtime directories are in.
    public static func stateBase(_ option: String?) -> String {
        let base: String
        if let option {
            base = Files.absolute(option)
        } else if let given = Process.environment("STATE_DIRECTORY"), !given.isEmpty {
            base = first(given)
        } else if let home = Process.environment("XDG_STATE_HOME"), !home.isEmpty {
            base = home + "/serverpy"
        } else if Process.userID == 0 {
            base = "/var/lib/serverpy"
        } else {
            base = (Process.environment("HOME") ?? "/tmp") + "/.local/state/serverpy"
        }
        return base
    }

    /// systemd separates several directories by colons.
    private static func first(_ list: String) -> String { String(list.split(separator: ":").first ?? "") }

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
