import Shared

/// Which instances have changed since forwarders were told, and since the state directory was written.
struct ChangeMarks {
    /// What is noted of one instance.
    private struct Marks {
        var isChanged = false
        var isUnsaved = false
        var isDeferred = false
        /// Milliseconds of the monotonic clock, cut to 32 bits; 0 for never.
        var changedAt: UInt32 = 0
    }

    private var marks = InstanceTable(Marks())
    /// Instances whose published state differs from the last published one.
    private var changed: [Registry.InstanceID] = []
    /// Instances of which something is to be saved.
    private var unsaved: [Registry.InstanceID] = []
    /// Instances that were saved and are gone.
    private var forgotten: [InstanceName] = []
    /// Changes that came too soon after another of the same instance, oldest first.
    private var deferred: [(id: Registry.InstanceID, dueAt: UInt64)] = []

    // MARK: Instances

    mutating func begin(_ id: Registry.InstanceID) { marks.begin(id) }

    /// `remembered`: its name, if something of it was saved. `dropEnded` follows when all have ended.
    mutating func end(_ id: Registry.InstanceID, remembered: InstanceName?) {
        if let remembered { forgotten.append(remembered) }
        marks[id] = Marks()
    }

    mutating func dropEnded() {
        changed.removeAll { !marks[$0].isChanged }
        unsaved.removeAll { !marks[$0].isUnsaved }
        deferred.removeAll { !marks[$0.id].isDeferred }
    }

    // MARK: Changes

    /// The instance's state has changed. At most ten changes a second of one instance are published: what comes sooner after
    /// another waits, and goes out as it is then.
    mutating func change(_ id: Registry.InstanceID, now: UInt64) {
        save(id)
        guard !marks[id].isChanged, !marks[id].isDeferred else { return }
        let since = UInt32(truncatingIfNeeded: now) &- marks[id].changedAt
        guard marks[id].changedAt == 0 || UInt64(since) >= Limits.changeGapMilliseconds else {
            marks[id].isDeferred = true
            deferred.append((id, now + Limits.changeGapMilliseconds - UInt64(since)))
            return
        }
        publish(id, now: now)
    }

    /// It goes out with the next version, however soon that is.
    mutating func publish(_ id: Registry.InstanceID, now: UInt64) {
        guard !marks[id].isChanged else { return }
        marks[id].isChanged = true
        marks[id].changedAt = max(1, UInt32(truncatingIfNeeded: now))
        changed.append(id)
    }

    mutating func save(_ id: Registry.InstanceID) {
        guard !marks[id].isUnsaved else { return }
        marks[id].isUnsaved = true
        unsaved.append(id)
    }

    /// When the next change that waits is due; nil: nothing waits.
    var deferredUntil: UInt64? { deferred.first?.dueAt }

    /// Publishes what has waited long enough.
    mutating func releaseDeferred(now: UInt64) {
        let waiting = deferred
        deferred.removeAll(keepingCapacity: true)
        for entry in waiting {
            if entry.dueAt <= now {
                marks[entry.id].isDeferred = false
                publish(entry.id, now: now)
            } else {
                deferred.append(entry)
            }
        }
    }

    // MARK: What is to be told and written

    /// Something of it is not on the disk, and not on its way there.
    func isUnsaved(_ id: Registry.InstanceID) -> Bool { marks[id].isUnsaved }

    var hasChanged: Bool { !changed.isEmpty }

    mutating func takeChanged() -> [Registry.InstanceID] {
        for id in changed { marks[id].isChanged = false }
        defer { changed.removeAll(keepingCapacity: true) }
        return changed
    }

    /// Something is to be written to the disk.
    var hasUnsaved: Bool { !unsaved.isEmpty || !forgotten.isEmpty }

    /// The instances that have changed since the last call.
    mutating func takeUnsaved() -> [Registry.InstanceID] {
        for id in unsaved { marks[id].isUnsaved = false }
        defer { unsaved.removeAll(keepingCapacity: true) }
        return unsaved
    }

    /// The names of instances that were saved and are gone since the last call.
    mutating func takeForgotten() -> [InstanceName] {
        defer { forgotten = [] }
        return forgotten
    }
}
