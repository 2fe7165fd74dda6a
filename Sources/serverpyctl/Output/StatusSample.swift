import Shared

/// What the supervisor, the discovery server and the kernel say of a running serverpy at one time.
struct StatusSample {
    let supervisor: Document.Value?
    let statistics: Document.Value?
    /// Why nothing is known of a supervisor that is there.
    let trouble: String?
    /// Of each process: hundredths of a second of processor time.
    let ticks: [UInt64: UInt64]
    let nanoseconds: UInt64

    init(
        supervisor: Document.Value?, statistics: Document.Value?, trouble: String? = nil, ticks: [UInt64: UInt64] = [:],
        nanoseconds: UInt64
    ) {
        self.supervisor = supervisor
        self.statistics = statistics
        self.trouble = trouble
        self.ticks = ticks
        self.nanoseconds = nanoseconds
    }

    /// Looks now. Throws only where neither a supervisor nor a discoveryd answers; one that hangs is to be shown, not to be waited
    /// for.
    static func taken(_ options: Options) throws(CommandFault) -> StatusSample {
        let nanoseconds = Clock.monotonicNanoseconds()
        var supervisor: Document.Value?
        var missing: CommandFault?
        do throws(CommandFault) {
            supervisor = try ControlClient.ask("status", options, timeoutMilliseconds: Limits.lookMilliseconds)
        } catch { missing = error }
        var statistics: Document.Value?
        do throws(CommandFault) {
            statistics = try DiscoveryClient(options, timeoutMilliseconds: Limits.lookMilliseconds).json("/stats")
        } catch {
            // discoveryd may be starting; without a supervisor it is all there is.
            if let missing { throw missing }
        }
        // Without a supervisor the forwarders themselves have said who they are.
        let processes = supervisor?["processes"] ?? statistics?["request_processor"]?["forwarders"]
        var ticks: [UInt64: UInt64] = [:]
        for process in processes?.elements.map({ $0 }) ?? [] {
            if let pid = process["pid"]?.unsigned, pid != 0 { ticks[pid] = Self.ticks(pid) }
        }
        // That there is none is the form with units of their own.
        let isTrouble = missing.map { $0.code != ExitCode.notRunning } ?? false
        return StatusSample(
            supervisor: supervisor, statistics: statistics, trouble: isTrouble ? missing?.message : nil, ticks: ticks,
            nanoseconds: nanoseconds)
    }

    /// When the forwarders' counters were read for it; see `/stats`.
    var countedAt: UInt64? { statistics?["request_processor"]?["counted_at_ms"]?.unsigned }

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
