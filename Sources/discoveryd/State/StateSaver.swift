import Shared

/// Keeps the file of instances up to date: every change is appended within 100 ms, one write at a time. A disk that is full or
/// gone costs nothing but memory of the past: it is said once, shown in /health, and tried again.
struct StateSaver {
    private let disk: DiskThread
    private let log: Log
    private var isBusy = false
    /// The instances whose present state is being written.
    private var writing: [Registry.InstanceID] = []
    /// The file is to be written as a whole: at the start, after a failure.
    private var needsWhole = true
    private var wholeBytes = 0
    private var appendedBytes = 0
    private var pendingBytes = 0
    private var isWhole = false
    private var earliest: UInt64 = 0
    private var aliveDueAt: UInt64 = 0
    /// What cannot be written, in words; empty when all is well.
    private(set) var trouble = ""

    var descriptor: Descriptor { disk.descriptor }

    init(_ disk: DiskThread, log: Log) {
        self.disk = disk
        self.log = log
    }

    /// These instances are gone: their ids may name others when the write that is under way has ended.
    mutating func forget(_ gone: [Registry.InstanceID]) {
        guard !writing.isEmpty, !gone.isEmpty else { return }
        let gone = Set(gone)
        writing.removeAll { gone.contains($0) }
    }

    /// Hands over what is to be written now. Returns when to be asked again; nil: when something has changed or been written.
    mutating func advance(_ registry: inout Registry, now: UInt64) -> UInt64? {
        guard !isBusy else { return nil }
        let isDue = needsWhole || registry.marks.hasUnsaved || now >= aliveDueAt
        guard isDue else { return aliveDueAt }
        guard now >= earliest else { return earliest }
        let wall = Clock.wallMilliseconds()
        var writer = JSONWriter()
        isWhole = needsWhole || appendedBytes > max(wholeBytes, Limits.stateCompactionBytes)
        let ids: [Registry.InstanceID]
        if isWhole {
            SavedState.begin(at: wall, to: &writer)
            _ = registry.marks.takeUnsaved()
            _ = registry.marks.takeForgotten()
            ids = known(registry)
        } else {
            ids = registry.marks.takeUnsaved()
            let forgotten = registry.marks.takeForgotten()
            for name in forgotten { SavedState.gone(name, at: wall, to: &writer) }
            if ids.isEmpty { SavedState.alive(at: wall, to: &writer) }
        }
        for id in ids {
            SavedInstance(registry.instances[id], registry.name(id), registry.share(of: id), at: wall, now: now).write(
                to: &writer)
        }
        writing = ids
        pendingBytes = writer.bytes.count
        disk.give(
            isWhole
                ? .replace(name: SavedState.fileName, writer.bytes)
                : .append(name: SavedState.fileName, writer.bytes), .state)
        isBusy = true
        needsWhole = false
        earliest = now + Limits.stateGapMilliseconds
        aliveDueAt = now + Limits.stateAliveMilliseconds
        return nil
    }

    /// At the end: all of it, as it is now, behind whatever is being written.
    func giveAll(_ registry: borrowing Registry, now: UInt64) {
        var writer = JSONWriter()
        let wall = Clock.wallMilliseconds()
        SavedState.begin(at: wall, to: &writer)
        for id in known(registry) {
            SavedInstance(registry.instances[id], registry.name(id), registry.share(of: id), at: wall, now: now).write(
                to: &writer)
        }
        disk.give(.replace(name: SavedState.fileName, writer.bytes), .state)
    }

    /// The instances of which something is to be remembered.
    private func known(_ registry: borrowing Registry) -> [Registry.InstanceID] {
        let instances = registry.instances
        return instances.indices.filter { instances[$0].isRemembered }
    }

    /// What the disk thread is asked for beside.
    func give(_ job: DiskThread.Job, _ owner: DiskThread.Owner) { disk.give(job, owner) }

    /// Waits until all that was given has been done, or the time is up.
    func finish(milliseconds: UInt64) { disk.finish(milliseconds: milliseconds) }

    func takeOutcomes() -> [DiskThread.Outcome] { disk.takeOutcomes() }

    /// The job has been done, or has failed. Returns the instances that it was about.
    mutating func written(_ outcome: DiskThread.Outcome, now: UInt64) -> [Registry.InstanceID] {
        defer { writing = [] }
        isBusy = false
        if let error = outcome.error {
            if trouble.isEmpty {
                log.error(
                    "the state directory cannot be written (\(error)): a restart would forget what is new; tried again every \(Limits.stateRetryMilliseconds / 1000) s"
                )
            }
            trouble = "the state directory cannot be written (\(error))"
            // What was half written is replaced.
            needsWhole = true
            earliest = now + Limits.stateRetryMilliseconds
            return writing
        }
        if !trouble.isEmpty { log.info("the state directory can be written again") }
        trouble = ""
        if isWhole {
            wholeBytes = pendingBytes
            appendedBytes = 0
            // All instances as text are much memory that is not needed again.
            Process.returnFreeMemory()
        } else {
            appendedBytes += pendingBytes
        }
        return writing
    }
}
