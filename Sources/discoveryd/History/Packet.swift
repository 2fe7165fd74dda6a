import Shared

/// Why a poll ended as it did.
enum PollCause: UInt8, CaseIterable, Sendable {
    case ok = 0
    case refused, timedOut, reset, badStatus, badHTTP, unresolved, unreachable, closed, ownFault

    /// The original's words for how it ended.
    var finalStatus: String {
        switch self {
        case .ok: "active"
        case .badStatus, .badHTTP: "inactive"
        case .refused, .timedOut, .reset, .unresolved, .unreachable, .closed: "service unreachable"
        case .ownFault: "discovery server error"
        }
    }

    /// One word for metrics.
    var label: String {
        switch self {
        case .ok: "ok"
        case .refused: "refused"
        case .timedOut: "timed_out"
        case .reset: "reset"
        case .badStatus: "bad_status"
        case .badHTTP: "bad_http"
        case .unresolved: "unresolved"
        case .unreachable: "unreachable"
        case .closed: "closed"
        case .ownFault: "own_fault"
        }
    }

    /// What the instance did, in words; `status` is the answer's code, 0 for none; where the answer was not HTTP it is what was
    /// wrong with it (`HTTPFault.Kind`).
    func response(status: UInt16) -> String {
        switch self {
        case .ok: status == 0 ? "reachable" : "status \(status)"
        case .refused: "connection refused"
        case .timedOut: "timed out"
        case .reset: "connection reset"
        case .badStatus: "bad status \(status)"
        case .badHTTP:
            HTTPFault.Kind(rawValue: status).map { $0 == .other ? "bad HTTP" : "bad HTTP: \($0.words)" } ?? "bad HTTP"
        case .unresolved: "name not resolved"
        case .unreachable: "unreachable"
        case .closed: "closed without an answer"
        case .ownFault: "not polled: our own fault"
        }
    }

    init(_ error: Errno) {
        if error.isOurOwn {
            self = .ownFault
        } else if error == .connectionRefused {
            self = .refused
        } else if error == .connectionReset || error == .brokenPipe {
            self = .reset
        } else if error == .timedOut {
            self = .timedOut
        } else {
            self = .unreachable
        }
    }
}

/// One poll's outcome.
struct PollResult: Equatable, Sendable {
    var cause: PollCause
    /// The answer's status code; 0 for none. Of an answer that is not HTTP: an `HTTPFault.Kind`.
    var status: UInt16 = 0
    var durationMicroseconds: UInt64 = 0

    var isGood: Bool { cause == .ok }

    /// What the instance did, in words.
    var response: String { cause.response(status: status) }
}

/// A poll's outcome in 24 bits: what a packet holds beside its time.
struct PollOutcome: Equatable, Sendable {
    let rawValue: UInt32

    /// No poll yet.
    static let none = PollOutcome(rawValue: .max)

    init(rawValue: UInt32) { self.rawValue = rawValue }

    init(_ result: PollResult) {
        rawValue =
            UInt32(Packet.encode(result.durationMicroseconds)) << 14 | UInt32(result.cause.rawValue) << 10
            | UInt32(min(result.status, 1023))
    }

    /// Nil: no poll yet.
    var result: PollResult? {
        if self == .none { return nil }
        return PollResult(
            cause: PollCause(rawValue: UInt8(truncatingIfNeeded: rawValue >> 10 & 15)) ?? .ownFault,
            status: UInt16(truncatingIfNeeded: rawValue & 0x3ff),
            durationMicroseconds: Packet.decode(UInt16(truncatingIfNeeded: rawValue >> 14 & 0x3ff)))
    }
}

/// One poll in history, in 56 bits: start relative to its chunk (32 bits of milliseconds), duration (10 bits, microseconds
/// within 1.6 %), cause (4 bits), status (10 bits).
struct Packet: Equatable, Sendable {
    static let bits: UInt64 = 56
    let rawValue: UInt64

    init(rawValue: UInt64) { self.rawValue = rawValue & (1 << Self.bits - 1) }

    init(offsetMilliseconds: UInt32, _ outcome: PollOutcome) {
        rawValue = UInt64(offsetMilliseconds) << 24 | UInt64(outcome.rawValue & 0xff_ffff)
    }

    var offsetMilliseconds: UInt64 { rawValue >> 24 }

    var outcome: PollOutcome { PollOutcome(rawValue: UInt32(truncatingIfNeeded: rawValue & 0xff_ffff)) }

    /// A small floating point: 5 bits of significance, rounded, so that the error stays below 1/63. Up to 18 hours.
    static func encode(_ value: UInt64) -> UInt16 {
        if value < 64 { return UInt16(value) }
        if value >= 63 << 30 { return 1023 }
        let shift = UInt64(63 - value.leadingZeroBitCount - 5)
        let rounded = (value &+ (1 << (shift - 1))) >> shift
        // Rounding up may carry into the next power of two.
        let (exponent, mantissa) = rounded == 64 ? (shift + 1, 32) : (shift, rounded)
        return UInt16(truncatingIfNeeded: min(1023, (exponent + 1) << 5 | mantissa & 31))
    }

    static func decode(_ code: UInt16) -> UInt64 {
        if code < 64 { return UInt64(code) }
        let exponent = UInt64(code >> 5) - 1
        return (32 | UInt64(code & 31)) << exponent
    }
}
