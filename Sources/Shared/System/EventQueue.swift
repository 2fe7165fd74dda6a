import CLinux
import Glibc

/// What is ready on a descriptor; see epoll_ctl(2).
public struct Readiness: OptionSet, Sendable {
    public let rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    @inlinable public static var readable: Readiness { Readiness(rawValue: 0x1) }
    @inlinable public static var writable: Readiness { Readiness(rawValue: 0x4) }
    @inlinable public static var error: Readiness { Readiness(rawValue: 0x8) }
    /// Both directions are closed.
    @inlinable public static var hangUp: Readiness { Readiness(rawValue: 0x10) }
    /// The peer closed its sending side.
    @inlinable public static var peerClosed: Readiness { Readiness(rawValue: 0x2000) }
    /// Report changes only, not levels: the receiver reads until a short read.
    @inlinable public static var edgeTriggered: Readiness { Readiness(rawValue: 1 << 31) }
    /// Wake one of the processes that wait on the same listener. Such a registration cannot be modified.
    @inlinable public static var exclusive: Readiness { Readiness(rawValue: 1 << 28) }

    /// Whatever lets a receive find something: bytes, the end, an error.
    @inlinable public static var receivingSide: Readiness { Readiness(rawValue: 0x2019) }
    /// The peer sends nothing more, or cannot.
    @inlinable public static var endOfReceiving: Readiness { Readiness(rawValue: 0x2018) }
}

/// An epoll instance with a fixed array for its events; see epoll(7).
@safe
public struct EventQueue: ~Copyable {
    private let epoll: Descriptor
    private let events: UnsafeMutablePointer<epoll_event>
    private let capacity: Int

    public init(eventsPerTurn: Int = Limits.eventsPerTurn) throws(Errno) {
        epoll = Descriptor(try retrying { epoll_create1(Int32(EPOLL_CLOEXEC)) })
        unsafe events = .allocate(capacity: eventsPerTurn)
        unsafe events.initialize(repeating: epoll_event(), count: eventsPerTurn)
        capacity = eventsPerTurn
    }

    deinit {
        epoll.close()
        unsafe events.deallocate()
    }

    public func add(_ descriptor: Descriptor, token: UInt64, interest: Readiness) throws(Errno) {
        try control(EPOLL_CTL_ADD, descriptor, token, interest)
    }

    public func modify(_ descriptor: Descriptor, token: UInt64, interest: Readiness) throws(Errno) {
        try control(EPOLL_CTL_MOD, descriptor, token, interest)
    }

    /// Needed before close only where another process holds the same open file: else its events keep coming.
    public func remove(_ descriptor: Descriptor) {
        var event = unsafe epoll_event()
        _ = unsafe epoll_ctl(epoll.rawValue, EPOLL_CTL_DEL, descriptor.rawValue, &event)
    }

    private func control(
        _ operation: Int32, _ descriptor: Descriptor, _ token: UInt64, _ interest: Readiness
    ) throws(Errno) {
        var event = unsafe epoll_event()
        unsafe event.events = interest.rawValue
        unsafe event.data.u64 = token
        _ = try retrying { unsafe epoll_ctl(epoll.rawValue, operation, descriptor.rawValue, &event) }
    }

    /// Waits at most `timeoutMilliseconds` (-1: for ever) and returns how many events there are.
    /// The corresponding C function is epoll_wait(2).
    public func wait(timeoutMilliseconds: Int32) throws(Errno) -> Int {
        let count = unsafe epoll_wait(epoll.rawValue, events, Int32(capacity), timeoutMilliseconds)
        if count >= 0 { return Int(count) }
        let error = Errno.last
        if error == .interrupted { return 0 }
        // The system is short of memory for a moment: no reason to drop all that is here.
        if error == .outOfMemory {
            Clock.sleep(milliseconds: Limits.memoryPauseMilliseconds)
            return 0
        }
        throw error
    }

    @inline(__always)
    public subscript(index: Int) -> (token: UInt64, readiness: Readiness) {
        precondition(index >= 0 && index < capacity)
        let event = unsafe events[index]
        return unsafe (event.data.u64, Readiness(rawValue: event.events))
    }
}
