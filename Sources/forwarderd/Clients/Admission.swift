import Shared

/// New client connections: taken from the listeners in fair shares, admitted or refused.
extension Forwarder {
    mutating func startAccepting() {
        do {
            try clients.listeners.start(loop)
        } catch {
            log.error("the listening socket cannot be registered: \(error)")
            phase = .stopped
        }
    }

    /// A reload has moved the port or its address.
    mutating func replaceListeners(_ new: [Descriptor]) {
        do {
            try clients.listeners.replace(new, loop)
        } catch {
            pauseAccepting("the new listening socket cannot be registered: \(error)")
        }
        // Connections that wait are served now; the ones whose handshake is in progress are waited for.
        for listener in clients.listeners.retiring { acceptAll(listener) }
        _ = loop.schedule(EventKind.retireListeners.token(), after: Limits.listenerRetiresMilliseconds)
    }

    /// Accepts what has come to replaced listeners meanwhile, and closes them: what is left there would be reset.
    mutating func retireListeners() {
        for listener in clients.listeners.takeRetiring() {
            acceptAll(listener)
            listener.close()
        }
    }

    /// Accepts every waiting connection while there is room.
    private mutating func acceptAll(_ listener: Descriptor) {
        for _ in 0..<Int(Limits.listenBacklog) where !clients.isFull {
            do {
                let (descriptor, address) = try Socket.accept(listener)
                admit(descriptor, address)
            } catch {
                switch error.acceptOutcome {
                case .next: continue
                case .noDescriptors: guard evictClient() || pool.closeOldest(table.instances) else { return }
                case .nobody, .pause: return
                }
            }
        }
    }

    /// Nothing new is accepted from now on; what has reached the queues is served.
    mutating func closeListeners() {
        for listener in clients.listeners.descriptors { acceptAll(listener) }
        retireListeners()
        clients.listeners.close(loop)
    }

    mutating func acceptConnections(_ index: Int) {
        guard phase.accepts, index < clients.listeners.descriptors.count else { return }
        // A single forwarder takes what there is; one of several takes one at a time, so that all get their share.
        let share = table.share
        let isAboveShare = share.isExceeded(by: clients.count)
        let limit = isAboveShare ? Limits.acceptsAboveShare : share.of > 1 ? 1 : Limits.acceptsPerTurn
        for _ in 0..<limit {
            guard !clients.isFull else {
                return pauseAccepting("\(clients.slab.capacity) connections are open, which is the limit")
            }
            let descriptor: Descriptor
            let address: SocketAddress?
            do {
                (descriptor, address) = try Socket.accept(clients.listeners.descriptors[index])
            } catch {
                switch error.acceptOutcome {
                case .nobody: return stayOut(isAboveShare)
                case .noDescriptors:
                    if evictClient() || pool.closeOldest(table.instances) { continue }
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
            do { try clients.listeners.goToEndOfLine(index, now: loop.now, loop) } catch { pauseAccepting("\(error)") }
        }
    }

    /// Forwarders with fewer connections are first in line for a moment.
    private mutating func stayOut(_ isAboveShare: Bool) {
        guard isAboveShare else { return }
        clients.listeners.pause(loop)
        _ = loop.schedule(EventKind.resumeAccepting.token(), after: Limits.aboveShareMilliseconds)
    }

    private mutating func admit(_ descriptor: Descriptor, _ address: SocketAddress?) {
        // A connection over the limit takes the place of an idle one, or is told that there is none.
        let limit = clients.limit(table.settings, table.share)
        let hasRoom = clients.count - clients.refused < limit || evictClient()
        let slab = clients.slab
        let client = slab.insert(Client(descriptor, address: (address ?? SocketAddress(ipv4: 0, port: 0)).unmapped))
        ledger.noteConnection()
        ledger.noteOpenConnections(clients.count)
        do {
            try loop.add(
                descriptor, slab.token(EventKind.client.rawValue, client),
                [.readable, .writable, .peerClosed, .edgeTriggered])
        } catch {
            ledger.warn("a client connection cannot be registered: \(error)", kind: "registering", now: loop.now)
            return closeClient(client)
        }
        let settings = table.settings
        if !settings.trustedProxies.isEmpty, settings.isTrusted(slab[client].address) {
            slab[client].awaitsProxyHeader = settings.expectsProxyProtocol
            slab[client].isTrusted = !settings.expectsProxyProtocol
        }
        if !hasRoom {
            slab[client].isRefused = true
            clients.refused += 1
            return refuse(client, .full("\(limit) connections are open, which is the limit"))
        }
        slab[client].restedAt = loop.now
        // A connection that says nothing has the time of a head.
        setDeadline(client, loop.now + settings.headTimeoutMilliseconds)
    }

    /// Closes the client connection that has been idle for longest. False: none is idle.
    private mutating func evictClient() -> Bool {
        guard let client = clients.eviction.next(clients.slab, now: loop.now) else { return false }
        closeClient(client)
        return true
    }

    private mutating func pauseAccepting(_ reason: String) {
        ledger.warn("accepting pauses: \(reason)", kind: "accepting", now: loop.now)
        clients.listeners.pause(loop)
        _ = loop.schedule(EventKind.resumeAccepting.token(), after: Limits.acceptPauseMilliseconds)
    }

    mutating func resumeAccepting() {
        guard phase.accepts else { return }
        do { try clients.listeners.resume(loop) } catch { pauseAccepting("\(error)") }
    }
}
