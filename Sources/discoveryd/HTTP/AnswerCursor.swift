import Shared

/// The rest of an answer that is made as it is sent.
enum AnswerCursor {
    /// /stats and /dump: instance by instance, packet by packet.
    case statistics(StatisticsCursor)
    case metrics(MetricsCursor)

    /// The next piece; nil when all has been given.
    mutating func nextPiece(_ registry: borrowing Registry, now: UInt64) -> [UInt8]? {
        switch self {
        case .statistics(var cursor):
            defer { self = .statistics(cursor) }
            return cursor.nextPiece(registry, now: now)
        case .metrics(var cursor):
            defer { self = .metrics(cursor) }
            return cursor.nextPiece(registry)
        }
    }
}
