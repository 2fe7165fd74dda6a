import Shared

/// The rest of an answer that is made as it is sent.
enum AnswerCursor {
    /// /stats and /dump: instance by instance, packet by packet.
    case statistics(StatisticsCursor)
    case metrics(MetricsCursor)

    enum Piece {
        case piece([UInt8])
        /// There will be more: the connection waits until it is served again.
        case nothingNow
        case end
    }

    mutating func next(_ registry: borrowing Registry, now: UInt64) -> Piece {
        let piece: [UInt8]?
        switch self {
        case .statistics(var cursor):
            piece = cursor.nextPiece(registry, now: now)
            self = .statistics(cursor)
        case .metrics(var cursor):
            piece = cursor.nextPiece(registry)
            self = .metrics(cursor)
        }
        return piece.map(Piece.piece) ?? .end
    }
}
