import Shared

/// From a request's path to a service: the longest API path that is a whole-segment prefix wins. One hash probe per segment,
/// whatever the number of services.
struct RouteTable {
    private struct Entry {
        let hash: UInt64
        let path: [UInt8]
        let service: Int
    }

    struct Route {
        let service: Int
        /// The number of the API path that matched, and how many bytes of the request's it took.
        let path: Int
        let matched: Int
    }

    /// By the numbers of the paths. What is not used holds an empty path.
    private var entries: [Entry] = []
    private var free: [Int] = []
    /// Open addressing. The size is a power of two, of which at most half is not empty.
    private var places: [Int32] = [empty]
    private var usedPlaces = 0
    private static let empty: Int32 = -1
    /// What was here is removed; what was put behind it is still found.
    private static let removed: Int32 = -2
    private var longest = 0
    /// `/` where a service claims it, which matches everything else.
    private(set) var root: Route?

    init() {}

    /// Adds an API path of a service, and returns its number.
    mutating func add(_ path: String, service: Int) -> Int {
        let bytes = Array(path.utf8)
        let entry = Entry(hash: Self.hash(bytes), path: bytes, service: service)
        let number: Int
        if let place = free.popLast() {
            number = place
            entries[number] = entry
        } else {
            number = entries.count
            entries.append(entry)
        }
        if bytes == [UInt8(ascii: "/")] {
            root = Route(service: service, path: number, matched: 0)
        } else {
            longest = max(longest, bytes.count)
            if (usedPlaces + 1) * 2 > places.count { rebuild() } else { put(number) }
        }
        return number
    }

    /// Removes the path of this number, which another one gets later.
    mutating func remove(_ number: Int) {
        if root?.path == number {
            root = nil
        } else {
            let mask = places.count - 1
            var place = Int(truncatingIfNeeded: entries[number].hash) & mask
            while places[place] != Int32(number) {
                // It is `/`, and another service has claimed that since.
                if places[place] == Self.empty { break }
                place = (place + 1) & mask
            }
            if places[place] == Int32(number) { places[place] = Self.removed }
        }
        entries[number] = Entry(hash: 0, path: [], service: -1)
        free.append(number)
    }

    private mutating func put(_ number: Int) {
        let mask = places.count - 1
        var place = Int(truncatingIfNeeded: entries[number].hash) & mask
        while places[place] >= 0 { place = (place + 1) & mask }
        if places[place] == Self.empty { usedPlaces += 1 }
        places[place] = Int32(number)
    }

    /// With room for twice as many paths as there are.
    private mutating func rebuild() {
        let count = entries.count - free.count
        var size = 4
        while size < count * 4 { size *= 2 }
        places = [Int32](repeating: Self.empty, count: size)
        usedPlaces = 0
        for number in entries.indices where entries[number].path.count > 1 { put(number) }
    }

    /// FNV-1a, which grows byte by byte, so that each prefix of a path costs nothing more. Only the configuration decides
    /// what is in the table: a client cannot make it collide.
    @inline(__always)
    private static func extend(_ hash: UInt64, _ byte: UInt8) -> UInt64 { (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    private static let start: UInt64 = 0xcbf2_9ce4_8422_2325

    static func hash(_ bytes: [UInt8]) -> UInt64 { spread(bytes.reduce(start, extend)) }
    @inline(__always)
    private static func spread(_ hash: UInt64) -> UInt64 { hash ^ hash >> 29 }

    /// The route of the path at `offset` of `bytes`; nil if no service claims it.
    func route(_ bytes: Span<UInt8>, _ offset: Int, _ count: Int) -> Route? {
        var best = root
        var hash = Self.start
        let end = min(count, longest &+ 1)
        var index = 0
        while index < end {
            let byte = bytes[offset &+ index]
            if byte == 0x2f, index > 0, let found = find(Self.spread(hash), bytes, offset, index) {
                best = Route(service: entries[found].service, path: found, matched: index)
            }
            hash = Self.extend(hash, byte)
            index &+= 1
        }
        if end == count, count > 1, let found = find(Self.spread(hash), bytes, offset, count) {
            best = Route(service: entries[found].service, path: found, matched: count)
        }
        return best
    }

    /// All API paths that are a whole-segment prefix of a path, by their numbers: the longest, which wins, first.
    func matches(_ path: [UInt8]) -> [Route] {
        entries.indices.filter { number in
            let entry = entries[number].path
            return entry.count > 1 && path.starts(with: entry)
                && (path.count == entry.count || path[entry.count] == 0x2f)
        }.sorted { entries[$0].path.count > entries[$1].path.count }.map {
            Route(service: entries[$0].service, path: $0, matched: entries[$0].path.count)
        } + (root.map { [$0] } ?? [])
    }

    @inline(__always)
    private func find(_ hash: UInt64, _ bytes: Span<UInt8>, _ offset: Int, _ count: Int) -> Int? {
        let mask = places.count &- 1
        var place = Int(truncatingIfNeeded: hash) & mask
        while true {
            let index = places[place]
            if index == Self.empty { return nil }
            if index >= 0 {
                let entry = entries[Int(index)]
                if entry.hash == hash, bytes.equals(entry.path, at: offset, count: count) { return Int(index) }
            }
            place = (place &+ 1) & mask
        }
    }
}
