import Shared

/// Where discoveryd keeps what must survive it. Locked: never two use one.
struct StateDirectory {
    let path: String
    let directory: Descriptor
    /// How many times a discoveryd has started with this directory, this time included.
    let epoch: UInt64

    struct Fault: Error {
        let reason: String
    }

    /// Opens (and makes) the directory, takes its lock and raises the epoch, which is on disk before anything is published.
    init(path: String, log: Log) throws(Fault) {
        self.path = path
        let directory: Descriptor
        do {
            directory = try Files.openPrivateDirectory(path).0
        } catch {
            throw Fault(reason: "the state directory cannot be used: \(error)")
        }
        do throws(Errno) {
            guard try Files.lock(directory) else {
                throw Errno.again
            }
            var last: UInt64 = 0
            if let bytes = try Files.read("epoch", in: directory, maxBytes: 64) {
                if let number = DecimalDigits.parse(bytes.filter { $0 != 0x0a }) {
                    last = number
                } else {
                    log.warning(
                        "\(path)/epoch is not a number; it is set aside and counting begins at the present time")
                    try Files.replace("epoch.damaged", in: directory, with: bytes)
                    last = Clock.wallMilliseconds() / 1000
                }
            }
            var next = last &+ 1
            do throws(Errno) {
                try Files.replace("epoch", in: directory, with: Array("\(next)\n".utf8))
            } catch {
                guard error.isFullOrReadOnly else { throw error }
                // Service goes on; the time is above any count that was ever written.
                next = max(next, Clock.wallMilliseconds() / 1000)
                log.warning("the state directory \(path) cannot be written (\(error)): nothing will be remembered")
            }
            epoch = next
        } catch {
            directory.close()
            throw Fault(
                reason: error == .again
                    ? "the state directory \(path) is in use by another discoveryd"
                    : "the state directory \(path) cannot be used: \(error)")
        }
        self.directory = directory
    }

    /// What was saved of the instances; nil: nothing, or nothing that can be read, which is set aside.
    func load(log: Log) -> SavedState.Loaded? {
        let name = SavedState.fileName
        do throws(Errno) {
            guard let bytes = try Files.read(name, in: directory, maxBytes: Limits.stateBytes) else { return nil }
            if let loaded = SavedState.read(bytes) {
                if loaded.isTorn { log.warning("\(path)/\(name): its end is not whole; what stands before it is used") }
                return loaded
            }
            try Files.rename(name, to: name + ".damaged", in: directory)
            log.warning("\(path)/\(name) is not a file of ours or damaged; it is set aside as \(name).damaged")
        } catch {
            log.warning("\(path)/\(name) cannot be read (\(error)); all instances are polled anew")
        }
        return nil
    }

    /// Gives the polls of former processes back to the registry, oldest first. A torn end is left alone, what is no file of ours is set
    /// aside. Polls of an instance that the configuration no longer names are passed over.
    func loadHistory(_ registry: inout Registry, log: Log) {
        let files = ((try? Files.list(path)) ?? []).compactMap { name in
            HistorySegment.parse(name: name).map { (name: name, spanClass: $0.spanClass, number: $0.number) }
        }
        guard !files.isEmpty else { return }
        let ids = registry.historyKeys
        // An instance whose polling was changed has polls in files of two classes.
        var newest = [UInt64](repeating: 0, count: registry.instances.count)
        for (name, spanClass, number) in files.sorted(by: { ($0.spanClass, $0.number) < ($1.spanClass, $1.number) }) {
            do throws(Errno) {
                guard let bytes = try Files.read(name, in: directory, maxBytes: 16 * Limits.historySegmentBytes) else {
                    continue
                }
                let content = HistorySegment.read(bytes) { key, start, outcome in
                    guard let id = ids[key].map(Int.init), start >= newest[id] else { return }
                    newest[id] = start
                    registry.restoreHistory(id, wall: start, outcome)
                }
                guard let content else {
                    try Files.rename(name, to: name + ".damaged", in: directory)
                    log.warning("\(path)/\(name) is no file of history; it is set aside as \(name).damaged")
                    continue
                }
                if content.wholeBytes < bytes.count {
                    log.warning(
                        "\(path)/\(name): \(bytes.count - content.wholeBytes) bytes at its end are not whole and left out"
                    )
                }
                registry.historyLog.found(spanClass, number, content)
            } catch {
                log.warning("\(path)/\(name) cannot be read (\(error)); its polls are left out")
            }
        }
        Process.returnFreeMemory()
    }
}
