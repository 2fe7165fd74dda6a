import CLinux
import Glibc

/// An open file, socket or other kernel object. It does not close itself: whoever owns the slot
/// that holds it does, exactly once.
public struct Descriptor: Equatable, Hashable, Sendable {
    public let rawValue: Int32

    @inlinable public init(_ rawValue: Int32) { self.rawValue = rawValue }

    /// No descriptor.
    public static let none = Descriptor(-1)
    public static let standardInput = Descriptor(0)
    public static let standardOutput = Descriptor(1)
    public static let standardError = Descriptor(2)

    @inlinable public var isOpen: Bool { rawValue >= 0 }

    /// The corresponding C function is close(2). EINTR means closed on Linux, so there is nothing to repeat.
    public func close() {
        if rawValue >= 0 { _ = Glibc.close(rawValue) }
    }

    /// Sets or clears close-on-exec. The corresponding C function is fcntl(2) with F_SETFD.
    public func setCloseOnExec(_ on: Bool) throws(Errno) {
        _ = try retrying { fcntl(rawValue, F_SETFD, on ? FD_CLOEXEC : 0) }
    }

    /// Sets or clears O_NONBLOCK on the open file description (which all its holders share).
    public func setNonBlocking(_ on: Bool) throws(Errno) {
        let flags = try retrying { fcntl(rawValue, F_GETFL) }
        _ = try retrying { fcntl(rawValue, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) }
    }

    /// A second descriptor of the same open file, close-on-exec.
    public func duplicate() throws(Errno) -> Descriptor {
        Descriptor(try retrying { fcntl(rawValue, F_DUPFD_CLOEXEC, 3) })
    }

    /// A pipe; its read end never blocks. The corresponding C function is pipe2(2).
    public static func pipe() throws(Errno) -> (read: Descriptor, write: Descriptor) {
        var ends: (Int32, Int32) = (-1, -1)
        _ = try retrying {
            unsafe withUnsafeMutableBytes(of: &ends) {
                unsafe pipe2($0.baseAddress?.assumingMemoryBound(to: Int32.self), O_CLOEXEC)
            }
        }
        let (read, write) = (Descriptor(ends.0), Descriptor(ends.1))
        do throws(Errno) {
            try read.setNonBlocking(true)
        } catch {
            read.close()
            write.close()
            throw error
        }
        return (read, write)
    }

    /// Whether a write would not block: for pipes, of up to 4096 bytes (pipe(7), PIPE_BUF). poll(2).
    public var isWritable: Bool { waitUntilWritable(milliseconds: 0) }

    /// False when the time is over first, or a signal came.
    @discardableResult
    public func waitUntilWritable(milliseconds: UInt64) -> Bool {
        var entry = pollfd(fd: rawValue, events: Int16(POLLOUT), revents: 0)
        var count = unsafe poll(&entry, 1, Int32(clamping: milliseconds))
        // Only a look, which costs nothing to repeat.
        while count < 0, milliseconds == 0, Errno.last == .interrupted { count = unsafe poll(&entry, 1, 0) }
        return count == 1 && entry.revents & Int16(POLLOUT) != 0
    }

    /// Whether the other side of a terminal or a pipe is gone. poll(2), POLLHUP.
    public var isHungUp: Bool {
        var entry = pollfd(fd: rawValue, events: 0, revents: 0)
        guard unsafe poll(&entry, 1, 0) == 1 else { return false }
        return entry.revents & Int16(POLLHUP | POLLERR | POLLNVAL) != 0
    }

    /// Opens /dev/null as standard input, output and error where they are closed, so that no socket gets their numbers.
    public static func openStandard() {
        while true {
            let null = unsafe Glibc.open("/dev/null", O_RDWR)
            if null > 2 || null < 0 {
                if null > 2 { _ = Glibc.close(null) }
                return
            }
        }
    }

    /// /dev/null in the place of standard output and error: whoever read them hears no more.
    public static func silenceStandard() {
        let null = unsafe Glibc.open("/dev/null", O_RDWR | O_CLOEXEC)
        guard null >= 0 else { return }
        _ = dup2(null, 1)
        _ = dup2(null, 2)
        if null > 2 { _ = Glibc.close(null) }
    }

    /// Whether this names an open file: a number inherited through the environment may not.
    public var isValid: Bool { rawValue >= 0 && fcntl(rawValue, F_GETFD) >= 0 }
}

/// The result of a read or write: a count, or an error as a value, because EAGAIN is no exception.
public struct IOResult: Sendable {
    @usableFromInline let raw: Int

    /// Makes the call, again where a signal has interrupted it; on any other -1, errno is read here and now.
    @inlinable @inline(__always)
    init(_ call: () -> Int) {
        var result = call()
        while result < 0 {
            let error = Int(Errno.last.rawValue)
            // EINTR
            if error != 4 {
                result = -error
                break
            }
            result = call()
        }
        raw = result
    }

    init(error: Errno) { raw = -Int(error.rawValue) }

    /// Bytes moved; nil on an error.
    @inlinable public var count: Int? { raw >= 0 ? raw : nil }
    @inlinable public var isAgain: Bool { raw == -11 }
    /// The error; meaningless when `count` is not nil.
    @inlinable public var error: Errno { Errno(Int32(truncatingIfNeeded: -raw)) }
}
