import CLinux
import Glibc

extension Files {
    /// Opens a directory that is ours (or root's, or `other`'s), not a symbolic link and not writable by others; makes it, mode
    /// 0700, if it is missing. Missing parents are made too.
    public static func openPrivateDirectory(
        _ path: String, alsoOf other: UInt32? = nil
    ) throws(DirectoryError) -> (Descriptor, created: Bool) {
        var created = false
        do {
            try makeDirectory(path, mode: 0o700)
            created = true
        } catch .exists {
        } catch .noEntry {
            if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
                try makeParents(String(path[..<slash]))
                do {
                    try makeDirectory(path, mode: 0o700)
                    created = true
                } catch .exists {
                    // Somebody else has been quicker.
                } catch {
                    throw .system(path, error)
                }
            } else {
                throw .system(path, .noEntry)
            }
        } catch {
            throw .system(path, error)
        }
        let directory: Descriptor
        do {
            directory = Descriptor(
                try retrying {
                    unsafe path.withCString { unsafe Glibc.open($0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
                })
        } catch {
            throw .system(path, error)
        }
        let status: FileStatus
        do {
            status = try Self.status(of: directory)
        } catch {
            directory.close()
            throw .system(path, error)
        }
        guard [Process.userID, 0, other].contains(status.ownerID) else {
            directory.close()
            throw .foreignOwner(path, status.ownerID)
        }
        do throws(DirectoryError) { try checkAncestors(path, alsoOf: other) } catch {
            directory.close()
            throw error
        }
        guard status.mode & 0o022 == 0 else {
            directory.close()
            throw .writableByOthers(path, status.mode)
        }
        return (directory, created)
    }

    /// No directory above may be one that others can put another in the place of: writable by everybody without the sticky bit, or
    /// made by somebody else in one like /tmp.
    private static func checkAncestors(_ path: String, alsoOf other: UInt32?) throws(DirectoryError) {
        var above = ""
        var isShared = false
        for part in path.split(separator: "/").dropLast() {
            above += "/" + part
            guard let entry = try? status(above), let status = try? status(above, followsLink: true) else { continue }
            // Of a symbolic link, who has made it counts as much as who owns what it leads to.
            for owner in [entry.ownerID, status.ownerID] where isShared && ![Process.userID, 0, other].contains(owner) {
                throw .foreignOwner(above, owner)
            }
            isShared = status.mode & 0o1002 == 0o1002
            guard status.mode & 0o002 == 0 || isShared else { throw .writableByOthers(above, status.mode) }
        }
    }

    /// Makes a directory, mode 0755, and those that it is in, where they are missing.
    public static func makeParents(_ path: String) throws(DirectoryError) {
        // Whoever becomes another user must still pass them, whatever the caller's mask.
        let mask = umask(0o022)
        defer { umask(mask) }
        do {
            try makeDirectory(path, mode: 0o755)
        } catch .exists {
            return
        } catch .noEntry {
            guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { throw .system(path, .noEntry) }
            try makeParents(String(path[..<slash]))
            do { try makeDirectory(path, mode: 0o755) } catch .exists { return } catch { throw .system(path, error) }
        } catch {
            throw .system(path, error)
        }
    }

    public static func makeDirectory(_ path: String, mode: UInt32) throws(Errno) {
        _ = try retrying { unsafe path.withCString { unsafe mkdir($0, mode) } }
    }
}

/// Why a directory is not fit to hold our sockets or state.
public enum DirectoryError: Error, Equatable, CustomStringConvertible {
    case foreignOwner(String, UInt32)
    case writableByOthers(String, UInt32)
    case system(String, Errno)

    public var description: String {
        switch self {
        case .foreignOwner(let path, let owner):
            "\(path): the directory belongs to uid \(owner); it must belong to uid \(Process.userID) or root (--runtime-dir and --state-dir name others)"
        case .writableByOthers(let path, let mode):
            "\(path): the directory is writable by others (mode \(String(mode, radix: 8))); use 0700"
        case .system(let path, let error):
            "\(path): \(error) (--runtime-dir and --state-dir name others)"
        }
    }
}
