import Shared

/// Taking everything down: forwarders first, discoveryd last.
extension Supervisor {
    /// Forwarders first, discoveryd last.
    mutating func stop(drain: Bool) {
        guard phase == .starting || phase == .running else { return }
        notifier.stopping("draining")
        notifier.extendTimeout()
        if let pid = change.test?.pid, pid != 0 { Process.signalGroup(pid, .kill) }
        forgetReload()
        // The end of a test under way answers for itself.
        answer(change.replacement?.connection, .failure("serverpy is being stopped", ExitCode.failed))
        phase = .stoppingForwarders
        // When the last forwarder has left it, new clients are refused at once and go elsewhere.
        sockets.requests.close()
        sockets.requests = .none
        let forwarding = settings.configuration.general.forwarding
        let (delay, timeout) = drain ? (forwarding.drainDelayMilliseconds, forwarding.drainTimeoutMilliseconds) : (0, 0)
        takeNotifications()
        for index in children.indices where children[index].role.isForwarder {
            loop.cancel(&children[index].timer)
            let hasWorked = children[index].state != .starting
            children[index].state = .stopping
            if children[index].isRunning, !hasWorked {
                // It has nothing to finish; it may hang.
                tell(children[index], .stop)
                let pid = UInt32(bitPattern: children[index].pid)
                let token = Token(kind: EventKind.drainTimeout.rawValue, slot: index, generation: pid)
                _ = loop.schedule(token, after: Limits.killAfterMilliseconds)
            } else if children[index].isRunning {
                tell(children[index], drain ? .drain(delayMilliseconds: delay, timeoutMilliseconds: timeout) : .stop)
            }
        }
        _ = loop.schedule(
            Token(kind: EventKind.killTimeout.rawValue), after: delay + timeout + Limits.killAfterMilliseconds)
        if !children.contains(where: { $0.role.isForwarder && $0.isRunning }) { stopRest() }
    }

    mutating func stopRest() {
        phase = .stoppingRest
        for index in children.indices where !children[index].role.isForwarder {
            loop.cancel(&children[index].timer)
            children[index].state = .stopping
            guard children[index].isRunning else { continue }
            if children[index].role.isSample {
                Process.signal(children[index].pid, .terminate)
            } else {
                tell(children[index], .stop)
            }
        }
        _ = loop.schedule(Token(kind: EventKind.killTimeout.rawValue), after: Limits.killAfterMilliseconds)
    }

    mutating func killWhatIsLeft() {
        for child in children where child.isRunning && (phase == .stoppingRest || child.role.isForwarder) {
            log.warning("\(child.role.name) (pid \(child.pid)) does not end; it is killed")
            Process.signalGroup(child.pid, .kill)
        }
    }

    func tell(_ child: Child, _ message: ControlMessage, _ descriptors: [Descriptor] = []) {
        guard child.control.isOpen else { return }
        do {
            try UnixSocket.send(message.encode(), descriptors: descriptors, on: child.control)
        } catch {
            // It has much to hear yet: that log files were renamed is among it.
            if message == .reopenLogs, error.isPassing { return }
            // It does not listen: the signal is heard all the same.
            Process.signal(child.pid, .terminate)
        }
    }
}
