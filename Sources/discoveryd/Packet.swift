import Shared

/// Why a poll ended as it did.
enum PollCause: UInt8, Sendable {
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

    /// What the instance did, in words; `status` is the answer's code, 0 for none.
    func response(status: UInt16) -> String {
        switch self {
        case .ok: status == 0 ? "reachable" : "status \(status)"
        case .refused: "connection refused"
        case .timedOut: "timed out"
        case .reset: "connection reset"
        case .badStatus: "bad status \(status)"
        case .badHTTP: "bad HTTP"
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
    /// The answer's status code; 0 for none.
    var status: UInt16 = 0
    var durationMilliseconds: UInt64 = 0

    var isGood: Bool { cause == .ok }
}

/// One poll in history, in 8 bytes: start relative to its chunk (32 bits of milliseconds), duration within 2 % (12 bits),
/// cause (4 bits), status (10 bits).
struct Packet: Equatable, Sendable {
    let rawValue: UInt64

    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(offsetMilliseconds: UInt32, _ result: PollResult) {
        rawValue =
            UInt64(offsetMilliseconds) << 32 | UInt64(Self.encode(result.durationMilliseconds)) << 16
            | UInt64(result.cause.rawValue) << 12 | UInt64(min(result.status, 1023))
    }

    var offsetMilliseconds: UInt64 { rawValue >> 32 }
    var durationMilliseconds: UInt64 { Self.decode(UInt16(truncatingIfNeeded: rawValue >> 16)) }
    var cause: PollCause { PollCause(rawValue: UInt8(truncatingIfNeeded: rawValue >> 12 & 15)) ?? .ownFault }
    var status: UInt16 { UInt16(truncatingIfNeeded: rawValue & 0x3ff) }

    /// A small floating point: 6 bits of significance, so that the error stays below 1/64.
    static func encode(_ value: UInt64) -> UInt16 {
        if value < 128 { return UInt16(value) }
        let exponent = 63 - value.leadingZeroBitCount - 6
        let mantissa = value >> UInt64(exponent) & 63
        return UInt16(truncatingIfNeeded: UInt64(exponent + 1) << 6 | mantissa)
    }

    static func decode(_ code: UInt16) -> UInt64 {
        if code < 128 { return UInt64(code) }
        let exponent = UInt64(code >> 6) - 1
        return (64 | UInt64(code & 63)) << exponent
    }
}
