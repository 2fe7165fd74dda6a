import Shared

/// What the supervisor, the discovery server and the kernel say of a running serverpy at one time.
struct StatusSample {
    let supervisor: Document.Value?
    let statistics: Document.Value?
    /// Of each process: hundredths of a second of processor time.
    let ticks: [UInt64: UInt64]
    let nanoseconds: UInt64

    /// Throws only where neither a supervisor nor a discoveryd is there.
    init(_ options: Options) throws(CommandFault) {
        nanoseconds = Clock.monotonicNanoseconds()
        var supervisor: Document.Value?
        var missing: CommandFault?
        do throws(CommandFault) { supervisor = try ControlClient.ask("status", options) } catch { missing = error }
        var statistics: Document.Value?
        do throws(CommandFault) {
            // One that hangs is to be shown, not to be waited for.
            statistics = try DiscoveryClient(options, timeoutMilliseconds: 1_000).json("/stats")
        } catch {
            // discoveryd may be starting; without a supervisor it is all there is.
            if let missing { throw missing }
        }
        self.supervisor = supervisor
        self.statistics = statistics
        // Without a supervisor the forwarders themselves have said who they are.
        let processes = supervisor?["processes"] ?? statistics?["request_processor"]?["forwarders"]
        var ticks: [UInt64: UInt64] = [:]
        for process in processes?.elements.map({ $0 }) ?? [] {
            if let pid = process["pid"]?.unsigned, pid != 0 { ticks[pid] = Self.ticks(pid) }
        }
        self.ticks = ticks
    }

    /// See proc_pid_stat(5).
    private static func ticks(_ pid: UInt64) -> UInt64 {
        guard let bytes = try? Files.read("/proc/\(pid)/stat", maxBytes: 4096) else { return 0 }
        // The name in parentheses may hold anything.
        let nameEnd = bytes.lastIndex(of: 0x29) ?? 0
        let fields = bytes[nameEnd...].split(separator: 0x20)
        guard fields.count > 13 else { return 0 }
        return (DecimalDigits.parse(fields[12]) ?? 0) &+ (DecimalDigits.parse(fields[13]) ?? 0)
    }
}
