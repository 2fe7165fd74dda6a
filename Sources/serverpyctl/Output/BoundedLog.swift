import Shared

/// The last lines of all processes, in the runtime directory: two files of bounded size, the older one behind the newer.
struct BoundedLog {
    static let name = "log"
    static let olderName = "log.1"

    private let directory: Descriptor
    private let path: String
    private var file = Descriptor.none
    /// Said once per trouble, not per line.
    private var isInTrouble = false
    private let log: Log

    /// `directory` is the runtime directory, `path` its path.
    init(directory: Descriptor, path: String, log: Log) {
        self.directory = directory
        self.path = path + "/" + Self.name
        self.log = log
        open()
    }

    /// From now on each line of the log is in the file too.
    private mutating func open() {
        do {
            file = try Files.openForAppending(Self.name, in: directory)
        } catch {
            file = .none
            log.warning("\(path) cannot be written: \(error); `serverpyctl logs` shows nothing")
        }
        Log.copy = file
    }

    /// Called once a second: makes a new file where the present one has become large. Between two calls it may grow beyond its bound by
    /// what is written in a second.
    mutating func rotateIfLarge() {
        let missed = Log.takeMissedByCopy()
        if missed > 0, !isInTrouble {
            log.warning("\(path) takes no more, lines of the log are missing in it: is the disk full?")
        }
        isInTrouble = missed > 0
        guard file.isOpen, let size = try? Files.status(of: file).size, size >= Limits.logBytes else { return }
        file.close()
        do {
            try Files.rename(Self.name, to: Self.olderName, in: directory)
        } catch {
            // Rather nothing than a file without bound.
            Log.copy = .none
            log.warning("\(path) cannot be renamed: \(error)")
            Files.remove(Self.name, in: directory)
        }
        open()
    }

    /// At the end of serverpy.
    mutating func remove() {
        Log.copy = .none
        file.close()
        file = .none
        Files.remove(Self.name, in: directory)
        Files.remove(Self.olderName, in: directory)
    }
}

/// Reads the lines of a runtime directory's log, and those that come.
struct LogReader: ~Copyable {
    private let path: String
    private var file = Descriptor.none
    private var rest: [UInt8] = []

    init(_ runtimeDirectory: String) throws(Errno) {
        path = runtimeDirectory + "/" + BoundedLog.name
        file = try Files.open(path)
        if let older = try? Files.read(runtimeDirectory + "/" + BoundedLog.olderName, maxBytes: Limits.logReadBytes) {
            rest = older
        }
    }

    deinit { file.close() }

    /// What has been written since the last call, whole lines without their breaks.
    mutating func next() -> [[UInt8]] {
        read()
        // Another file has the name: the rest of ours was read just now.
        if let named = try? Files.status(path), let mine = try? Files.status(of: file), named.inode != mine.inode,
            let newer = try? Files.open(path)
        {
            read()
            file.close()
            file = newer
            read()
        }
        var lines: [[UInt8]] = []
        var start = 0
        for index in rest.indices where rest[index] == 0x0a {
            lines.append(Array(rest[start..<index]))
            start = index + 1
        }
        rest.removeFirst(start)
        return lines
    }

    private mutating func read() {
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        // The file is bounded, and so is what is read at a time.
        while rest.count < Limits.logReadBytes {
            var span = chunk.mutableSpan
            guard let count = file.read(into: &span).count, count > 0 else { return }
            rest.append(contentsOf: chunk[..<count])
        }
    }
}
