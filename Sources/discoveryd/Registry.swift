import Shared

/// One instance as discoveryd knows it: what the configuration says and what its polls have shown.
struct RegisteredInstance {
    let service: Int
    let configuration: Instance
    var health = Health()
    var history: History
    var availability: Availability
    var isDraining = false
    /// Addresses that answered the last poll.
    var answering: [SocketAddress] = []
    /// Wall clock, milliseconds; 0 for never.
    var firstCheckedAt: UInt64 = 0
    var lastCheckedAt: UInt64 = 0
    var lastFailureAt: UInt64 = 0
    var lastFailure = ""
    var lastResult: PollResult?
    /// When the status became what it is.
    var since: UInt64 = 0
    var polls: UInt64 = 0
    var publishedAvailability: Int?

    init(service: Int, _ configuration: Instance, window: UInt64, now: UInt64) {
        self.service = service
        self.configuration = configuration
        history = History(limit: configuration.polling.packetLimit)
        availability = Availability(windowMilliseconds: window, now: now)
    }

    /// Takes over what is known of an instance that a changed configuration names again.
    mutating func take(_ old: RegisteredInstance, now: UInt64) {
        health = old.health
        history = old.history
        history.limit = configuration.polling.packetLimit
        // Buckets of another width cannot be taken over; the state goes on in new ones.
        if old.availability.windowMilliseconds == availability.windowMilliseconds {
            availability = old.availability
        } else if health.status != .unknown {
            availability.set(up: health.status == .up, now: now)
        }
        isDraining = old.isDraining
        answering = old.answering
        firstCheckedAt = old.firstCheckedAt
        lastCheckedAt = old.lastCheckedAt
        lastFailureAt = old.lastFailureAt
        lastFailure = old.lastFailure
        lastResult = old.lastResult
        since = old.since
        polls = old.polls
        publishedAvailability = old.publishedAvailability
    }

    var state: InstanceState {
        InstanceState(
            status: health.status, suspect: health.isSuspect, draining: isDraining, availability: publishedAvailability,
            addresses: answering)
    }

    var snapshotInstance: (Int) -> SnapshotInstance {
        { id in
            SnapshotInstance(
                id: id, url: configuration.url, authority: configuration.endpoint.authority,
                priority: configuration.polling.priority, weight: configuration.weight, state: state)
        }
    }
}

/// All services and instances, and which of them have changed: the one place where polls become facts.
struct Registry {
    struct RegisteredService {
        let name: String
        let paths: [String]
        let policy: ServicePolicy
        /// Its instances are neighbours.
        let instances: Range<Int>
    }

    private(set) var services: [RegisteredService] = []
    var instances: [RegisteredInstance] = []
    private(set) var version: SnapshotVersion
    /// Instances whose published state differs from the last published one.
    private(set) var changed: [Int] = []
    private var isMarked: [Bool] = []
    private var statusChanges: [StatusChange] = []
    let general: Configuration.General

    /// A changed configuration: instances that it names again keep all that is known of them. `former` says for each
    /// instance which of `previous` it was.
    init(_ configuration: Configuration, after previous: Registry, now: UInt64) {
        self.init(configuration, epoch: previous.version.epoch, now: now)
        version.number = previous.version.number + 1
        var known: [String: Int] = [:]
        for (id, entry) in previous.instances.enumerated() {
            known[previous.services[entry.service].name + "\0" + entry.configuration.url] = id
        }
        former = instances.map { known[services[$0.service].name + "\0" + $0.configuration.url] }
        for (id, old) in former.enumerated() {
            guard let old else { continue }
            instances[id].take(previous.instances[old], now: now)
        }
    }

    /// After a change of the configuration: the former id of each instance; nil for new ones.
    private(set) var former: [Int?] = []

    init(_ configuration: Configuration, epoch: UInt64, now: UInt64) {
        general = configuration.general
        version = SnapshotVersion(epoch: epoch, number: 1)
        for service in configuration.services {
            let first = instances.count
            for instance in service.instances {
                instances.append(
                    RegisteredInstance(
                        service: services.count, instance, window: service.availabilityWindowMilliseconds, now: now))
            }
            services.append(
                RegisteredService(
                    name: service.name, paths: service.paths, policy: service.policy, instances: first..<instances.count
                ))
        }
        isMarked = [Bool](repeating: false, count: instances.count)
    }

    /// Records a poll. Returns when to poll next (nil: the present schedule stands) and whether what forwarders must
    /// know has changed.
    mutating func record(
        _ id: Int, _ result: PollResult, purpose: Health.Purpose, wasAccused: Bool, answering: [SocketAddress],
        startedAt wall: UInt64,
        now: UInt64
    ) -> (next: Health.Next?, changed: Bool) {
        let before = instances[id].state
        let polling = instances[id].configuration.polling
        let next = instances[id].health.receive(result, purpose: purpose, polling: polling)
        if wasAccused, !result.isGood, result.cause != .ownFault { instances[id].health.confirmSuspicion() }
        let status = instances[id].health.status
        if result.isGood { instances[id].answering = answering }
        instances[id].polls += 1
        instances[id].history.append(startedAt: wall, result)
        instances[id].lastResult = result
        if instances[id].firstCheckedAt == 0 { instances[id].firstCheckedAt = wall }
        instances[id].lastCheckedAt = wall
        if !result.isGood {
            instances[id].lastFailureAt = wall
            instances[id].lastFailure = result.cause.response(status: result.status)
        }
        if status != before.status {
            instances[id].since = wall
            // That a new instance is up is no news.
            if general.onChange != nil, before.status != .unknown || status != .up {
                statusChanges.append(
                    StatusChange(
                        service: services[instances[id].service].name, instance: instances[id].configuration.url,
                        previous: before.status, status: status,
                        response: result.cause.response(status: result.status), at: wall))
            }
        }
        if status != .unknown { instances[id].availability.set(up: status == .up, now: now) }
        instances[id].publishedAvailability = instances[id].availability.points(now: now)
        let changed = instances[id].state != before
        if changed { mark(id) }
        return (next, changed)
    }

    /// What `on_change` is to be told.
    mutating func takeStatusChanges() -> [StatusChange] {
        defer { statusChanges.removeAll(keepingCapacity: true) }
        return statusChanges
    }

    private mutating func mark(_ id: Int) {
        if !isMarked[id] {
            isMarked[id] = true
            changed.append(id)
        }
    }

    /// The changes since the last call become a new version.
    mutating func takeChanges() -> [Int] {
        guard !changed.isEmpty else { return [] }
        version.number += 1
        for id in changed { isMarked[id] = false }
        defer { changed.removeAll(keepingCapacity: true) }
        return changed
    }

    /// The instance of a service by its address as written.
    func find(service: String, instance: String) -> Int? {
        guard let found = services.first(where: { $0.name == service }) else { return nil }
        return found.instances.first { instances[$0].configuration.url == instance }
    }
}
