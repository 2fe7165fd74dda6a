import Shared

/// Processes that are replaced one after another: discoveryd first, during whose absence the forwarders go on with what they know; then
/// each forwarder, whose successor is ready before it is told to drain, so that the number of those who accept never falls.
struct Replacement {
    enum Step: Equatable {
        case none
        /// discoveryd has been told to end, or its successor is starting.
        case discoveryd(Int)
        case forwarder(old: Int, new: Int)
    }

    let connection: ControlServer.Caller?
    /// The programs as they were, where new ones are tried: they are taken again if the new ones fail.
    var previous: Programs?
    var includesDiscoveryd: Bool
    /// Places of the forwarders that are still to be replaced.
    var left: [(place: Int, pid: Int32)]
    /// Those that are replaced: where the new programs fail, they are put back.
    var successors: [Int] = []
    var step = Step.none
    var done = 0
    /// What is answered in the end.
    var lines: [String] = []
}

extension Supervisor {
    /// Nothing else changes while one change is under way.
    var isBusy: Bool { phase != .running || !change.isNone }

    var busyReason: String {
        switch phase {
        case .starting: "serverpy is starting; try again when it is ready"
        case .running: "another change is under way; try again"
        default: "serverpy is being stopped"
        }
    }

    /// `serverpyctl restart`.
    mutating func restart(_ target: RestartTarget, _ connection: ControlServer.Caller?) {
        guard !isBusy else { return answer(connection, .failure(busyReason, ExitCode.failed)) }
        beginReplacing(
            Replacement(
                connection: connection, includesDiscoveryd: target != .forwarders,
                left: target == .discoveryd ? [] : replaceableForwarders()))
    }

    func replaceableForwarders() -> [(place: Int, pid: Int32)] {
        children.indices.filter { children[$0].role.isForwarder && isReplaceable($0) }.map { ($0, children[$0].pid) }
    }

    private func isReplaceable(_ index: Int) -> Bool {
        children[index].isRunning && (children[index].state == .ready || children[index].state == .starting)
    }

    mutating func beginReplacing(_ replacement: Replacement) {
        change.replacement = replacement
        guard replacement.includesDiscoveryd, let index = children.firstIndex(where: { $0.role == .discoveryd }) else {
            return replaceNext()
        }
        change.replacement?.step = .discoveryd(index)
        loop.cancel(&children[index].timer)
        if children[index].isRunning {
            children[index].state = .stopping
            tell(children[index], .stop)
            _ = loop.schedule(
                Token(kind: EventKind.replacementTimeout.rawValue, slot: index), after: Limits.killAfterMilliseconds)
        } else {
            startSuccessor(index)
        }
    }

    private mutating func startSuccessor(_ index: Int) {
        children[index].policy.forgive()
        start(index)
    }

    /// The old discoveryd has ended, as it was told. True: that is what happened.
    mutating func predecessorEnded(_ index: Int) -> Bool {
        guard phase == .running, change.replacement?.step == .discoveryd(index), children[index].state == .stopping
        else {
            return false
        }
        startSuccessor(index)
        return true
    }

    /// The old discoveryd does not end.
    mutating func replacementTimedOut(_ index: Int) {
        guard change.replacement?.step == .discoveryd(index), children[index].state == .stopping,
            children[index].isRunning
        else { return }
        Process.signalGroup(children[index].pid, .kill)
    }

    private mutating func replaceNext() {
        guard var now = change.replacement else { return }
        now.step = .none
        // One that has died meanwhile has been started anew already.
        while let (old, pid) = now.left.first, children[old].pid != pid || !isReplaceable(old) {
            now.left.removeFirst()
        }
        guard let old = now.left.first?.place else {
            change.replacement = nil
            if now.done > 0 { now.lines.append("\(now.done) forwarder\(now.done == 1 ? "" : "s") replaced") }
            for line in now.lines { log.info("\(line)") }
            now.previous?.close()
            answer(now.connection, .success(now.lines))
            return reloadIfAsked()
        }
        now.left.removeFirst()
        let role = children[old].role
        let new = place(role)
        now.step = .forwarder(old: old, new: new)
        change.replacement = now
        start(new)
    }

