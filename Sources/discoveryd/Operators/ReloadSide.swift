import Shared

/// A changed configuration, and who is told when it is in force.
extension Discoveryd {
    /// The HTTP port has moved; connections that stand go on.
    mutating func replaceAPIListener(_ listener: Descriptor) {
        loop.remove(apiListener)
        // What waits in its queue is served now; what is about to connect is waited for.
        retireAPIListener()
        retiringAPIListener = apiListener
        acceptAll(retiringAPIListener)
        _ = loop.schedule(EventKind.retireListener.token(), after: Limits.listenerRetiresMilliseconds)
        apiListener = listener
        learnAPIAddress()
        resumeAccepting(1)
    }

    /// Takes what has come to a replaced listener meanwhile, and closes it: what is left there would be reset.
    mutating func retireAPIListener() {
        guard retiringAPIListener.isOpen else { return }
        acceptAll(retiringAPIListener)
        retiringAPIListener.close()
        retiringAPIListener = .none
    }

    private mutating func acceptAll(_ listener: Descriptor) {
        for _ in 0..<Limits.apiConnections / Limits.acceptsPerTurn { _ = server.accept(listener, &loop) }
    }

    /// A configuration that the supervisor has checked; here it is checked again, because it decides here.
    mutating func reload(_ path: String, _ memory: Descriptor?) {
        do {
            guard let memory else { throw StartFault("the configuration's memory file did not come with the message") }
            try adopt(ConfigurationFile(path: path, bytes: Files.read(memory, maxBytes: Limits.configurationBytes)))
        } catch let refusal as ConfigurationFile.Refusal {
            file.refused(now: loop.now)
            reply(.refused(reason: refusal.text))
        } catch {
            reply(.refused(reason: (error as? StartFault)?.reason ?? "\(error)"))
        }
    }

    /// Without serverpyctl: the file that was named at the start is read again. A bad one is refused and the old one goes on; ports
    /// and hosts stay as they are until the next start. Returns what is wrong, in words; nil: it is in force.
    mutating func reloadFile() -> String? {
        guard daemon.control == nil else { return "the configuration is reloaded through serverpyctl" }
        // Before the first round there is nothing to be ready with; its end says so.
        if publisher.isOpen { daemon.notifier.reloading() }
        defer { if publisher.isOpen { daemon.notifier.ready(upWords) } }
        do {
            let before = registry.general
            try adopt(ConfigurationFile.read(configurationPath))
            let after = registry.general
            if before.discoveryPort != after.discoveryPort || before.discoveryHost != after.discoveryHost {
                log.warning("the discovery server's address has changed, which needs a restart")
            }
            return nil
        } catch let refusal as ConfigurationFile.Refusal {
            file.refused(now: loop.now)
            log.error("the configuration is refused and the old one goes on:\n\(refusal.text)")
            return refusal.text
        } catch {
            let reason = (error as? StartFault)?.reason ?? "\(error)"
            log.error("the configuration cannot be reloaded: \(reason)")
            return reason
        }
    }

    /// The configuration of the start: nothing is polled before what was saved is known again.
    mutating func begin(_ configuration: Configuration) {
        let change = receive(configuration)
        registry.restartVersions()
        polls.follow(change, &registry, names.book, &loop, begins: false)
        for name in change.begunNames { names.use(name, forLines: true, &loop) }
        configure()
    }

    private mutating func receive(_ configuration: Configuration) -> MembershipChange {
        membership.receive(
            file.read(configuration.services), configuration.general, order: configuration.services.map(\.name),
            &registry, now: loop.now)
    }

    /// What is the same for all services.
    private mutating func configure() {
        Log.format = registry.general.forwarding.logFormat
        names.configure(registry.general.resolver)
        let before = changePoster.name
        if let after = ChangePoster.name(of: registry.general.onChange) { names.use(after, forLines: false, &loop) }
        changePoster.configure(registry.general.onChange, names.book, &loop)
        if let before { names.release(before, forLines: false, &loop) }
    }

    private mutating func adopt(_ configurationFile: ConfigurationFile) throws {
        let (configuration, _) = try configurationFile.configuration()
        let change = receive(configuration)
        snapshotSaver.restart(configuration: LineDigest(of: configurationFile.bytes).text)
        configure()
        follow(change)
        log.info(
            "the configuration is in force: \(registry.services.count) services, \(registry.instances.count) instances, snapshot \(registry.version)"
        )
        reloading = registry.version
        loop.cancel(&reloadTimer)
        reloadTimer = loop.schedule(EventKind.reloadTimeout.token(), after: reloadTimeout)
    }

    /// A large snapshot is taken over in slices, beside requests.
    private var reloadTimeout: UInt64 {
        Limits.reloadTimeoutMilliseconds(services: registry.order.count, instances: registry.instances.count)
    }

    /// Tells the supervisor when every forwarder works with the new configuration.
    mutating func checkReload() {
        guard let version = reloading, publisher.forwarders(applied: version) == publisher.forwarders,
            loop.now >= reloadLookAt
        else { return }
        // One that is not connected at the moment, as after a restart of ours, serves requests too.
        guard state.traffic.isApplied(version) else {
            reloadLookAt = loop.now + Limits.reloadLookMilliseconds
            _ = loop.schedule(EventKind.reloadLook.token(), at: reloadLookAt)
            return
        }
        reloading = nil
        loop.cancel(&reloadTimer)
        reply(.applied(snapshot: registry.version.description))
    }

    mutating func reloadTimedOut() {
        reloadTimer = .none
        guard let version = reloading else { return }
        reloading = nil
        let applied = publisher.forwarders(applied: version)
        state.traffic.refresh(now: loop.now)
        let all = max(publisher.forwarders, state.traffic.forwarders.count)
        reply(
            .refused(
                reason:
                    "\(applied) of \(all) forwarders have applied snapshot \(version) within \(reloadTimeout / 1000) s"
            ))
    }

    func reply(_ message: ControlMessage) {
        guard let control = daemon.control else { return }
        do {
            try UnixSocket.send(message.encode(), on: control)
        } catch {
            log.warning("the supervisor could not be told: \(error)")
        }
    }
}
