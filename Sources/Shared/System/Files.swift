import CLinux
import Glibc

/// What a path names; see stat(2).
public struct FileStatus: Sendable {
    public enum Kind: Sendable { case file, directory, socket, symbolicLink, other }
    public let kind: Kind
    public let size: Int
    public let ownerID: UInt32
    /// Permission bits only.
    public let mode: UInt32
    public let device: UInt64
    public let inode: UInt64

    init(_ raw: stat) {
        kind =
            switch raw.st_mode & 0o170000 {
            case 0o100000: .file
            case 0o040000: .directory
            case 0o140000: .socket
            case 0o120000: .symbolicLink
            default: .other
            }
        size = Int(raw.st_size)
        ownerID = raw.st_uid
        mode = raw.st_mode & 0o7777
        device = UInt64(raw.st_dev)
        inode = UInt64(raw.st_ino)
    }
}

/// Files and directories. Paths are taken as they are: no expansion.
public enum Files {
    /// The whole content of a file, refused above `maxBytes` with `.fileTooBig`.
    public static func read(_ path: String, maxBytes: Int) throws(Errno) -> [UInt8] {
        let file = Descriptor(
            try retrying {
                unsafe path.withCString { unsafe Glibc.open($0, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) }
            })
        defer { file.close() }
        return try read(file, maxBytes: maxBytes)
    }

