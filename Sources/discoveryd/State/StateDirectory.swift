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
        let isOurs: Bool
        do throws(Errno) { isOurs = try Files.lock(directory) } catch {
            directory.close()
            throw Fault(reason: "the state directory \(path) cannot be locked: \(error)")
        }
        guard isOurs else {
            directory.close()
            throw Fault(reason: "the state directory \(path) is in use by another discoveryd")
        }
        do throws(Errno) {
            epoch = try Self.raiseEpoch(directory, path, log)
        } catch {
            directory.close()
            throw Fault(reason: "the state directory \(path) cannot be used: \(error)")
        }
        self.directory = directory
    }

    /// The next epoch, on the disk where that takes it. What is no count is set aside, and counting goes on at the present time,
    /// which is above any count that was ever written.
    private static func raiseEpoch(_ directory: Descriptor, _ path: String, _ log: Log) throws(Errno) -> UInt64 {
        let present = Clock.wallMilliseconds() / 1000
        var last: UInt64 = 0
        var fault: String?
        do throws(Errno) {
            if let bytes = try Files.read("epoch", in: directory, maxBytes: 64) {
                if let number = DecimalDigits.parse(bytes.filter { $0 != 0x0a }, max: Limits.numberMaximum) {
                    last = number
                } else {
                    fault = "it is not a count"
                }
            }
        } catch {
            guard Files.isMisplaced(error) else { throw error }
            fault = "\(error)"
        }
        if let fault {
            let name = try Files.setAside("epoch", in: directory)
            log.warning("\(path)/epoch: \(fault); it is set aside as \(name), and counting begins at the present time")
            last = present
        }
        let next = last + 1
        do throws(Errno) {
            try Files.replace("epoch", in: directory, with: Array("\(next)\n".utf8))
        } catch {
            guard error.isFullOrReadOnly else { throw error }
            // Service goes on.
            log.warning("the state directory \(path) cannot be written (\(error)): nothing will be remembered")
            return max(next, present)
        }
        return next
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
            setAside(name, "it is not a file of ours or damaged", log)
        } catch {
            log.warning("\(path)/\(name) cannot be read (\(error)); all instances are polled anew")
            if Files.isMisplaced(error) { setAside(name, "\(error)", log) }
        }
        return nil
    }

    private func setAside(_ name: String, _ reason: String, _ log: Log) {
        do {
            let other = try Files.setAside(name, in: directory)
            log.warning("\(path)/\(name): \(reason); it is set aside as \(other)")
        } catch {
            log.warning("\(path)/\(name): \(reason), and it cannot be set aside: \(error)")
        }
    }

    /// Gives the polls of former processes back to the registry, oldest first. A torn end is left alone, what is no file of ours is set
    /// aside. Polls of an instance that the configuration no longer names are passed over.
    func loadHistory(_ registry: inout Registry, log: Log) {
        let names: [String]
        do { names = try Files.list(of: directory) } catch {
            return log.warning("\(path) cannot be listed (\(error)): there is no history")
        }
        let files = names.compactMap { name in
            HistorySegment.parse(name: name).map { (name: name, spanClass: $0.spanClass, number: $0.number) }
        }
        guard !files.isEmpty else { return }
        let ids = registry.idByKey
        // The numbers say what came first, whatever the wall clock said meanwhile: they are given in one order over all classes, and an
        // instance comes to another class only with a file that is begun later.
        for (name, spanClass, number) in files.sorted(by: { $0.number < $1.number }) {
            do throws(Errno) {
                guard let bytes = try Files.read(name, in: directory, maxBytes: 16 * Limits.historySegmentBytes) else {
                    continue
                }
                let content = HistorySegment.read(bytes) { key, start, outcome in
                    guard let id = ids[key] else { return }
                    registry.restoreHistory(id, wall: start, outcome)
                }
                guard let content else {
                    setAside(name, "it is no file of history", log)
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
                if Files.isMisplaced(error) { setAside(name, "\(error)", log) }
            }
        }
        Process.returnFreeMemory()
    }
}
