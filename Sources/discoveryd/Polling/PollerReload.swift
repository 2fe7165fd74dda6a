import Shared

/// Instances come, go, or are polled in another way. Polls under way go on, polls due stay due, what is gone ends and what is new begins at
/// once.
extension Poller {
    /// `registry` has changed so.
    mutating func follow(_ change: MembershipChange, _ registry: inout Registry, _ loop: inout EventLoop) {
        configure(registry)
        for id in change.goneInstances { end(id, &loop) }
        for id in change.begun { begin(id) }
        var restarted: [Registry.InstanceID] = []
        for (id, before) in change.repolled {
            let after = registry.polling(id)
            if before.method == after.method, before.headers == after.headers {
                hasten(id, after, &loop)
            } else {
                restart(id, &loop)
                restarted.append(id)
            }
        }
        for id in restarted + change.begun { due(id, .regular, &registry, &loop) }
        beginWaiting(&registry, &loop)
    }

    private mutating func begin(_ id: Registry.InstanceID) {
        courses.begin(id)
        firstRoundRemaining += 1
    }

    private mutating func end(_ id: Registry.InstanceID, _ loop: inout EventLoop) {
        stop(id, &loop)
        if courses[id].isFirst { firstRoundRemaining -= 1 }
        courses.begin(id)
    }

    /// The instance is polled in another way: what is under way says nothing.
    private mutating func restart(_ id: Registry.InstanceID, _ loop: inout EventLoop) {
        stop(id, &loop)
        let isFirst = courses[id].isFirst
        courses.begin(id)
        courses[id].isFirst = isFirst
    }

    private mutating func stop(_ id: Registry.InstanceID, _ loop: inout EventLoop) {
        if courses[id].isRunning, !courses[id].isQueued { admission.end(courses[id].ticket) }
        loop.cancel(&courses[id].timer)
        loop.cancel(&courses[id].nameTimer)
        loop.cancel(&courses[id].accusationTimer)
        let probes = courses[id].probes
        for index in 0..<probes.count { prober.removeProbe(probes[index], &loop) }
    }

    /// A shorter frequency takes effect now.
    private mutating func hasten(_ id: Registry.InstanceID, _ polling: Polling, _ loop: inout EventLoop) {
        guard courses[id].timer.isScheduled else { return }
        let latest = loop.now + max(polling.frequencyMilliseconds, polling.downFrequencyMilliseconds)
        guard courses[id].dueAt > latest else { return }
        wait(id, latest - loop.now, &loop)
    }
}