    /// A child has become ready: if it is the successor of one, the next follows.
    mutating func successorReady(_ index: Int) {
        guard phase == .running else { return }
        switch change.replacement?.step {
        case .discoveryd(index):
            change.replacement?.lines.append("discoveryd replaced")
            replaceNext()
        case .forwarder(let old, index):
            change.replacement?.done += 1
            change.replacement?.successors.append(index)
            drain(old)
            replaceNext()
        case .discoveryd, .forwarder, .some(.none), nil: break
        }
    }

    /// A successor that cannot become ready is given up; what it was to replace goes on. True: it was one.
    mutating func successorFailed(_ index: Int) -> Bool {
        guard let failed = change.replacement else { return false }
        switch failed.step {
        case .forwarder(_, index):
            children[index].state = .ended
            change.replacement = nil
            giveUp(
                failed,
                failed.previous == nil
                    ? "the new forwarderd ended before it was ready; \(failed.done) were replaced, the others go on as they were"
                    : "the new forwarderd ended before it was ready; the old programs go on, or are started again",
                putsDiscoverydBack: failed.includesDiscoveryd)
            return true
        case .discoveryd(index) where failed.previous != nil:
            change.replacement = nil
            giveUp(
                failed, "the new discoveryd ended before it was ready; the old one is started again",
                putsDiscoverydBack: false)
            startSuccessor(index)
            return true
        case .discoveryd(index):
            // The same program as before: it is tried again as after any other end.
            change.replacement = nil
            giveUp(failed, "discoveryd ended before it was ready; it is tried again", putsDiscoverydBack: false)
            return false
        case .discoveryd, .forwarder, .none: return false
        }
    }

    private mutating func giveUp(_ failed: Replacement, _ reason: String, putsDiscoverydBack: Bool) {
        log.error("\(reason)")
        if let previous = failed.previous {
            programs.close()
            programs = previous
            let back = failed.successors.filter { isReplaceable($0) }.map { ($0, children[$0].pid) }
            if putsDiscoverydBack || !back.isEmpty {
                beginReplacing(Replacement(connection: nil, includesDiscoveryd: putsDiscoverydBack, left: back))
            }
        }
        answer(failed.connection, .failure(reason, ExitCode.failed))
        if change.replacement == nil { reloadIfAsked() }
    }

    /// Lets a forwarder finish what it has and end.
    mutating func drain(_ index: Int) {
        loop.cancel(&children[index].timer)
        children[index].state = .stopping
        guard children[index].isRunning else {
            children[index].state = .ended
            return
        }
        let forwarding = settings.configuration.general.forwarding
        tell(
            children[index], .drain(delayMilliseconds: 0, timeoutMilliseconds: forwarding.drainTimeoutMilliseconds))
        scheduleDrainEnd(index)
    }

    /// One that is being drained ends by itself in time; if not, it hangs.
    mutating func scheduleDrainEnd(_ index: Int) {
        let time = settings.configuration.general.forwarding.drainTimeoutMilliseconds + Limits.killAfterMilliseconds
        let pid = UInt32(bitPattern: children[index].pid)
        _ = loop.schedule(Token(kind: EventKind.drainTimeout.rawValue, slot: index, generation: pid), after: time)
    }

    mutating func drainTimedOut(_ index: Int, pid: Int32) {
        guard index < children.count, children[index].pid == pid, children[index].state == .stopping else { return }
        log.error("\(children[index].role.name) (pid \(pid)) has not ended in time; it is killed")
        Process.signalGroup(pid, .kill)
    }

    /// `serverpyctl scale`: remembered until the end.
    mutating func scale(_ connection: ControlServer.Caller?, to count: Int) {
        guard !isBusy else { return answer(connection, .failure(busyReason, ExitCode.failed)) }
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

/// What `serverpyctl restart` is asked to replace.
enum RestartTarget: String {
    case all, discoveryd, forwarders
}
