/// Sizes as people write them: a number of bytes, or with a unit (IEC 80000-13: KiB, MiB, GiB; SI: kB, MB, GB).
public enum ByteSize {
    private static let units: [(name: String, bytes: UInt64)] = [
        ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1000), ("KB", 1000), ("MB", 1_000_000),
        ("GB", 1_000_000_000), ("B", 1),
    ]

    /// Nil when it is none, or above 2^63-1.
    static func parse(_ text: String) -> UInt64? {
        let unit = units.first { text.hasSuffix($0.name) }
        let digits = text.dropLast(unit?.name.utf8.count ?? 0)
        let (bytes, overflow) = (DecimalDigits.parse(digits.utf8, max: UInt64(Int64.max)) ?? .max)
            .multipliedReportingOverflow(by: unit?.bytes ?? 1)
        return overflow || bytes > UInt64(Int64.max) ? nil : bytes
    }

    /// In the largest unit that gives a whole number: `16KiB`, `1000B`.
    public static func text(_ bytes: UInt64) -> String {
        guard let unit = units[..<3].last(where: { bytes >= $0.bytes && bytes % $0.bytes == 0 }) else {
            return "\(bytes)B"
        }
        return "\(bytes / unit.bytes)\(unit.name)"
    }
}
