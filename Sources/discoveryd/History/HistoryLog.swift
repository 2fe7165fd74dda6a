import Shared

/// What of history goes to the disk: the polls of a second as one block, behind those before, in files by span class (the power of
/// two of how long a ring of `packet_limit` polls lasts), so that a file can go when the rings of all its instances have turned.
/// Decides only; the disk thread writes.
struct HistoryLog {
    enum Job: Equatable {
        case create(name: String, [UInt8])
        case append(name: String, [UInt8])
        case remove(name: String)
    }

    private struct Segment {
        let number: UInt64
        var packets = 0
        var newest: UInt64 = 0
        var bytes = 0
    }

    private struct Class {
        /// Oldest first; the last one is open.
        var segments: [Segment] = []
        /// Of the open segment: which one of all it is, and how many instances it knows.
        var serial: UInt32 = 0
        var known: UInt32 = 0
        /// The next write begins a new segment.
        var isClosed = true
        /// Polls that the rings of all its instances hold.
        var capacity = 0
        var newKeys: [UInt8] = []
        var blocks: [UInt8] = []
        var base: UInt64 = 0
        var records: [UInt8] = []
        var newest: UInt64 = 0
        var packets = 0
    }

    private var classes = [Class](repeating: Class(), count: 64)
    /// In which segment an instance was named last, and by which number.
    private var places = InstanceTable((serial: UInt32(0), number: UInt32(0)))
    private var serials: UInt32 = 0
    private var nextNumber: UInt64 = 1
    /// Writes that have been handed over and not come back.
    private var outstanding = 0
    /// Polls that were not written because the disk did not keep up, or would not.
    private(set) var skipped: UInt64 = 0
    private(set) var restUntil: UInt64 = 0

    /// An instance's polls belong to this class from now on. `limit`: how many its ring holds.
    mutating func begin(_ id: Registry.InstanceID, _ spanClass: Int, limit: Int) {
        places.begin(id)
        classes[spanClass].capacity += limit
    }

    /// An instance is gone, or its polls belong to another class from now on.
    mutating func end(_ spanClass: Int, limit: Int) { classes[spanClass].capacity -= limit }

    static func spanClass(_ polling: Polling) -> Int {
        let (product, overflow) = polling.frequencyMilliseconds.multipliedReportingOverflow(
            by: UInt64(polling.packetLimit))
        let seconds = max(1, (overflow ? .max : product) / 1000)
        return 63 - seconds.leadingZeroBitCount
    }

    /// A file that a former process has left.
    mutating func found(_ spanClass: Int, _ number: UInt64, _ content: HistorySegment.Content) {
        nextNumber = max(nextNumber, number + 1)
        classes[spanClass].segments.append(
            Segment(number: number, packets: content.packets, newest: content.newest, bytes: content.wholeBytes))
    }

    // MARK: Writing

    /// Whether the next poll of an instance must be given with its key.
    func asksForKey(_ id: Registry.InstanceID, _ spanClass: Int) -> Bool {
        classes[spanClass].isClosed || places[id].serial != classes[spanClass].serial
            || classes[spanClass].known >= HistorySegment.instancesLimit
    }

    /// A poll of an instance.
    mutating func record(
        _ id: Registry.InstanceID, _ current: Int, key: UInt64?, wall: UInt64, _ outcome: PollOutcome
    ) {
        if classes[current].isClosed || classes[current].known >= HistorySegment.instancesLimit { open(current) }
        if let key, places[id].serial != classes[current].serial {
            places[id] = (classes[current].serial, classes[current].known)
            classes[current].known += 1
            HistorySegment.put(key, 8, to: &classes[current].newKeys)
        }
        let base = classes[current].base
        if !classes[current].records.isEmpty, wall < base || wall - base > 65_535 { closeBlock(current) }
        if classes[current].records.isEmpty {
            // Polls that began earlier may end later.
            classes[current].base = wall - min(wall, 30_000)
            HistorySegment.put(classes[current].base, 8, to: &classes[current].records)
        }
        let record =
            UInt64(places[id].number) | UInt64(outcome.rawValue & 0xff_ffff) << 24 | (wall - classes[current].base)
            << 48
        HistorySegment.put(record, 8, to: &classes[current].records)
        classes[current].packets += 1
        classes[current].newest = max(classes[current].newest, wall)
    }

