import CLinux
import Glibc

/// An account of the system; see getpwnam(3) and getgrnam(3).
public struct User: Equatable, Sendable {
    public let name: String
    public let id: UInt32
    public let groupID: UInt32

    public struct Fault: Error, Equatable, Sendable {
        public let reason: String
    }

    /// The home directory that the system knows of; see getpwuid(3).
    public static func home(of id: UInt32) -> String? {
        guard let entry = unsafe getpwuid(id), let home = unsafe entry.pointee.pw_dir else { return nil }
        return unsafe String(cString: home)
    }

    /// `name` or `name:group`; each may be a number.
    public static func find(_ text: String) throws(Fault) -> User {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let name = parts[0]
        var id: UInt32?
        var group: UInt32?
        if let entry = unsafe name.withCString({ unsafe getpwnam($0) }) {
            (id, group) = unsafe (entry.pointee.pw_uid, entry.pointee.pw_gid)
        } else if let number = DecimalDigits.parse(name.utf8, max: UInt64(UInt32.max) - 1) {
            (id, group) = (UInt32(number), UInt32(number))
        }
        guard let id else { throw Fault(reason: "there is no user `\(name)`") }
        if parts.count == 2 {
            if let entry = unsafe parts[1].withCString({ unsafe getgrnam($0) }) {
                group = unsafe entry.pointee.gr_gid
            } else if let number = DecimalDigits.parse(parts[1].utf8, max: UInt64(UInt32.max) - 1) {
                group = UInt32(number)
            } else {
                throw Fault(reason: "there is no group `\(parts[1])`")
            }
        }
        return User(name: name, id: id, groupID: group ?? id)
    }
}

extension Process {
    /// Becomes `user` for good, with its groups only; only root may. The corresponding C functions are initgroups(3), setgid(2) and
    /// setuid(2). It clears what `dieWithParent` has set.
    public static func become(_ user: User) throws(Errno) {
        _ = try retrying { unsafe user.name.withCString { unsafe initgroups($0, user.groupID) } }
        _ = try retrying { setgid(user.groupID) }
        _ = try retrying { setuid(user.id) }
        // Whoever can go back has not left.
        if user.id != 0, setuid(0) == 0 { throw .notPermitted }
    }

    /// From now on no program that is executed gains privileges, here and in children; see prctl(2), PR_SET_NO_NEW_PRIVS.
    public static func gainNoPrivileges() { _ = clinux_prctl(Int32(CLINUX_PR_SET_NO_NEW_PRIVS), 1, 0, 0, 0) }
}

extension Files {
    /// Gives what is open; see fchown(2).
    public static func give(_ file: Descriptor, to user: User) throws(Errno) {
        _ = try retrying { fchown(file.rawValue, user.id, user.groupID) }
    }

    /// Gives what a directory holds by this name, not what a symbolic link names; see fchownat(2).
    public static func give(_ name: String, in directory: Descriptor, to user: User) throws(Errno) {
        _ = try retrying {
            unsafe name.withCString {
                unsafe fchownat(directory.rawValue, $0, user.id, user.groupID, AT_SYMLINK_NOFOLLOW)
            }
        }
    }
}
