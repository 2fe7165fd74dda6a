import Shared

/// One line per exchange. Lines are gathered and written in large pieces between turns of the loop, always whole, so that several
/// forwarders may share a file. Lines that cannot be written at once are dropped and counted.
struct AccessLog {
    private(set) var target = AccessLogTarget.off
    private var format = Log.Format.text
    private var descriptor = Descriptor.none
    private var isRegularFile = false
    private var pending: [UInt8] = []
    /// Lines dropped since the last warning.
    private var dropped = 0
    /// A warning was logged for the present failure.
    private var isInTrouble = false
    private let log: Log
    private let standardError: Descriptor

    /// `standardError`: the supervisor's. This process's own is a pipe that the supervisor reads.
    init(log: Log, standardError: Descriptor = .standardError) {
        self.log = log
        self.standardError = standardError
    }

    /// Bytes that a write to a pipe keeps together (pipe(7), PIPE_BUF).
    static let pipeBytes = 4096

    var isOn: Bool { target != .off }
    var hasPending: Bool { !pending.isEmpty }
    /// The gathered lines are enough for a write before the timer fires.
    var isLarge: Bool { pending.count >= Limits.accessLogWriteBytes }

    mutating func configure(_ settings: ForwarderSettings) {
        format = settings.logFormat
        guard settings.accessLog != target else { return }
        flush()
        close()
        target = settings.accessLog
        isInTrouble = false
        open()
    }

    mutating func add(_ record: AccessRecord, _ outcome: Outcome, requestID: String) {
        guard isOn else { return }
        var line = record.line(format, outcome, requestID: requestID)
        if !isRegularFile, line.count > Self.pipeBytes {
            // It must go through in one piece, and without waiting.
            record.shorten()
            line = record.line(
                format, outcome, requestID: String(decoding: requestID.utf8.prefix(64), as: UTF8.self))
        }
        guard pending.count + line.count <= Limits.accessLogBytes else {
            dropped += 1
            return complain("whoever reads it does not keep up")
        }
        pending.append(contentsOf: line)
    }

    /// Writes the gathered lines without waiting.
    mutating func flush() {
        guard hasPending else { return }
        if !descriptor.isOpen { open() }
        guard descriptor.isOpen else { return drop() }
        while hasPending {
            let limit = isRegularFile ? Limits.accessLogWriteBytes : Self.pipeBytes
            if !isRegularFile, !descriptor.isWritable { return }
            let end = wholeLines(limit)
            let result = descriptor.write(pending.span.extracting(first: end))
            guard let count = result.count else {
                if result.isAgain { return }
                complain("\(result.error)")
                return drop()
            }
            pending.removeFirst(count)
            isInTrouble = false
        }
        if dropped > 0 {
            log.warning("access log: \(dropped) lines could not be written and were dropped")
            dropped = 0
        }
    }

    /// The byte count of as many whole lines as fit, at least one.
    private func wholeLines(_ limit: Int) -> Int {
        if pending.count <= limit { return pending.count }
        if let last = pending[..<limit].lastIndex(of: 0x0a) { return last + 1 }
        return (pending.firstIndex(of: 0x0a) ?? pending.count - 1) + 1
    }

    private mutating func drop() {
        dropped += pending.lazy.filter { $0 == 0x0a }.count
        pending.removeAll()
    }

    /// Opens the path again: the file was renamed, or a signal says so.
    mutating func reopen() {
        flush()
        guard case .file(let path) = target else { return }
        do throws(Errno) {
            let next = try Files.openForAppending(path)
            close()
            use(next)
        } catch {
            complain("\(path) cannot be opened again: \(error)")
        }
    }

    private mutating func use(_ file: Descriptor) {
        descriptor = file
        isRegularFile = (try? Files.status(of: file).kind) == .file
    }

    /// Reopens the log if its path names another file now, so that log rotation needs no signal.
    mutating func checkRename() {
        guard case .file(let path) = target, descriptor.isOpen, isRegularFile else { return }
        do throws(Errno) {
            let (named, mine) = (try Files.status(path, followsLink: true), try Files.status(of: descriptor))
            if named.device != mine.device || named.inode != mine.inode { reopen() }
        } catch .noEntry {
            reopen()
        } catch {
            // The file may still exist: keep writing to the open one.
        }
    }

    private mutating func open() {
        switch target {
        case .off: break
        case .standardError: descriptor = standardError
        case .file(let path):
            do {
                use(try Files.openForAppending(path))
            } catch {
                complain("\(path) cannot be opened: \(error)")
            }
        }
    }

    private mutating func close() {
        if case .file = target { descriptor.close() }
        descriptor = .none
        isRegularFile = false
    }

    private mutating func complain(_ reason: String) {
        if !isInTrouble { log.error("access log: \(reason); lines are dropped until it can be written") }
        isInTrouble = true
    }
}
