import Shared

/// The listening sockets, which all forwarders share. The kernel wakes one process per connection (EPOLLEXCLUSIVE), always the first
/// in its list. A forwarder that has accepted moves to the end of the list: it leaves epoll and enters it again.
struct Listeners {
    private(set) var descriptors: [Descriptor]
    private(set) var isAccepting = false
    private var accepted = 0
    private var windowStart: UInt64 = 0
    private var acceptedInWindow = 0
    private var isPaused = false
    /// Replaced listeners. Connections in their queues must be accepted before they are closed: closing would reset them.
    private(set) var retiring: [Descriptor] = []

    init(_ descriptors: [Descriptor]) { self.descriptors = descriptors }

    mutating func start(_ loop: borrowing EventLoop) throws(Errno) {
        guard !isAccepting else { return }
        isAccepting = true
        for index in descriptors.indices { try register(index, loop) }
    }

    private func register(_ index: Int, _ loop: borrowing EventLoop) throws(Errno) {
        try loop.add(descriptors[index], EventKind.listener.token(index), [.readable, .exclusive])
    }

    /// Moves to the end of the kernel's list after an accept: after each one at low rates, after every 16th at high rates.
    mutating func goToEndOfLine(_ index: Int, now: UInt64, _ loop: borrowing EventLoop) throws(Errno) {
        if now != windowStart {
            windowStart = now
            acceptedInWindow = 0
        }
        acceptedInWindow += 1
        accepted += 1
        if acceptedInWindow > Limits.acceptsPerTurn, accepted % Limits.acceptsPerTurn != 0 { return }
        loop.remove(descriptors[index])
        try register(index, loop)
    }

    /// Stops accepting until `resume`.
    mutating func pause(_ loop: borrowing EventLoop) {
        isPaused = true
        for descriptor in descriptors { loop.remove(descriptor) }
    }

    mutating func resume(_ loop: borrowing EventLoop) throws(Errno) {
        guard isPaused else { return }
        isPaused = false
        for index in descriptors.indices { try register(index, loop) }
    }

    /// Closes the listeners. They leave epoll first: other processes hold the same open files, so their events would keep coming.
    mutating func close(_ loop: borrowing EventLoop) {
        for descriptor in descriptors {
            if isAccepting, !isPaused { loop.remove(descriptor) }
            descriptor.close()
        }
        descriptors = []
        isPaused = false
    }

    /// Listens on `new` from now on. `takeRetiring` returns the old listeners.
    mutating func replace(_ new: [Descriptor], _ loop: borrowing EventLoop) throws(Errno) {
        if isAccepting, !isPaused { for descriptor in descriptors { loop.remove(descriptor) } }
        retiring += descriptors
        descriptors = new
        isPaused = false
        guard isAccepting else { return }
        isAccepting = false
        try start(loop)
    }

    /// The replaced listeners. The caller empties their queues and closes them.
    mutating func takeRetiring() -> [Descriptor] {
        defer { retiring = [] }
        return retiring
    }
}
