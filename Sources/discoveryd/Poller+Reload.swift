import Shared

/// A changed configuration: polls under way go on, polls due stay due, what is gone ends and what is new begins at once.
extension Poller {
    /// `registry` has taken over from `previous`; its `former` names who is who.
    mutating func reload(_ registry: inout Registry, after previous: Registry, _ loop: inout EventLoop) {
        var old = courses
        courses = registry.instances.map { Self.course($0.configuration) }
        var begins: [Int] = []
        var renamed: [Int: Int] = [:]
        var queued: [Int] = []
        for (id, former) in registry.former.enumerated() {
            guard let former else {
                begins.append(id)
                continue
            }
            let before = previous.instances[former].configuration
            let after = registry.instances[id].configuration
            let isSame =
                before.endpoint == after.endpoint && before.polling.method == after.polling.method
                && before.polling.headers == after.polling.headers
            guard isSame else {
                end(&old[former], &loop)
                courses[id].isFirst = old[former].isFirst
                begins.append(id)
                continue
            }
            let request = courses[id].request
            courses[id] = old[former]
            courses[id].request = request
            renamed[former] = id
            move(id, registry.instances[id].configuration.polling, &loop)
            if courses[id].isQueued { queued.append(id) }
            old[former].isTaken = true
        }
        for former in old.indices where !old[former].isTaken { end(&old[former], &loop) }
        waiting = queued
        waitingStart = 0
        resolver.rename { renamed[$0] }
        firstRoundRemaining = courses.reduce(0) { $0 + ($1.isFirst ? 1 : 0) }
        for id in begins { due(id, .regular, &registry, &loop) }
        beginWaiting(&registry, &loop)
    }

    /// Its timers and probes get its new id; a shorter frequency takes effect now.
    private mutating func move(_ id: Int, _ polling: Polling, _ loop: inout EventLoop) {
        for (_, slot) in courses[id].probes { prober.rename(slot, id) }
        if courses[id].timer.isScheduled {
            let latest = loop.now + max(polling.frequencyMilliseconds, polling.downFrequencyMilliseconds)
            let dueAt = min(courses[id].dueAt, latest)
            loop.cancel(&courses[id].timer)
            courses[id].dueAt = dueAt
            courses[id].timer = loop.schedule(EventKind.pollDue.token(id), at: dueAt)
        }
        if courses[id].nameTimer.isScheduled {
            loop.cancel(&courses[id].nameTimer)
            courses[id].nameTimer = loop.schedule(EventKind.nameTimeout.token(id), at: courses[id].nameDueAt)
        }
        if courses[id].accusationTimer.isScheduled {
            loop.cancel(&courses[id].accusationTimer)
            courses[id].accusationTimer = loop.schedule(
                EventKind.accusationDue.token(id), after: Limits.accusationGapMilliseconds)
        }
    }

    /// An instance that is gone, or is polled in another way from now on.
    private mutating func end(_ course: inout Course, _ loop: inout EventLoop) {
        course.isTaken = true
        if course.isRunning, !course.isQueued { inFlight -= 1 }
        loop.cancel(&course.timer)
        loop.cancel(&course.nameTimer)
        loop.cancel(&course.accusationTimer)
        for (_, slot) in course.probes { prober.removeProbe(slot, &loop) }
        course.probes = []
    }
}
