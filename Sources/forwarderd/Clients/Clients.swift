import Shared

/// All client connections, and where they come from.
struct Clients {
    typealias Index = Slab<Client>.Index

    let slab: Slab<Client>
    var listeners: Listeners
    var eviction = Eviction()
    /// Connections over the limit that are being told so.
    var refused = 0
    /// The client whose requests are being read one after another.
    var served: Index?
    /// When a search found no half-closed client whose place could be taken.
    var nothingHalfClosedAt: UInt64 = 0

    /// `limit`: connections that can be served at one time.
    init(limit: Int, _ listeners: Listeners) {
        slab = Slab(capacity: limit + Limits.refusedConnections)
        self.listeners = listeners
    }

    var count: Int { slab.count }
    var isFull: Bool { slab.isFull }

    /// Connections that this forwarder serves at one time, by the configuration and by its descriptors.
    func limit(_ settings: ForwarderSettings, _ share: Share) -> Int {
        min(slab.capacity - Limits.refusedConnections, settings.connections.map(share.part(of:)) ?? .max)
    }

}
