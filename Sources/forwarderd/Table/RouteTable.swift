import Shared

/// From a request's path to a service: the longest API path that is a whole-segment prefix wins. One hash probe per segment,
/// whatever the number of services.
struct RouteTable {
    private struct Entry {
        let hash: UInt64
        let path: [UInt8]
        let service: Int
        /// Its number among all paths of all services, in order.
        let number: Int
    }

    struct Route {
        let service: Int
        /// The number of the API path that matched, and how many bytes of the request's it took.
        let path: Int
        let matched: Int
    }

    private var entries: [Entry] = []
    /// Open addressing; -1 is empty. The size is a power of two, at most half full.
    private var places: [Int32] = [-1]
    private var longest = 0
    /// `/` where a service claims it, which matches everything else.
    private(set) var root: Route?

    /// Paths so far.
    private var paths = 0

    init() {}

    /// The API paths of one service more.
    mutating func add(_ paths: [String], service: Int) {
        for path in paths {
            defer { self.paths += 1 }
            let bytes = Array(path.utf8)
            if bytes == [UInt8(ascii: "/")] {
                root = Route(service: service, path: self.paths, matched: 0)
            } else {
                entries.append(Entry(hash: Self.hash(bytes), path: bytes, service: service, number: self.paths))
                longest = max(longest, bytes.count)
                if entries.count * 2 > places.count { grow() } else { put(entries.count - 1) }
            }
        }
    }

    private mutating func put(_ index: Int) {
        let mask = places.count - 1
        var place = Int(truncatingIfNeeded: entries[index].hash) & mask
        while places[place] >= 0 { place = (place + 1) & mask }
        places[place] = Int32(index)
    }

    private mutating func grow() {
        places = [Int32](repeating: -1, count: places.count * 2)
        for index in entries.indices { put(index) }
    }

    /// FNV-1a, which grows byte by byte, so that each prefix of a path costs nothing more. Only the configuration decides
    /// what is in the table: a client cannot make it collide.
    @inline(__always)
    private static func grow(_ hash: UInt64, _ byte: UInt8) -> UInt64 { (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    private static let start: UInt64 = 0xcbf2_9ce4_8422_2325

    static func hash(_ bytes: [UInt8]) -> UInt64 { spread(bytes.reduce(start, grow)) }
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
                best = Route(service: entries[found].service, path: entries[found].number, matched: index)
            }
            hash = Self.grow(hash, byte)
            index &+= 1
        }
        if end == count, count > 1, let found = find(Self.spread(hash), bytes, offset, count) {
            best = Route(service: entries[found].service, path: entries[found].number, matched: count)
        }
        return best
    }

    /// All API paths that are a whole-segment prefix of a path, by their numbers: the longest, which wins, first.
    func matches(_ path: [UInt8]) -> [Route] {
        entries.filter { entry in
            path.starts(with: entry.path) && (path.count == entry.path.count || path[entry.path.count] == 0x2f)
        }.sorted { $0.path.count > $1.path.count }.map {
            Route(service: $0.service, path: $0.number, matched: $0.path.count)
        } + (root.map { [$0] } ?? [])
    }

    @inline(__always)
    private func find(_ hash: UInt64, _ bytes: Span<UInt8>, _ offset: Int, _ count: Int) -> Int? {
        let mask = places.count &- 1
        var place = Int(truncatingIfNeeded: hash) & mask
        while true {
            let index = places[place]
            if index < 0 { return nil }
            let entry = entries[Int(index)]
            if entry.hash == hash, bytes.equals(entry.path, at: offset, count: count) { return Int(index) }
            place = (place &+ 1) & mask
        }
    }
}
