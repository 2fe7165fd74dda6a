import Shared

/// Forwarders that are replaced one after another: each new one is ready before its predecessor is told to drain, so that the number of
/// those who accept never falls.
struct Rolling {
    let connection: (slot: Int, generation: UInt32)?
    /// Places of those that are still to be replaced.
    var left: [Int]
    /// The one that is being replaced, and its successor.
    var present: (old: Int, new: Int)?
    var done = 0
}

extension Supervisor {
    /// `serverpyctl restart`.
    mutating func restartForwarders(_ connection: (slot: Int, generation: UInt32)?) {
        guard phase == .running, reloading == nil, !isRollingBack, rolling == nil else {
            return answer(connection, .failure("another change is under way; try again", ExitCode.failed))
        }
        rolling = Rolling(
            connection: connection,
            left: children.indices.filter { children[$0].role.isForwarder && children[$0].state == .ready })
        replaceNext()
    }

    private mutating func replaceNext() {
        guard var now = rolling else { return }
        // One that has died meanwhile has been started anew already.
        while let old = now.left.first, children[old].state != .ready { now.left.removeFirst() }
        guard let old = now.left.first else {
            rolling = nil
            log.info("\(now.done) forwarders have been replaced")
            return answer(
                now.connection, .success(["\(now.done) forwarder\(now.done == 1 ? "" : "s") replaced"]))
        }
        now.left.removeFirst()
        let role = children[old].role
        let new: Int
        if let free = children.indices.first(where: { children[$0].role == role && children[$0].state == .ended }) {
            children[free] = Child(role: role)
            new = free
        } else {
            children.append(Child(role: role))
            new = children.count - 1
        }
        now.present = (old, new)
        rolling = now
        start(new)
    }

    /// A forwarder has become ready: if it is the successor of one, that one goes.
    mutating func successorReady(_ index: Int) {
        guard let present = rolling?.present, present.new == index else { return }
        rolling?.present = nil
        rolling?.done += 1
        loop.cancel(&children[present.old].timer)
        children[present.old].state = .stopping
        if children[present.old].isRunning {
            let forwarding = settings.configuration.general.forwarding
            tell(
                children[present.old],
                .drain(delayMilliseconds: 0, timeoutMilliseconds: forwarding.drainTimeoutMilliseconds))
        } else {
            children[present.old].state = .ended
        }
        replaceNext()
    }

    /// A successor that cannot become ready is given up; the one that it was to replace goes on. True: it was one.
    mutating func successorFailed(_ index: Int) -> Bool {
        guard let present = rolling?.present, present.new == index else { return false }
        children[index].state = .ended
        let connection = rolling?.connection
        let done = rolling?.done ?? 0
        rolling = nil
        let reason = "the new forwarder ended before it was ready; \(done) were replaced, the others go on as they were"
        log.error("\(reason)")
        answer(connection, .failure(reason, ExitCode.failed))
        return true
    }

    /// `serverpyctl scale`: remembered until the end.
    mutating func scale(_ connection: (slot: Int, generation: UInt32)?, to count: Int) {
        guard phase == .running, reloading == nil, !isRollingBack, rolling == nil else {
            return answer(connection, .failure("another change is under way; try again", ExitCode.failed))
        }
        guard (1...Limits.forwarders).contains(count) else {
            return answer(
                connection, .failure("from 1 to \(Limits.forwarders) forwarders are possible", ExitCode.failed))
        }
        let before = settings.forwarders
        scale(to: count)
        settings.hasFixedForwarders = true
        log.info("\(count) forwarders instead of \(before)")
        answer(connection, .success(["forwarders: \(before) -> \(count)"]))
    }
}
