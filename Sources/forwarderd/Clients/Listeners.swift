import Shared

/// The listening sockets, which all forwarders share. The kernel wakes one process per connection (EPOLLEXCLUSIVE), and
/// always the first in line; so whoever has accepted goes to the end of the line by leaving epoll and entering it again.
struct Listeners {
    private(set) var descriptors: [Descriptor]
    private(set) var isAccepting = false
    private var accepted = 0
    private var windowStart: UInt64 = 0
    private var acceptedInWindow = 0
    private var isPaused = false
    /// Listeners that others have replaced: what waits in their queues is still ours, or closing them would reset it.
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

    /// After an accept: to the end of the line, each time at low rates, every 16 at high ones.
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

    /// Out of descriptors: the listener stays silent until `resume`.
    mutating func pause(_ loop: borrowing EventLoop) {
        isPaused = true
        for descriptor in descriptors { loop.remove(descriptor) }
    }

    mutating func resume(_ loop: borrowing EventLoop) throws(Errno) {
        guard isPaused else { return }
        isPaused = false
        for index in descriptors.indices { try register(index, loop) }
    }

    /// Leaves epoll before closing: another process holds the same open file, and its events would keep coming.
    mutating func close(_ loop: borrowing EventLoop) {
        for descriptor in descriptors {
            if isAccepting, !isPaused { loop.remove(descriptor) }
            descriptor.close()
        }
        descriptors = []
        isPaused = false
    }

    /// The new ones are heard from now on; the old ones are given back by `takeRetiring`.
    mutating func replace(_ new: [Descriptor], _ loop: borrowing EventLoop) throws(Errno) {
        if isAccepting, !isPaused { for descriptor in descriptors { loop.remove(descriptor) } }
        retiring += descriptors
        descriptors = new
        isPaused = false
        guard isAccepting else { return }
        isAccepting = false
        try start(loop)
    }

    /// Those that have been replaced, for their queues to be emptied; whoever takes them closes them.
    mutating func takeRetiring() -> [Descriptor] {
        defer { retiring = [] }
        return retiring
    }
}
