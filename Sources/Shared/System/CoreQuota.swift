/// The processor time that a control group gives, as cores; see cgroups(7) and the kernel's cgroup-v2 document, cpu.max.
public enum CoreQuota {
    /// Of the content of `cpu.max`, `QUOTA PERIOD` in microseconds: whole cores, rounded up. Nil: there is no limit (`max`).
    public static func cores(_ content: [UInt8]) -> Int? {
        let fields = content.split { $0 == 0x20 || $0 == 0x0a }
        guard fields.count == 2, let quota = DecimalDigits.parse(fields[0]),
            let period = DecimalDigits.parse(fields[1]),
            quota > 0, period > 0
        else { return nil }
        return Int(clamping: min((quota - 1) / period, UInt64(Int32.max)) + 1)
    }

    /// The path of this process's group in `/proc/self/cgroup` (version 2: the line `0::PATH`).
    public static func group(_ content: [UInt8]) -> String? {
        for line in content.split(separator: 0x0a) where line.starts(with: "0::/".utf8) {
            return String(decoding: line.dropFirst(3), as: UTF8.self)
        }
        return nil
    }

    /// The least of this process's group and those above it; nil: no limit, or none that can be seen.
    static func current(root: String = "/sys/fs/cgroup", self file: String = "/proc/self/cgroup") -> Int? {
        guard let content = try? Files.read(file, maxBytes: 65_536), var path = group(content) else { return nil }
        var least: Int?
        while true {
            let name = root + (path == "/" ? "" : path) + "/cpu.max"
            if let content = try? Files.read(name, maxBytes: 4096), let cores = cores(content) {
                least = min(least ?? cores, cores)
            }
            guard path != "/", !path.isEmpty, let cut = path.lastIndex(of: "/") else { return least }
            path = cut == path.startIndex ? "/" : String(path[..<cut])
        }
    }
}
