import Shared

/// All names that are looked up, each once however many use it: lines of the configuration, records of services, `on_change`. A value without
/// IO: who looks up says what was found, and is told which lines' names lead elsewhere.
struct NameBook {
    typealias Index = Slab<Entry>.Index

    struct Entry {
        var source: NameSource
        /// How many want it looked up.
        var uses = 0
        /// A line of the configuration wants to be told.
        var isOfLines = false
        /// Of a service: the hosts that its records name.
        var hosts: Set<SourceName> = []
        /// Of a host: the services whose records name it.
        var services: Set<SourceName> = []
        /// When it is looked up next.
        var timer = TimerWheel.ID.none
    }

    /// A name that leads elsewhere, for the lines that have it.
    typealias News = (name: SourceName, change: SourceChange<NameTarget>)

    let entries = Slab<Entry>(capacity: Limits.names)
    private var places: [SourceName: Index] = [:]
    /// Names whose time of the next look-up has changed, and timers of names that are gone.
    private var rescheduled: [Index] = []
    private var cancelled: [TimerWheel.ID] = []

    func index(_ name: SourceName) -> Index? { places[name] }

    /// One more wants the name looked up; the first time at once.
    mutating func use(_ name: SourceName, forLines: Bool, now: UInt64) {
        let index: Index
        if let known = places[name] {
            index = known
        } else {
            guard !entries.isFull else { return }
            index = entries.insert(Entry(source: NameSource(name, now: now)))
            places[name] = index
            rescheduled.append(index)
        }
        entries[index].uses += 1
        if forLines { entries[index].isOfLines = true }
    }

    /// One less does.
    mutating func release(_ name: SourceName, forLines: Bool) {
        guard let index = places[name] else { return }
        if forLines { entries[index].isOfLines = false }
        entries[index].uses -= 1
        guard entries[index].uses == 0 else { return }
        let entry = entries.remove(index)
        places[name] = nil
        cancelled.append(entry.timer)
        for host in entry.hosts { leave(host, name) }
    }

    private mutating func leave(_ host: SourceName, _ service: SourceName) {
        if let place = places[host] { entries[place].services.remove(service) }
        release(host, forLines: false)
    }

    /// The addresses of a name of before a restart.
    mutating func restore(_ name: SourceName, _ addresses: [SocketAddress]) {
        if let index = places[name], name.kind == .host { entries[index].source.restore(addresses) }
    }

    // MARK: Look-ups

    /// The time of a look-up has come. Nil: one is under way.
    mutating func begin(_ index: Index, now: UInt64) -> NameSource? {
        guard !entries[index].source.isAsking else { return nil }
        entries[index].source.begin(now: now)
        return entries[index].source
    }

    mutating func receive(_ result: LookUp.Result, of index: Index, now: UInt64) -> [News] {
        let name = entries[index].source.name
        let wasAwaited = entries[index].source.health == .never
        let saidSomething = entries[index].source.receive(result, now: now)
        rescheduled.append(index)
        guard saidSomething else {
            // A host of which nobody knows anything keeps its services waiting no longer.
            return wasAwaited ? serviceNews(of: index) : []
        }
        if name.kind == .service { follow(index, now: now) }
        return news(of: index)
    }

    /// What the lines are to be told of the name, and of the services whose records name it.
    private mutating func news(of index: Index) -> [News] {
        var news = serviceNews(of: index)
        if entries[index].isOfLines, isWholly(known: index) {
            news.append((entries[index].source.name, change(index)))
        }
        return news
    }

    private mutating func serviceNews(of index: Index) -> [News] {
        var news: [News] = []
        for name in entries[index].services.sorted(by: { $0.text < $1.text }) {
            if let place = places[name], entries[place].isOfLines, isWholly(known: place) {
                news.append((name, change(place)))
            }
        }
        return news
    }

    /// Whether a service's hosts have all been looked up with an answer: half of them would be taken for the whole. One whose look-up has
    /// failed without anything being known of it counts as having no address only beside others that have.
    private func isWholly(known index: Index) -> Bool {
        let hosts = entries[index].hosts.compactMap { places[$0] }
        if hosts.contains(where: { isAwaited(entries[$0].source.name) }) { return false }
        return hosts.isEmpty || hosts.contains { entries[$0].source.health != .never }
    }

    private mutating func change(_ index: Index) -> SourceChange<NameTarget> {
        let (places, entries) = (places, entries)
        return entries[index].source.change { places[$0].map { entries[$0].source.inUse } ?? [] }
    }

    /// The records of a service name these hosts from now on.
    private mutating func follow(_ index: Index, now: UInt64) {
        let name = entries[index].source.name
        let (before, after) = (entries[index].hosts, entries[index].source.hosts)
        entries[index].hosts = after
        for host in after.subtracting(before) {
            use(host, forLines: false, now: now)
            if let place = places[host] { entries[place].services.insert(name) }
        }
        for host in before.subtracting(after) { leave(host, name) }
    }

    /// An address of the name has refused or failed its poll: perhaps it has others now.
    mutating func doubt(_ name: SourceName, now: UInt64) {
        guard let index = places[name] else { return }
        for place in [index] + entries[index].hosts.compactMap({ places[$0] })
        where entries[place].source.doubt(now: now) {
            rescheduled.append(place)
        }
    }

    /// Addresses of this family of a name answer, and those in use do not.
    mutating func use(_ family: SocketAddress.Family, of name: SourceName) -> [News] {
        guard let index = places[name], entries[index].source.use(family) else { return [] }
        return news(of: index)
    }

    // MARK: What is known

    /// Addresses of a host that are not in use because they are of another family.
    func others(_ name: SourceName) -> [SocketAddress] {
        places[name].map { entries[$0].source.others } ?? []
    }

    /// All addresses of a host, those in use first.
    func addresses(_ name: SourceName) -> [SocketAddress] {
        places[name].map { entries[$0].source.inUse + entries[$0].source.others } ?? []
    }

    /// Whether nothing is known of it yet, and its first look-up is under way or due.
    func isAwaited(_ name: SourceName) -> Bool {
        guard let index = places[name] else { return false }
        if !entries[index].hosts.isEmpty { return entries[index].hosts.contains { isAwaited($0) } }
        return entries[index].source.health == .never && entries[index].source.reason.isEmpty
    }

    // MARK: Timers

    mutating func takeRescheduled() -> [Index] {
        defer { rescheduled.removeAll(keepingCapacity: true) }
        return rescheduled.filter { entries.isInUse($0) }
    }

    mutating func takeCancelled() -> [TimerWheel.ID] {
        defer { cancelled = [] }
        return cancelled
    }
}
