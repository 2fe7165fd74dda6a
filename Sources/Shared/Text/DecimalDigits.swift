/// Strict decimal: digits and nothing else. `Int("+5")` is 5, and that is a smuggling hole.
public enum DecimalDigits {
    /// The number that `bytes` spell, nil when empty, when a byte is no digit, or above `max`.
    public static func parse(_ bytes: some Sequence<UInt8>, max: UInt64 = .max) -> UInt64? {
        var value: UInt64 = 0
        var any = false
        for byte in bytes {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = scaled.addingReportingOverflow(UInt64(byte &- 0x30))
            if overflow || carry || sum > max { return nil }
            value = sum
            any = true
        }
        return any ? value : nil
    }
}