    /// The rest of an open file, refused above `maxBytes` with `.fileTooBig`.
    public static func read(_ file: Descriptor, maxBytes: Int) throws(Errno) -> [UInt8] {
        let status = try status(of: file)
        if status.kind == .directory { throw .isDirectory }
        if status.size > maxBytes { throw .fileTooBig }
        var result: [UInt8] = []
        result.reserveCapacity(status.size + 1)
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            var span = chunk.mutableSpan
            let outcome = file.read(into: &span)
            guard let count = outcome.count else { throw outcome.error }
            if count == 0 { return result }
            if result.count + count > maxBytes { throw .fileTooBig }
            result.append(contentsOf: chunk[..<count])
        }
    }

    public static func status(of file: Descriptor) throws(Errno) -> FileStatus {
        var raw = stat()
        _ = try retrying { unsafe fstat(file.rawValue, &raw) }
        return FileStatus(raw)
    }

    /// The corresponding C functions are lstat(2), and stat(2) where a final symbolic link is followed.
    public static func status(_ path: String, followsLink: Bool = false) throws(Errno) -> FileStatus {
        var raw = stat()
        _ = try retrying {
            unsafe path.withCString { unsafe followsLink ? stat($0, &raw) : lstat($0, &raw) }
        }
        return FileStatus(raw)
    }

    /// What changes when a file is written, replaced, or its link points elsewhere; links are followed.
    public static func fingerprint(_ path: String) throws(Errno) -> [Int64] {
        var raw = stat()
        _ = try retrying { unsafe path.withCString { unsafe stat($0, &raw) } }
        return [
            Int64(truncatingIfNeeded: raw.st_dev), Int64(truncatingIfNeeded: raw.st_ino), Int64(raw.st_size),
            Int64(raw.st_mtim.tv_sec), Int64(raw.st_mtim.tv_nsec), Int64(raw.st_ctim.tv_sec),
            Int64(raw.st_ctim.tv_nsec),
        ]
    }

    /// A file that only grows at its end, whoever else writes; made, mode 0640, if it is missing. A FIFO without a reader is
    /// refused rather than waited for. The corresponding C function is open(2) with O_APPEND.
    public static func openForAppending(_ path: String) throws(Errno) -> Descriptor {
        let flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
        return Descriptor(try retrying { unsafe path.withCString { unsafe Glibc.open($0, flags, mode_t(0o640)) } })
    }

    /// The same below an open directory, mode 0600; what has the name must be no symbolic link.
    public static func openForAppending(_ name: String, in directory: Descriptor) throws(Errno) -> Descriptor {
        try openRegular(name, in: directory, O_WRONLY | O_APPEND | O_CREAT)
    }

    /// A regular file below an open directory: never waited for, never behind a symbolic link, and never anything else that has
    /// been put there (`.notRegular`).
    private static func openRegular(_ name: String, in directory: Descriptor, _ flags: Int32) throws(Errno)
        -> Descriptor
    {
        let flags = flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
        let file: Descriptor
        do {
            file = Descriptor(
                try retrying { unsafe name.withCString { unsafe openat(directory.rawValue, $0, flags, mode_t(0o600)) } }
            )
        } catch {
            // A pipe without a reader, a socket.
            throw error == Errno(ENXIO) || error == Errno(EOPNOTSUPP) ? .notRegular : error
        }
        do throws(Errno) {
            switch try status(of: file).kind {
            case .file: return file
            case .directory: throw Errno.isDirectory
            case .socket, .symbolicLink, .other: throw Errno.notRegular
            }
        } catch {
            file.close()
            throw error
        }
    }

    /// Whether something has the place of a file that is not one, or one that we may not open: it can be set aside.
    public static func isMisplaced(_ error: Errno) -> Bool {
        [.notRegular, .isDirectory, .tooManyLinks, .fileTooBig, Errno(ENOTEMPTY), .exists, Errno(EACCES)].contains(
            error)
    }

    /// Gives what is not what it should be another name, `NAME.damaged` or, where that is taken by a directory, one behind it.
    /// Returns the name.
    public static func setAside(_ name: String, in directory: Descriptor) throws(Errno) -> String {
        let plain = name + ".damaged"
        do throws(Errno) {
            try rename(name, to: plain, in: directory)
            return plain
        } catch {
            let other = plain + "." + Text.hexadecimal(SystemRandom.word())
            try rename(name, to: other, in: directory)
            return other
        }
    }

    /// Sets a directory aside that has the name of a socket to be made. Returns its new name; nil: there is none.
    public static func makeWay(for name: String, in directory: Descriptor) throws(Errno) -> String? {
        let path = "/proc/self/fd/\(directory.rawValue)/\(name)"
        guard let kind = try? status(path).kind, kind == .directory else { return nil }
        return try setAside(name, in: directory)
    }

    /// A sealed anonymous file that holds `bytes`, read position at the start; see memfd_create(2).
    public static func sealedMemory(name: String, _ bytes: [UInt8]) throws(Errno) -> Descriptor {
        let flags = UInt32(CLINUX_MFD_CLOEXEC | CLINUX_MFD_ALLOW_SEALING)
        let file = Descriptor(try retrying { unsafe name.withCString { unsafe memfd_create($0, flags) } })
        do throws(Errno) {
            try file.writeAll(bytes)
            try rewind(file)
            _ = try retrying { fcntl(file.rawValue, Int32(CLINUX_F_ADD_SEALS), Int32(CLINUX_F_SEAL_ALL)) }
        } catch {
            file.close()
            throw error
        }
        return file
    }

    /// Sets the read position to the start.
    public static func rewind(_ file: Descriptor) throws(Errno) {
        _ = try retrying { Int32(clamping: lseek(file.rawValue, 0, SEEK_SET)) }
    }

    /// Whether some process has the file open for writing; nil: only its owner can ask. See fcntl(2), F_SETLEASE.
    public static func hasWriter(_ path: String) -> Bool? {
        guard let file = try? open(target(of: path)) else { return nil }
        defer { file.close() }
        if fcntl(file.rawValue, Int32(CLINUX_F_SETLEASE), F_RDLCK) == 0 {
            _ = fcntl(file.rawValue, Int32(CLINUX_F_SETLEASE), F_UNLCK)
            return false
        }
        return Errno.last == .again ? true : nil
    }

    /// Takes an exclusive lock that lives as long as the open file; false when somebody has it. flock(2).
    public static func lock(_ file: Descriptor) throws(Errno) -> Bool {
        do {
            _ = try retrying { flock(file.rawValue, LOCK_EX | LOCK_NB) }
            return true
        } catch .again {
            return false
        }
    }

    /// Makes a file that nobody else has, mode 0600, and locks it.
    public static func createLocked(_ path: String) throws(Errno) -> Descriptor {
        let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let file = Descriptor(try retrying { unsafe path.withCString { unsafe Glibc.open($0, flags, mode_t(0o600)) } })
        _ = try lock(file)
        return file
    }

    /// A file or directory that is there, for reading; never waited for, never behind a symbolic link.
    public static func open(_ path: String) throws(Errno) -> Descriptor {
        let flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
        return Descriptor(try retrying { unsafe path.withCString { unsafe Glibc.open($0, flags) } })
    }

    /// A program that can be executed, also when its path names another one later.
    public static func openProgram(_ path: String) throws(Errno) -> Descriptor {
        _ = try retrying { unsafe path.withCString { unsafe access($0, X_OK) } }
        let flags = Int32(CLINUX_O_PATH) | O_CLOEXEC
        return Descriptor(try retrying { unsafe path.withCString { unsafe Glibc.open($0, flags) } })
    }

    /// A file below an open directory; nil when it does not exist.
    public static func read(_ name: String, in directory: Descriptor, maxBytes: Int) throws(Errno) -> [UInt8]? {
        let file: Descriptor
        do {
            file = try openRegular(name, in: directory, O_RDONLY)
        } catch .noEntry {
            return nil
        }
        defer { file.close() }
        return try read(file, maxBytes: maxBytes)
    }

    /// Replaces a file below an open directory so that a crash leaves the old or the new one: temporary file,
    /// fsync, rename, fsync of the directory.
    public static func replace(_ name: String, in directory: Descriptor, with bytes: [UInt8]) throws(Errno) {
        let temporary = ".\(name).new"
        // What a crash has left there, or somebody has put there.
        if (unsafe temporary.withCString { unsafe unlinkat(directory.rawValue, $0, 0) }) != 0,
            Errno.last == .isDirectory
        {
            _ = try setAside(temporary, in: directory)
        }
        let file = try openRegular(temporary, in: directory, O_WRONLY | O_CREAT | O_EXCL)
        do throws(Errno) {
            defer { file.close() }
            try file.writeAll(bytes)
            _ = try retrying { fsync(file.rawValue) }
            do throws(Errno) {
                try rename(temporary, to: name, in: directory)
            } catch .isDirectory {
                _ = try setAside(name, in: directory)
                try rename(temporary, to: name, in: directory)
            }
            _ = try retrying { fsync(directory.rawValue) }
        } catch {
            remove(temporary, in: directory)
            throw error
        }
    }

    /// Writes at the end of a file below an open directory, and waits until it is on the disk. What a failure leaves may be a part.
    /// `makes`: the file must not be there yet.
    public static func append(
        _ bytes: [UInt8], to name: String, in directory: Descriptor, makes: Bool = false
    ) throws(Errno) {
        let file = try openRegular(name, in: directory, O_WRONLY | O_APPEND | (makes ? O_CREAT | O_EXCL : 0))
        defer { file.close() }
        try file.writeAll(bytes)
        _ = try retrying { fdatasync(file.rawValue) }
        if makes { _ = try retrying { fsync(directory.rawValue) } }
    }

    /// Gives a file below an open directory another name; one that has it already is replaced.
    public static func rename(_ name: String, to other: String, in directory: Descriptor) throws(Errno) {
        _ = try retrying {
            unsafe name.withCString { from in
                unsafe other.withCString { unsafe renameat(directory.rawValue, from, directory.rawValue, $0) }
            }
        }
    }

    public static func remove(_ name: String, in directory: Descriptor) {
        _ = unsafe name.withCString { unsafe unlinkat(directory.rawValue, $0, 0) }
    }

    public static func removeDirectory(_ path: String) {
        _ = unsafe path.withCString { unsafe rmdir($0) }
    }

    public static func remove(_ path: String) {
        _ = unsafe path.withCString { unsafe Glibc.unlink($0) }
    }

    /// Where a path leads when the symbolic links that it names are followed; at most 40 of them, as the kernel has it.
    public static func target(of path: String) throws(Errno) -> String {
        var path = path
        for _ in 0..<40 {
            guard let kind = try? status(path).kind, kind == .symbolicLink else { return path }
            let target = try readLink(path)
            let cut = path.lastIndex(of: "/") ?? path.startIndex
            path = target.hasPrefix("/") ? target : path[..<cut] + "/" + target
        }
        throw .tooManyLinks
    }

    public static func readLink(_ path: String) throws(Errno) -> String {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = unsafe buffer.withUnsafeMutableBytes { raw in
            guard let memory = unsafe raw.baseAddress?.assumingMemoryBound(to: CChar.self) else { return -1 }
            return unsafe path.withCString { unsafe readlink($0, memory, raw.count) }
        }
        if count < 0 { throw Errno.last }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }

    /// An absolute path for one relative to the working directory, without slashes at its end and without doubled ones; nothing else
    /// is resolved.
    public static func absolute(_ path: String) -> String {
        if path.hasPrefix("/") { return "/" + path.split(separator: "/").joined(separator: "/") }
        var buffer = [CChar](repeating: 0, count: 4096)
        guard unsafe getcwd(&buffer, 4096) != nil else { return path }
        let base = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return absolute(base + "/" + path)
    }

    /// The names in an open directory, whatever has its path now.
    public static func list(of directory: Descriptor) throws(Errno) -> [String] {
        try list("/proc/self/fd/\(directory.rawValue)")
    }

    /// The names in a directory, without `.` and `..`. The corresponding C function is readdir(3).
    public static func list(_ path: String) throws(Errno) -> [String] {
        guard let stream: OpaquePointer = unsafe path.withCString({ unsafe opendir($0) }) else { throw Errno.last }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                unsafe String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
