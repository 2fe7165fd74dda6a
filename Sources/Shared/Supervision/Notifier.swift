/// Tells whoever supervises this process how it is, in systemd's notify protocol; see sd_notify(3).
public struct Notifier: Sendable {
    private let socket: Descriptor
    /// Whoever supervises us wants signs of progress.
    private let isWatched: Bool
    /// Milliseconds between two of them: a second, or a third of the time after which we would be killed.
    public let signGap: UInt64

    /// Takes NOTIFY_SOCKET out of the environment, so that children do not speak for us. Without it, nobody is told.
    public init() {
        let isMeant = Process.environment("WATCHDOG_PID").map { $0 == String(Process.pid) } ?? true
        let time = Process.environment("WATCHDOG_USEC").flatMap { DecimalDigits.parse($0.utf8) }.flatMap {
            $0 > 0 ? $0 : nil
        }
        isWatched = isMeant && time != nil
        signGap =
            isMeant
            ? max(10, min(Limits.watchdogGapMilliseconds, (time ?? .max) / 3000)) : Limits.watchdogGapMilliseconds
        defer {
            for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { Process.unsetEnvironment(name) }
        }
        guard let path = Process.environment("NOTIFY_SOCKET"), !path.isEmpty,
            let socket = try? UnixSocket.connect(.datagram, path: path)
        else {
            socket = .none
            return
        }
        self.socket = socket
    }

    /// A full or vanished socket loses the message: supervision must not stop the work. False where it is full.
    @discardableResult
    public func send(_ state: String) -> Bool {
        guard socket.isOpen else { return true }
        do throws(Errno) { try UnixSocket.send(Array(state.utf8), on: socket) } catch { return error != .again }
        return true
    }

    /// What is the case now, for whoever looks.
    public func status(_ status: String) { send("STATUS=\(status)") }

    /// Where many become ready at once the socket may be full (`net.unix.max_dgram_qlen` is 10 where nobody has raised it): room is
    /// waited for a little, and `alive` says it again.
    public func ready(_ status: String) {
        let end = Clock.monotonicMilliseconds() + Limits.notifyWaitMilliseconds
        while !send("READY=1\nSTATUS=\(status)"), Clock.monotonicMilliseconds() < end {
            socket.waitUntilWritable(milliseconds: Limits.notifyWaitMilliseconds / 10)
        }
    }
    /// A new configuration is being read: READY=1 ends it; see sd_notify(3).
    public func reloading() { send("RELOADING=1\nMONOTONIC_USEC=\(Clock.monotonicNanoseconds() / 1000)") }

    /// The event loop turns: said from a timer of it, every second.
    public func alive(isReady: Bool) { if isWatched { send(isReady ? "READY=1\nWATCHDOG=1" : "WATCHDOG=1") } }

    public func stopping(_ status: String = "") {
        send(status.isEmpty ? "STOPPING=1" : "STOPPING=1\nSTATUS=\(status)")
    }

    /// What is under way goes on for some seconds more; said again while it does.
    public func extendTimeout() { send("EXTEND_TIMEOUT_USEC=\(Limits.extendMilliseconds * 1000)") }

    /// The fields of a received message: `READY=1` and so on.
    public static func parse(_ bytes: [UInt8]) -> [(name: String, value: String)] {
        String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
        }
    }
}
