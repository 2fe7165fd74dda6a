/// What forwarders count: the words of a counter file. It has a head and rows, of `rowWords` words each, in the byte order of the
/// machine. All are totals since the forwarder's start, except those said to be present.
public enum CounterFileLayout {
    /// "SPYCOUNT"
    public static let magic: UInt64 = 0x544e_554f_4359_5053
    public static let version: UInt64 = 2
    public static let rowWords = 128

    /// The first word of a row; row 0 is for whatever found no room of its own.
    @inline(__always)
    public static func start(of row: Int) -> Int { (row &+ 1) &* rowWords }
}

/// Words of the head.
public enum HeadCounter: Int, CaseIterable, Sendable {
    case magic, version, pid
    /// Milliseconds since 1970.
    case startedAt
    /// Which one of several this forwarder is.
    case index
    case rows
    /// Requests whose head was understood, or refused.
    case accepted
    /// How they ended: answered by an instance, answered by us, without a client, cut in the middle of an answer.
    case answeredByInstance, answeredByUs, clientGone, cut
    case connections
    /// Present: client connections.
    case openConnections
    case bytesReceived, bytesSent
    /// The version of the snapshot in use.
    case epoch, number
    /// Of the past: the name of the file that was added last.
    case lastFolded
}

/// Words of a row: an instance of a service, or an API path of a service.
public enum RowCounter: Int, CaseIterable, Sendable {
    case key, kind
    /// Requests that ended here, and by the class of their status.
    case requests, status1xx, status2xx, status3xx, status4xx, status5xx
    /// Attempts to have an instance answer; of a path: requests that we answered ourselves.
    case tries
    case failedConnect, connectTimedOut, connectionLost, timedOut, badAnswer
    case clientGone, cut
    case bytesReceived, bytesSent
    /// Present: requests under way, and 1 while the instance is ejected.
    case inFlight, ejected
    /// Microseconds from a request's head to its answer's head: their sum; their histogram stands behind.
    case latencySum
    case firstBucket

    /// Of rows, what adds up.
    public static let summed: ClosedRange<Int> = requests.rawValue...firstBucket.rawValue + LatencyBuckets.count - 1
}

/// What a row counts for.
public enum CounterKey {
    public enum Kind: UInt64, Sendable { case other, instance, path }

    /// FNV-1a (64 bits) of the service's name, a zero and the instance's address or the path; the kind is mixed in.
    public static func hash(_ kind: Kind, _ service: String, _ name: String) -> UInt64 {
        var value: UInt64 = 0xcbf2_9ce4_8422_2325 ^ kind.rawValue
        func add(_ byte: UInt8) { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
        for byte in service.utf8 { add(byte) }
        add(0)
        for byte in name.utf8 { add(byte) }
        // Zero means that a row is free.
        return value == 0 ? 1 : value
    }
}
