import Shared

/// What goes to the state directory and comes back from it.
extension Discoveryd {
    /// Takes back what the last discoveryd has left: nothing changes its status by a restart.
    mutating func resume() {
        var saved = stateDirectory.load(log: log)
        if let instances = saved?.instances { saved?.instances = restoreNames(instances) }
        stateDirectory.loadHistory(&registry, log: log)
        guard let saved else { return }
        let wall = Clock.wallMilliseconds()
        // A clock that was ahead says nothing of how long nobody has looked.
        let unseen = saved.aliveAt <= wall ? wall - saved.aliveAt : .max
        var resumed = 0
        let ids = registry.ids
        for instance in saved.instances {
            guard let id = ids[instance.name] else { continue }
            registry.restore(id, instance, elapsed: wall - min(wall, instance.at), unseen: unseen, now: loop.now)
            guard registry.instances[id].health.status != .unknown else { continue }
            resumed += 1
            polls.resume(
                id, lastGood: instance.lastResult.result?.isGood ?? false, &registry, names.book, &loop)
        }
        log.debug("\(resumed) of \(registry.instances.count) instances are as they were left \(unseen) ms ago")
    }

    /// Names have the addresses that they had, until somebody says something else: a start does not depend on DNS.
    private mutating func restoreNames(_ saved: [SavedInstance]) -> [SavedInstance] {
        guard registry.lines.count > 0 else { return saved }
        var lines: [InstanceName: Registry.LineID] = [:]
        for line in registry.lines.indices {
            let (service, url) = (registry.lines[line].service, registry.lines[line].url)
            lines[InstanceName(service: registry.services[service].name, url: url)] = line
        }
        let saved = saved.flatMap { instance in
            instance.byAddress(isName: lines[InstanceName(service: instance.service, url: instance.url)] != nil)
        }
        var targets: [InstanceName: [NameTarget]] = [:]
        for instance in saved {
            guard let address = instance.address else { continue }
            targets[InstanceName(service: instance.service, url: instance.url), default: []].append(
                NameTarget(address: address, service: instance.share))
        }
        for (name, var known) in targets {
            guard let line = lines[name] else { continue }
            let entry = registry.lines[line]
            if entry.port != nil { for index in known.indices { known[index].address.port = 0 } }
            names.restore(entry.name, known.map(\.address))
            if let change = membership.restore(known, of: entry.name, &registry, now: loop.now) {
                polls.follow(change, &registry, names.book, &loop, begins: false)
            }
        }
        return saved
    }

    mutating func save() {
        guard state.isReady else { return }
        guard let due = saver.advance(&registry, now: loop.now) else { return }
        loop.cancel(&saveTimer)
        saveTimer = loop.schedule(EventKind.saveDue.token(), at: due)
    }

    /// Forwarders that start while we are not there find the last snapshot in a file.
    mutating func saveSnapshot() {
        guard publisher.isOpen else { return }
        let (file, again) = snapshotSaver.advance(registry, now: loop.now)
        if let file { saver.give(.replace(name: SnapshotSaver.fileName, file), .snapshot) }
        if let again, !snapshotTimer.isScheduled {
            snapshotTimer = loop.schedule(EventKind.snapshotDue.token(), at: again)
        }
    }

    mutating func diskDone() {
        for outcome in saver.takeOutcomes() {
            switch outcome.owner {
            case .state: stateWritten(saver.written(outcome, now: loop.now), outcome.error)
            case .snapshot: snapshotSaver.written(failed: outcome.error != nil, now: loop.now)
            case .history:
                registry.historyLog.written(failed: outcome.error != nil, now: loop.now)
                historyWritten(outcome.error)
            }
        }
        polls.setStorageDoubt(saver.trouble.isEmpty ? historyTrouble : saver.trouble)
    }

    mutating func writeHistory() {
        let before = registry.historyLog.skipped
        for job in registry.historyLog.takeJobs(now: loop.now, wall: Clock.wallMilliseconds()) {
            switch job {
            case .create(let name, let bytes): saver.give(.create(name: name, bytes), .history)
            case .append(let name, let bytes): saver.give(.append(name: name, bytes), .history)
            case .remove(let name): saver.give(.remove(name: name), .history)
            }
        }
        if registry.historyLog.skipped != before, historyTrouble.isEmpty {
            historyTrouble = "the disk does not keep up: polls are missing in the history that a restart will find"
            log.warning("\(historyTrouble)")
        }
    }

    mutating func historyWritten(_ error: Errno?) {
        if let error {
            if historyTrouble.isEmpty {
                log.error(
                    "history cannot be written (\(error)); tried again every \(Limits.stateRetryMilliseconds / 1000) s")
            }
            historyTrouble = "history cannot be written (\(error))"
        } else if !historyTrouble.isEmpty {
            log.info("history can be written again; \(registry.historyLog.skipped) polls are missing in it")
            historyTrouble = ""
        }
    }
}
