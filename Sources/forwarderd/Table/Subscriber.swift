import Shared

/// The connection to discoveryd: snapshots come in, evidence goes out. A lost connection is re-established; until then the last snapshot
/// is used.
struct Subscriber: ~Copyable {
    let path: String
    let index: Int?
    var channel: LineChannel?
    var assembler = SnapshotAssembler()
    var delay = Limits.reconnectMilliseconds
    /// The snapshot to use if discoveryd does not answer at the start.
    var savedSnapshot: SavedSnapshot?
    /// When the next slice of a snapshot may be taken over, and how many requests there had been at the last one.
    var sliceAt: UInt64 = 0
    var acceptedAtSlice: UInt64 = 0
    /// The version last reported to the supervisor.
    private var reportedVersion: SnapshotVersion?
    /// A warning was logged for the present loss.
    var hasComplained = false
    /// The socket may have more to read; lines may be here that no turn has had the time for.
    var mayReceive = false
    var hasMore = false

    init(path: String, index: Int?, _ savedSnapshot: SavedSnapshot?) {
        self.path = path
        self.index = index
        self.savedSnapshot = savedSnapshot
    }

    /// What a supervisor is to be told of the version that is in use; nil: nothing new.
    mutating func statusToReport(_ version: SnapshotVersion?) -> String? {
        guard let version, version != reportedVersion else { return nil }
        reportedVersion = version
        return "snapshot \(version)"
    }
}

extension Forwarder {
    /// Connects to discoveryd, or tries again later.
    mutating func subscribe() {
        guard subscriber.channel == nil else { return }
        do throws(Errno) {
            let descriptor = try UnixSocket.connect(.stream, path: subscriber.path)
            do throws(Errno) {
                try loop.add(
                    descriptor, EventKind.subscriber.token(), [.readable, .writable, .peerClosed, .edgeTriggered])
            } catch {
                descriptor.close()
                throw error
            }
            var channel = LineChannel(descriptor)
            channel.queue(SubscriberLines.hello(role: .forwarder, pid: Process.pid, index: subscriber.index))
            _ = try? channel.flush()
            subscriber.channel = channel
            subscriber.assembler = SnapshotAssembler()
        } catch {
            if !subscriber.hasComplained { log.warning("discoveryd cannot be reached at \(subscriber.path): \(error)") }
            subscriber.hasComplained = true
            retryLater()
        }
    }

    /// No snapshot has come in time: uses the saved one, or responds 503 until one comes.
    mutating func beginWithoutDiscoveryd() {
        let waited = "no snapshot from discoveryd after \(Limits.firstSnapshotWaitMilliseconds) ms"
        guard let savedSnapshot = subscriber.savedSnapshot else {
            log.warning("\(waited): requests are answered with 503 until there is one")
            return startAccepting()
        }
        do throws(SavedSnapshot.Fault) {
            let snapshot = try savedSnapshot.load()
            log.warning("\(waited): snapshot \(snapshot.version) from \(savedSnapshot.path) holds until there is one")
            table.begin(snapshot)
        } catch {
            log.warning(
                "\(waited), and \(savedSnapshot.path) cannot be used (\(error.reason)): requests are answered with 503 until there is one"
            )
            startAccepting()
        }
    }

    private mutating func retryLater() {
        _ = loop.schedule(EventKind.reconnect.token(), after: subscriber.delay)
        subscriber.delay = min(subscriber.delay * 2, Limits.reconnectMaximumMilliseconds)
    }

    mutating func subscriberReady(_ readiness: Readiness) {
        guard subscriber.channel != nil else { return }
        do {
            if readiness.contains(.writable) { _ = try subscriber.channel?.flush() }
        } catch {
            return lose("\(error)")
        }
        subscriber.mayReceive = true
        subscriber.hasMore = true
    }

    var hasSnapshotWork: Bool { subscriber.hasMore || table.isBuilding }

    /// Reads what discoveryd has sent, at the end of the turn. A large snapshot is taken over in slices, with most of the time left to
    /// requests while there are any: the scheduler also delays a process that is always busy.
    mutating func workOnSnapshot() {
        guard loop.now >= subscriber.sliceAt else { return }
        if subscriber.hasMore { readSubscriber() }
        if table.isBuilding { continueBuild() }
        guard hasSnapshotWork else { return }
        if ledger.accepted != subscriber.acceptedAtSlice {
            subscriber.sliceAt = loop.now + Limits.sliceGapMilliseconds
            _ = loop.schedule(EventKind.sliceDue.token(), at: subscriber.sliceAt)
        }
        subscriber.acceptedAtSlice = ledger.accepted
    }

