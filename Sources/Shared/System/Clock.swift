import CLinux
import Glibc

/// The two clocks of this system.
public enum Clock {
    /// Nanoseconds since boot, never set back. The corresponding C function is clock_gettime(2), CLOCK_MONOTONIC.
    @inline(__always)
    public static func monotonicNanoseconds() -> UInt64 { read(CLOCK_MONOTONIC) }

    /// Milliseconds since boot, never set back.
    public static func monotonicMilliseconds() -> UInt64 { monotonicNanoseconds() / 1_000_000 }

    /// Milliseconds since 1970 UTC; may be set. CLOCK_REALTIME.
    public static func wallMilliseconds() -> UInt64 { read(CLOCK_REALTIME) / 1_000_000 }

    /// For programs without an event loop. The corresponding C function is nanosleep(2).
    public static func sleep(milliseconds: UInt64) {
        var time = timespec(tv_sec: Int(milliseconds / 1000), tv_nsec: Int(milliseconds % 1000) * 1_000_000)
        _ = unsafe nanosleep(&time, nil)
    }

    @inline(__always)
    private static func read(_ id: clockid_t) -> UInt64 {
        var time = timespec()
        _ = unsafe clock_gettime(id, &time)
        return UInt64(clamping: time.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: time.tv_nsec)
    }
}

/// Bytes nobody can guess. The corresponding C function is getrandom(2).
public enum SystemRandom {
    public static func word() -> UInt64 {
        var value: UInt64 = 0
        while unsafe withUnsafeMutableBytes(of: &value, { unsafe getrandom($0.baseAddress, 8, 0) }) != 8 {}
        return value
    }
}
