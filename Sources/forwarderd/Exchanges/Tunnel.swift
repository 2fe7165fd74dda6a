/// The two directions of a tunnel (RFC 9110 7.8). Each ends by itself; the tunnel is over when both ends were passed on.
struct Tunnel: Equatable {
    enum Side: CaseIterable { case client, instance }

    enum Direction: UInt8 {
        case open
        /// This side sends nothing more; the other side has not been told.
        case ended
        /// The other side has been told.
        case passedOn
    }

    private(set) var fromClient = Direction.open
    private(set) var fromInstance = Direction.open

    var isOver: Bool { fromClient == .passedOn && fromInstance == .passedOn }

    func direction(from side: Side) -> Direction { side == .client ? fromClient : fromInstance }

    /// A side will send nothing more.
    mutating func end(from side: Side) {
        guard direction(from: side) == .open else { return }
        if side == .client { fromClient = .ended } else { fromInstance = .ended }
    }

    /// The other side has been told of the end, or takes nothing more.
    mutating func passOn(from side: Side) {
        if side == .client { fromClient = .passedOn } else { fromInstance = .passedOn }
    }
}