    private mutating func continueBuild() {
        let isFirst = table.version == nil
        let end = Clock.monotonicNanoseconds() + Limits.sliceNanoseconds
        guard table.continueBuild(until: end, &pool, &ledger, now: loop.now), let version = table.version else {
            return
        }
        useSettings()
        ledger.noteVersion(version)
        log.debug("snapshot \(version): \(table.services.count) services")
        if isFirst {
            startAccepting()
            daemon.notifier.ready("snapshot \(version)")
        }
        snapshotApplied(version)
    }

    private mutating func useSettings() {
        Log.format = table.settings.logFormat
        identity.rename(table.settings.via ?? Process.hostName())
        ledger.configureLog(table.settings)
    }

    /// Reads lines for `Limits.sliceNanoseconds`. Lines after a snapshot wait until it is placed.
    mutating func readSubscriber() {
        let end = Clock.monotonicNanoseconds() + Limits.sliceNanoseconds
        subscriber.hasMore = false
        do {
            while subscriber.channel != nil {
                if table.isPlacing {
                    subscriber.hasMore = true
                    return
                }
                if let line = try subscriber.channel?.nextLine() {
                    try take(line)
                    if Clock.monotonicNanoseconds() < end { continue }
                    subscriber.hasMore = true
                    return
                }
                guard subscriber.mayReceive else { return }
                subscriber.mayReceive = try subscriber.channel?.receive() ?? false
            }
        } catch let fault as LineChannel.Fault {
            lose(fault == .closed ? "discoveryd closed the connection" : "\(fault)")
        } catch let fault as SnapshotAssembler.Fault {
            lose(fault.reason)
        } catch {
            lose("\(error)")
        }
    }

    private mutating func lose(_ reason: String) {
        // A draining forwarder reconnects, too: `drain --wait` and reloads ask it for its requests in flight.
        if !subscriber.hasComplained, !phase.isDraining {
            log.warning("the connection to discoveryd is lost: \(reason); the last snapshot holds")
        }
        subscriber.hasComplained = true
        drop()
        retryLater()
    }

    private mutating func drop() {
        subscriber.channel?.descriptor.close()
        subscriber.channel = nil
        subscriber.hasMore = false
    }

    private mutating func take(_ line: [UInt8]) throws(SnapshotAssembler.Fault) {
        switch try subscriber.assembler.receive(line) {
        case .nothing, .ping: break
        case .share(let share): table.take(share)
        case .ask(let question): say(explain(question))
        case .snapshot(let snapshot): table.begin(snapshot)
        case .delta(let version, let changes, let isMore):
            guard table.apply(version, changes, &pool, &ledger, now: loop.now) else {
                throw SnapshotAssembler.Fault(reason: "a delta for an unknown instance")
            }
            if !isMore { noteApplied(version) }
        case .change(let change):
            guard table.apply(change, &pool, &ledger, now: loop.now) else {
                throw SnapshotAssembler.Fault(reason: "a change of an unknown service")
            }
            if change.settings != nil { useSettings() }
            if !change.isMore { noteApplied(change.version) }
        case .refused(let reason): throw SnapshotAssembler.Fault(reason: "discoveryd refused us: \(reason)")
        }
    }

    /// What has changed since the last snapshot is in use.
    private mutating func noteApplied(_ version: SnapshotVersion) {
        ledger.noteVersion(version)
        say(SubscriberLines.applied(version))
    }

    /// A whole snapshot is in use.
    mutating func snapshotApplied(_ version: SnapshotVersion) {
        guard subscriber.channel != nil else { return }
        if subscriber.hasComplained { log.info("connected to discoveryd again, snapshot \(version)") }
        subscriber.hasComplained = false
        subscriber.delay = Limits.reconnectMilliseconds
        say(SubscriberLines.applied(version))
    }

    /// Reports evidence at once.
    mutating func observed(_ instance: Table.Instance, _ cause: String) {
        let slot = table.instances[instance]
        say(SubscriberLines.observed(service: slot.service, instance: slot.url, address: slot.address, cause: cause))
    }

    /// Drops the line if discoveryd has not read `Limits.subscriberBufferBytes` of earlier ones.
    private mutating func say(_ line: [UInt8]) {
        guard let pending = subscriber.channel?.pendingBytes, pending < Limits.subscriberBufferBytes else { return }
        subscriber.channel?.queue(line)
        _ = try? subscriber.channel?.flush()
    }
}
