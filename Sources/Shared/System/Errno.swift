import CLinux
import Glibc

/// An error number of a system call; see errno(3).
public struct Errno: Error, Equatable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: Int32

    @inlinable public init(_ rawValue: Int32) { self.rawValue = rawValue }

    /// The calling thread's last error. Read it before anything else can overwrite it.
    public static var last: Errno { Errno(errno) }

    public static let again = Errno(EAGAIN)
    public static let interrupted = Errno(EINTR)
    public static let inProgress = Errno(EINPROGRESS)
    public static let noEntry = Errno(ENOENT)
    public static let noProcess = Errno(ESRCH)
    public static let exists = Errno(EEXIST)
    public static let addressInUse = Errno(EADDRINUSE)
    public static let addressNotAvailable = Errno(EADDRNOTAVAIL)
    public static let connectionRefused = Errno(ECONNREFUSED)
    public static let connectionReset = Errno(ECONNRESET)
    public static let brokenPipe = Errno(EPIPE)
    public static let timedOut = Errno(ETIMEDOUT)
    public static let tooManyOpenFiles = Errno(EMFILE)
    public static let fileTableFull = Errno(ENFILE)
    public static let invalidArgument = Errno(EINVAL)
    public static let nameTooLong = Errno(ENAMETOOLONG)
    public static let tooManyLinks = Errno(ELOOP)
    public static let isDirectory = Errno(EISDIR)
    public static let notPermitted = Errno(EPERM)
    public static let accessDenied = Errno(EACCES)
    public static let fileTooBig = Errno(EFBIG)
    public static let addressFamilyNotSupported = Errno(EAFNOSUPPORT)

    /// The system's words for the error; the corresponding C function is strerror(3).
    public var description: String {
        guard let text = unsafe strerror(rawValue) else { return "error \(rawValue)" }
        return unsafe String(cString: text)
    }

    /// The disk is full, its quota used up, or it is mounted read-only.
    public var isFullOrReadOnly: Bool { rawValue == ENOSPC || rawValue == EDQUOT || rawValue == EROFS }

    /// True for errors of our own host's making, which accuse no peer: no descriptors, ports,
    /// memory or network here.
    public var isOurOwn: Bool {
        switch rawValue {
        case EMFILE, ENFILE, EADDRNOTAVAIL, ENOMEM, ENOBUFS, ENETDOWN, EACCES, EPERM: true
        default: false
        }
    }
}

/// Repeats a call that returned -1 with EINTR; throws any other error.
@inline(__always)
func retrying(_ call: () -> Int32) throws(Errno) -> Int32 {
    while true {
        let result = call()
        if result >= 0 { return result }
        let error = Errno.last
        if error != .interrupted { throw error }
    }
}
