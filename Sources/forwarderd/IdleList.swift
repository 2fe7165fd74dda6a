import Shared

/// All connections that are kept for a next request, the one used last first: a list through the connections themselves. When there
/// is no room for another, the one that has been idle longest goes.
struct IdleList {
    private var newest: Int32 = -1
    private var oldestIndex: Int32 = -1
    private(set) var count = 0
    /// How many may be kept.
    let limit: Int

    init(limit: Int) { self.limit = limit }

    var isOverLimit: Bool { count > limit }
    /// The connection that has been idle longest; nil: none is idle.
    var oldest: Int? { oldestIndex < 0 ? nil : Int(oldestIndex) }

    mutating func add(_ upstream: Int, _ upstreams: Slab<Upstream>) {
        upstreams[upstream].olderIdle = newest
        upstreams[upstream].newerIdle = -1
        if newest >= 0 {
            upstreams[Int(newest)].newerIdle = Int32(truncatingIfNeeded: upstream)
        } else {
            oldestIndex = Int32(truncatingIfNeeded: upstream)
        }
        newest = Int32(truncatingIfNeeded: upstream)
        count += 1
    }

    mutating func remove(_ upstream: Int, _ upstreams: Slab<Upstream>) {
        let (older, newer) = (upstreams[upstream].olderIdle, upstreams[upstream].newerIdle)
        if newer >= 0 { upstreams[Int(newer)].olderIdle = older } else { newest = older }
        if older >= 0 { upstreams[Int(older)].newerIdle = newer } else { oldestIndex = newer }
        count -= 1
    }
}
