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
    public static let outOfMemory = Errno(ENOMEM)
    public static let noBufferSpace = Errno(ENOBUFS)
    public static let noSpace = Errno(ENOSPC)
    /// Not of the system: what has the name is no regular file (a pipe, a socket, a device).
    public static let notRegular = Errno(-1000)

    /// The system's words for the error; the corresponding C function is strerror(3).
    public var description: String {
        if self == .notRegular { return "it is not a regular file" }
        guard let text = unsafe strerror(rawValue) else { return "error \(rawValue)" }
        return unsafe String(cString: text)
    }

    /// The disk is full, its quota used up, or it is mounted read-only.
    public var isFullOrReadOnly: Bool { rawValue == ENOSPC || rawValue == EDQUOT || rawValue == EROFS }

    /// True for errors of our own host's making, which accuse no peer: no descriptors, ports,
    /// memory or network here.
    public var isOurOwn: Bool {
        switch rawValue {
        case EMFILE, ENFILE, EADDRNOTAVAIL, ENOMEM, ENOBUFS, ENETDOWN, EACCES, EPERM, EAGAIN: true
        default: false
        }
    }
}

/// What errors of system calls mean here, in one place.
///
/// | error | where | what follows |
/// |---|---|---|
/// | EINTR | every call | the call is repeated at once, inside its wrapper; it is never taken for EAGAIN. Not repeated: close(2), which has closed; connect(2), which goes on by itself |
/// | EAGAIN | reads, writes, accept | nothing now: an event says when |
/// | EMFILE, ENFILE | accept, connect | connections at rest make room, else accepting pauses |
/// | ENOMEM, ENOBUFS | accept | accepting pauses |
/// | ENOMEM | epoll_wait | the loop rests for a moment and goes on |
/// | ENOMEM, ENOBUFS, EAGAIN | control messages | read or sent later; no reason to end |
/// | ECONNABORTED, EPROTO, EPERM and the network's errors | accept | that connection died while it waited: the next one |
/// | errors of our own host's making (`isOurOwn`) | connect, polls | accuse no instance |
/// | all others | everywhere | thrown, and told in words |
public enum AcceptOutcome: Equatable, Sendable {
    /// Nobody waits.
    case nobody
    /// The connection died in the queue: the next one.
    case next
    /// No descriptors are left.
    case noDescriptors
    /// Not now: what is missing comes back with time, or somebody must be told.
    case pause
}

extension Errno {
    /// What follows from a failed accept4(2), whose manual page says which errors are the waiting connection's.
    public var acceptOutcome: AcceptOutcome {
        switch rawValue {
        case EAGAIN: .nobody
        case EMFILE, ENFILE: .noDescriptors
        case EINTR, ECONNABORTED, EPROTO, EPERM, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP,
            ENETUNREACH, ETIMEDOUT:
            .next
        default: .pause
        }
    }

    /// The call may succeed a moment later, and nothing is broken.
    public var isPassing: Bool {
        switch rawValue {
        case EAGAIN, EINTR, ENOMEM, ENOBUFS: true
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
