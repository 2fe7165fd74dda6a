import Shared

/// What names lead to becomes instances, and what instances do is a reason to look their names up again.
extension Discoveryd {
    /// A forwarder was refused or reset.
    mutating func accuse(_ service: String, _ instance: String, _ address: SocketAddress?, _ cause: String) {
        let ids =
            address.map { registry.find(service: service, instance: instance, address: $0).map { [$0] } ?? [] }
            ?? registry.find(service: service, nameOrAddress: instance)
        for id in ids {
            log.debug("\(registry.shownName(id)): a forwarder observed: \(cause)")
            polls.accuse(id, &registry, names.book, &loop)
            if let line = registry.instances[id].line { names.doubt(registry.lines[line].name, &loop) }
        }
    }

    /// What this turn has found out about names and their addresses.
    mutating func followNames() {
        for failure in polls.takeFailures() where registry.instances.holds(failure.id, failure.generation) {
            follow(failure)
        }
        for (name, family) in polls.takeAnswered() where !isServed(name) { names.use(family, of: name) }
        for (name, change) in names.takeNews() {
            let (what, beginsToHold) = membership.receive(change, of: name, &registry, now: loop.now)
            if beginsToHold, let doubt = membership.doubt(name) { log.warning("\(doubt)") }
            follow(what)
        }
        for name in names.takeEnded() where !names.book.isAwaited(name) {
            polls.lookUpEnded(name, &registry, names.book, &loop)
            changePoster.lookUpEnded(name, names.book, &loop)
        }
    }

    /// A poll of an instance of a name has failed: perhaps the name has other addresses now, or one of another family answers.
    private mutating func follow(_ failure: Polls.Failure) {
        guard let line = registry.instances[failure.id].line else { return }
        let name = registry.lines[line].name
        if registry.instances[failure.id].address != nil { names.doubt(name, &loop) }
        if let change = membership.pollFailed(failure.id, &registry, now: loop.now) { return follow(change) }
        let others = names.book.others(name)
        guard failure.isDown, !others.isEmpty, registry.lines[line].members.first == failure.id, !isServed(name) else {
            return
        }
        // Each in its turn.
        let turn = Int(truncatingIfNeeded: registry.instances[failure.id].polls) % others.count
        let address = registry.lines[line].address(NameTarget(address: others[turn]))
        polls.tryOther(address, line, &registry, names.book, &loop)
    }

    /// Whether an instance of the name is up.
    private func isServed(_ name: SourceName) -> Bool {
        membership.lines(of: name).contains { line in
            registry.lines[line].members.contains { registry.instances[$0].health.status == .up }
        }
    }

    /// Instances have come and gone: polls, subscribers, names, and what waits for them follow.
    mutating func follow(_ change: MembershipChange) {
        refuseDraining(of: change.goneInstances)
        saver.forget(change.goneInstances)
        // A new name is looked up before its line is polled.
        for name in change.goneNames { names.release(name, forLines: true, &loop) }
        for name in change.begunNames { names.use(name, forLines: true, &loop) }
        // Forwarders take it over while discoveryd begins to poll what is new.
        if publisher.isOpen { publisher.publish(change, registry, &loop) }
        polls.follow(change, &registry, names.book, &loop)
    }
}
