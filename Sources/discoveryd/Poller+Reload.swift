import Shared

/// A changed configuration: polls under way go on, polls due stay due, what is gone ends and what is new begins at once.
extension Poller {
    /// `registry` has taken over from `previous`; its `former` names who is who.
    mutating func reload(_ registry: inout Registry, after previous: Registry, _ loop: inout EventLoop) {
        var old = courses
        courses = [Course](repeating: Course(), count: registry.instances.count)
        configure(registry)
        var begins: [Int] = []
        var renamed: [Int: Int] = [:]
        var queued: [Int] = []
        for (id, former) in registry.former.enumerated() {
            guard let former else {
                begins.append(id)
                continue
            }
            let before = previous.polling(former)
            let after = registry.polling(id)
            let isSame = before.method == after.method && before.headers == after.headers
            guard isSame else {
                end(&old[former], &loop)
                courses[id].isFirst = old[former].isFirst
                begins.append(id)
                continue
            }
            courses[id] = old[former]
            renamed[former] = id
            move(id, registry.polling(id), &loop)
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
        let probes = courses[id].probes
        for index in 0..<probes.count { prober.rename(probes[index], id) }
        if courses[id].timer.isScheduled {
            let latest = loop.now + max(polling.frequencyMilliseconds, polling.downFrequencyMilliseconds)
            let dueAt = min(courses[id].dueAt, latest)
            loop.cancel(&courses[id].timer)
            courses[id].dueAt = dueAt
            courses[id].timer = loop.schedule(EventKind.pollDue.token(id), at: dueAt)
        }
        if courses[id].nameTimer.isScheduled {
            loop.cancel(&courses[id].nameTimer)
            courses[id].nameTimer = loop.schedule(EventKind.nameTimeout.token(id), after: polling.timeoutMilliseconds)
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
        if course.isRunning, !course.isQueued { admission.end(course.ticket) }
        loop.cancel(&course.timer)
        loop.cancel(&course.nameTimer)
        loop.cancel(&course.accusationTimer)
        for index in 0..<course.probes.count { prober.removeProbe(course.probes[index], &loop) }
        course.probes = ProbeList()
    }
}
