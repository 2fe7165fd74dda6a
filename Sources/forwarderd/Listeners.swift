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

extension Forwarder {
    mutating func startAccepting() {
        do {
            try listeners.start(loop)
        } catch {
            log.error("the listening socket cannot be registered: \(error)")
            isRunning = false
        }
    }

    /// A reload has moved the port, or its address.
    mutating func replaceListeners(_ new: [Descriptor]) {
        do {
            try listeners.replace(new, loop)
        } catch {
            pauseAccepting("the new listening socket cannot be registered: \(error)")
        }
        // What waits is served now; what is about to connect is waited for.
        for listener in listeners.retiring { acceptAll(listener) }
        _ = loop.schedule(EventKind.retireListeners.token(), after: Limits.listenerRetiresMilliseconds)
    }

    /// Takes what has come to the queues of replaced listeners meanwhile, and closes them: what is left there would be reset.
    mutating func retireListeners() {
        for listener in listeners.takeRetiring() {
            acceptAll(listener)
            listener.close()
        }
    }

    /// All that waits, as far as there is room.
    private mutating func acceptAll(_ listener: Descriptor) {
        for _ in 0..<Int(Limits.listenBacklog) where !downstreams.isFull {
            do {
                let (descriptor, address) = try Socket.accept(listener)
                admit(descriptor, address)
            } catch {
                switch error.acceptOutcome {
                case .next: continue
                case .noDescriptors: guard evictOldestIdle() || evictIdleUpstream() else { return }
                case .nobody, .pause: return
                }
            }
        }
    }

    /// Nothing new is accepted from now on; what has reached the queue is served.
    mutating func closeListeners() {
        for listener in listeners.descriptors { acceptAll(listener) }
        retireListeners()
        listeners.close(loop)
    }

    mutating func acceptConnections(_ index: Int) {
        guard drain != .finishing, index < listeners.descriptors.count else { return }
        // Alone, a forwarder takes what there is; among others one at a time, so that all get their share.
        let isAboveShare = share.isExceeded(by: downstreams.count)
        let limit = isAboveShare ? Limits.acceptsAboveShare : share.of > 1 ? 1 : Limits.acceptsPerTurn
        for _ in 0..<limit {
            guard !downstreams.isFull else {
                return pauseAccepting("\(downstreams.capacity) connections are open, which is the limit")
            }
            let descriptor: Descriptor
            let address: SocketAddress?
            do {
                (descriptor, address) = try Socket.accept(listeners.descriptors[index])
            } catch {
                switch error.acceptOutcome {
                case .nobody: return stayOut(isAboveShare)
                case .noDescriptors:
                    if evictOldestIdle() || evictIdleUpstream() { continue }
                    return pauseAccepting("no more descriptors")
                case .next: continue
                case .pause: return pauseAccepting("\(error)")
                }
            }
            admit(descriptor, address)
        }
        guard share.of > 1 else { return }
        if isAboveShare {
            stayOut(true)
        } else {
            do { try listeners.goToEndOfLine(index, now: loop.now, loop) } catch { pauseAccepting("\(error)") }
        }
    }

    /// Those that have fewer connections are first in line for a moment.
    private mutating func stayOut(_ isAboveShare: Bool) {
        guard isAboveShare else { return }
        listeners.pause(loop)
        _ = loop.schedule(EventKind.resumeAccepting.token(), after: Limits.aboveShareMilliseconds)
    }

    private mutating func admit(_ descriptor: Descriptor, _ address: SocketAddress?) {
        // One over the limit takes the place of the connection that has been idle longest, or is told that there is none.
        let hasRoom = downstreams.count - refused < connectionLimit || evictOldestIdle()
        let slot = downstreams.insert(
            Downstream(descriptor, client: (address ?? SocketAddress(ipv4: 0, port: 0)).unmapped))
        counters.add(.connections)
        counters[.openConnections] = UInt64(downstreams.count)
        let token = EventKind.downstream.token(slot, downstreams.generation(slot))
        do {
            try loop.add(descriptor, token, [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            complain("a client connection cannot be registered: \(error)", kind: "registering")
            return closeDownstream(slot)
        }
        if !settings.trustedProxies.isEmpty, settings.isTrusted(downstreams[slot].client) {
            downstreams[slot].awaitsProxyHeader = settings.expectsProxyProtocol
            downstreams[slot].isTrusted = !settings.expectsProxyProtocol
        }
        if !hasRoom {
            downstreams[slot].isRefused = true
            refused += 1
            refuseHead(slot)
            return answer(slot, .full("\(connectionLimit) connections are open, which is the limit"))
        }
        downstreams[slot].restedAt = loop.now
        // A connection that says nothing has the time of a head.
        setDeadline(slot, loop.now + settings.headTimeoutMilliseconds)
    }

    /// Client connections that this forwarder serves at one time.
    private var connectionLimit: Int {
        min(downstreams.capacity - Limits.refusedConnections, settings.connections.map(share.part(of:)) ?? .max)
    }

    /// An idle connection, as it was when it was noted.
    struct Evictable {
        let slot: Int
        let generation: UInt32
        let restedAt: UInt64
    }

    /// Closes the connection that has been between requests for longest. False: none is.
    private mutating func evictOldestIdle() -> Bool {
        if let oldest = popEvictable() {
            closeDownstream(oldest)
            return true
        }
        // Looking through all is done for many at once, and not again in the same millisecond.
        if nothingEvictableAt == loop.now { return false }
        // One that has not said anything yet may do so any moment; after a while it is as idle as others.
        let silentSince = loop.now - min(loop.now, Limits.silentClientMilliseconds)
        for slot in 0..<downstreams.highWater
        where downstreams.isInUse(slot) && downstreams[slot].state == .idle
            && (downstreams[slot].hasServed || downstreams[slot].restedAt < silentSince)
        {
            evictable.append(
                Evictable(slot: slot, generation: downstreams.generation(slot), restedAt: downstreams[slot].restedAt))
        }
        evictable.sort { $0.restedAt > $1.restedAt }
        if evictable.count > Limits.evictedPerSearch {
            evictable.removeFirst(evictable.count - Limits.evictedPerSearch)
        }
        guard let oldest = popEvictable() else {
            nothingEvictableAt = loop.now
            return false
        }
        closeDownstream(oldest)
        return true
    }

    private mutating func popEvictable() -> Int? {
        while let candidate = evictable.popLast() {
            if downstreams.holds(candidate.slot, candidate.generation), downstreams[candidate.slot].state == .idle,
                downstreams[candidate.slot].restedAt == candidate.restedAt,
                // Its next request may be here already.
                downstreams[candidate.slot].descriptor.peek().isAgain
            {
                return candidate.slot
            }
        }
        return nil
    }

    /// Says what may be the case again a moment later; each kind not more often than every few seconds, and then how often it was.
    mutating func complain(_ words: String, kind: StaticString) {
        if let line = complaints.note(words, kind: kind, now: loop.now) { log.warning("\(line)") }
    }

    private mutating func pauseAccepting(_ reason: String) {
        complain("accepting pauses: \(reason)", kind: "accepting")
        listeners.pause(loop)
        _ = loop.schedule(EventKind.resumeAccepting.token(), after: Limits.acceptPauseMilliseconds)
    }

    mutating func resumeAccepting() {
        guard drain != .finishing else { return }
        do { try listeners.resume(loop) } catch { pauseAccepting("\(error)") }
    }
}
