import Shared

/// The file `snapshot` of the state directory: the last snapshot, as subscribers get it, for forwarders that start while no discoveryd
/// answers. Written anew when something has changed, a piece of it a turn, the larger the less often.
struct SnapshotSaver {
    static let fileName = "snapshot"

    /// Of the configuration's bytes: a forwarder that knows of another does not use the file.
    private var configuration: String
    private var stream: SnapshotStream?
    private var bytes: [UInt8] = []
    private var isBusy = false
    private var savedVersion: SnapshotVersion?
    private var writingVersion: SnapshotVersion?
    private var earliest: UInt64 = 0
    /// When the next piece is made: not at once, so that forwarders have the processor to themselves when they are told of the
    /// change, and with rests between.
    private var pieceAt: UInt64?

    init(configuration: String) { self.configuration = configuration }

    mutating func restart(configuration: String) {
        self.configuration = configuration
        stream = nil
        savedVersion = nil
        earliest = 0
        pieceAt = nil
    }

    /// Makes a piece. `file`: the whole, when it is complete. `again`: when to be asked again; nil: after a change.
    mutating func advance(_ registry: borrowing Registry, now: UInt64) -> (file: [UInt8]?, again: UInt64?) {
        guard !isBusy else { return (nil, nil) }
        if stream == nil {
            guard savedVersion != registry.version else { return (nil, nil) }
            let start = pieceAt ?? max(earliest, now + Limits.snapshotRestMilliseconds)
            pieceAt = start
            guard now >= start else { return (nil, start) }
            let header = configuration
            bytes = SnapshotLines.line("saved") { $0.field("configuration", header) }
            // Any forwarder can read the first version.
            stream = SnapshotStream(protocolVersion: 1)
        }
        if let pieceAt, now < pieceAt { return (nil, pieceAt) }
        let limit = bytes.count + Limits.snapshotPieceBytes
        while bytes.count < limit, let line = stream?.nextLine(registry, told: { _ in }) { bytes += line }
        guard stream?.isDone ?? true else {
            pieceAt = now + Limits.snapshotRestMilliseconds
            return (nil, pieceAt)
        }
        pieceAt = nil
        stream = nil
        isBusy = true
        writingVersion = registry.version
        // A hundredth of a second for each 100 KB, so that even the largest costs little.
        earliest = now + max(Limits.stateGapMilliseconds, UInt64(bytes.count) / 10_000)
        defer { bytes = [] }
        return (bytes, nil)
    }

    mutating func written(failed: Bool, now: UInt64) {
        isBusy = false
        // All instances as text are much memory that is not needed again.
        Process.returnFreeMemory()
        savedVersion = failed ? nil : writingVersion
        if failed { earliest = now + Limits.stateRetryMilliseconds }
    }
}
