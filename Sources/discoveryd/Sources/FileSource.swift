import Shared

/// The configuration file as a source of services and their lines. Its first word is the whole; what a reload says is the difference to the
/// file before.
struct FileSource {
    private(set) var version: UInt64 = 0
    private(set) var health = SourceHealth.never
    /// What each service said, by its hash: that is enough to see whether it says something else.
    private var hashes: [String: Int] = [:]

    /// The file's services are these. Names of services are unique.
    mutating func read(_ services: [Service]) -> SourceChange<Service> {
        let isFirst = version == 0
        version += 1
        health = .fresh
        var next: [String: Int] = [:]
        next.reserveCapacity(services.count)
        var (added, changed): ([Service], [Service]) = ([], [])
        for service in services {
            let hash = service.hashValue
            next[service.name] = hash
            guard !isFirst else { continue }
            if let before = hashes[service.name] {
                if before != hash { changed.append(service) }
            } else {
                added.append(service)
            }
        }
        let removed = hashes.keys.filter { next[$0] == nil }
        hashes = next
        return SourceChange(
            version: version,
            content: isFirst ? .reset(services) : .difference(added: added, removed: removed, changed: changed))
    }

    /// The file that was to be read next cannot be used: what the one before said stands.
    mutating func refused(now: UInt64) { if case .fresh = health { health = .stale(since: now) } }
}