    private mutating func open(_ current: Int) {
        // What was gathered for a segment that failed meanwhile has its numbers: in another they would be other instances.
        skipped += UInt64(classes[current].packets)
        classes[current].packets = 0
        classes[current].newKeys = []
        classes[current].records = []
        classes[current].blocks = []
        serials &+= 1
        classes[current].serial = serials
        classes[current].known = 0
        classes[current].newest = 0
        classes[current].isClosed = false
        classes[current].segments.append(Segment(number: nextNumber))
        nextNumber += 1
    }

    private mutating func closeBlock(_ current: Int) {
        guard !classes[current].records.isEmpty else { return }
        let (keys, records) = (classes[current].newKeys, classes[current].records)
        if !keys.isEmpty { HistorySegment.append(.instances, keys, to: &classes[current].blocks) }
        HistorySegment.append(.packets, records, to: &classes[current].blocks)
        classes[current].newKeys.removeAll(keepingCapacity: true)
        classes[current].records.removeAll(keepingCapacity: true)
    }

    /// What is to be done on the disk now.
    mutating func takeJobs(now: UInt64, wall: UInt64) -> [Job] {
        var jobs: [Job] = []
        for current in classes.indices where classes[current].packets > 0 {
            closeBlock(current)
            let blocks = classes[current].blocks
            let packets = classes[current].packets
            classes[current].blocks = []
            classes[current].packets = 0
            let last = classes[current].segments.count - 1
            let isNew = classes[current].segments[last].bytes == 0
            guard outstanding < Limits.historyBuffers, now >= restUntil else {
                // What these blocks name would be missing in what follows.
                skipped += UInt64(packets)
                classes[current].isClosed = true
                if isNew { classes[current].segments.removeLast() }
                continue
            }
            classes[current].segments[last].packets += packets
            classes[current].segments[last].newest = classes[current].newest
            classes[current].segments[last].bytes += blocks.count + (isNew ? HistorySegment.headBytes : 0)
            let name = HistorySegment.name(current, classes[current].segments[last].number)
            jobs.append(
                isNew ? .create(name: name, HistorySegment.head(current) + blocks) : .append(name: name, blocks))
            outstanding += 1
            if classes[current].segments[last].bytes >= Limits.historySegmentBytes { classes[current].isClosed = true }
            turn(current, wall: wall, &jobs)
        }
        return jobs
    }

    /// Old segments go when those behind them hold twice what the rings do, and are older than a ring lasts: instances of one
    /// class are polled at frequencies within a factor of two, and more often while they are down.
    private mutating func turn(_ current: Int, wall: UInt64, _ jobs: inout [Job]) {
        var behind = classes[current].segments.reduce(0) { $0 + $1.packets }
        let span = UInt64(2000) << UInt64(min(current, 40))
        while classes[current].segments.count > 1 {
            let oldest = classes[current].segments[0]
            behind -= oldest.packets
            // One from a time when the clock was ahead is as old as its place says.
            let age = oldest.newest <= wall ? wall - oldest.newest : .max
            guard behind >= 2 * classes[current].capacity, age > span else { break }
            jobs.append(.remove(name: HistorySegment.name(current, oldest.number)))
            outstanding += 1
            classes[current].segments.removeFirst()
        }
    }

    /// A write has come back. `failed`: what it left may be torn, so that a new segment begins after some rest.
    mutating func written(failed: Bool, now: UInt64) {
        outstanding -= 1
        guard failed else { return }
        restUntil = now + Limits.stateRetryMilliseconds
        for current in classes.indices { classes[current].isClosed = true }
    }
}
