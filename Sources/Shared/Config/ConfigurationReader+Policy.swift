/// How requests of a service are forwarded: time-outs, balance, retries, limits.
extension ConfigurationReader {
    static let timeoutKeys = ["connect", "first_byte", "idle", "tunnel", "queue"]

    mutating func timeouts(_ value: Value, _ policy: inout ServicePolicy) {
        guard value.kind == .mapping else {
            return error(value, "`timeouts` is \(value.kind.name); a map of \(list(Self.timeoutKeys)) is needed")
        }
        for (key, value) in value.members {
            switch key.text {
            case "connect":
                if let time = duration(key, value, 1...3_600_000) { policy.connectTimeoutMilliseconds = time }
            case "first_byte":
                if let time = duration(key, value, 1...86_400_000) { policy.firstByteTimeoutMilliseconds = time }
            case "idle": if let time = duration(key, value, 1...86_400_000) { policy.idleTimeoutMilliseconds = time }
            case "tunnel":
                if let time = duration(key, value, 1...86_400_000) { policy.tunnelTimeoutMilliseconds = time }
            case "queue": if let time = duration(key, value, 1...3_600_000) { policy.queueTimeoutMilliseconds = time }
            default: unknown(key, Self.timeoutKeys, in: "`timeouts`")
            }
        }
    }

    /// A word, or `{hash: client}`, `{hash: "header:NAME"}`, `{hash: "cookie:NAME"}`.
    mutating func balance(_ key: Value, _ value: Value) -> BalancePolicy? {
        guard value.kind == .mapping else { return word(key, value, BalancePolicy.names).flatMap(BalancePolicy.init) }
        var policy: BalancePolicy?
        for (key, value) in value.members {
            guard key.text == "hash" else {
                unknown(key, ["hash"], in: "a map for `balance`")
                continue
            }
            if let by = scalarText(value).flatMap(BalancePolicy.HashKey.init) {
                policy = .hash(by)
            } else {
                error(value, "`hash` is \(found(value)); `client`, `header:NAME` or `cookie:NAME` is needed")
            }
        }
        if value.count == 0 {
            error(value, "`balance` is an empty map; `hash` is needed in it, or a word instead of it")
        }
        return policy
    }

    static let retryKeys = ["tries", "budget"]

    /// `off`, or a map of `tries` and `budget`.
    mutating func retry(_ key: Value, _ value: Value, _ policy: inout ServicePolicy) {
        guard value.kind == .mapping else {
            if isFalse(value) || word(key, value, ["off"], also: ", or a map of \(list(Self.retryKeys))") != nil {
                policy.tries = 1
            }
            return
        }
        for (key, value) in value.members {
            switch key.text {
            case "tries":
                if let count = integer(key, value, 1...Limits.instancesTriedPerRequest) { policy.tries = count }
            case "budget": if let percent = integer(key, value, 0...100) { policy.retryBudgetPercent = percent }
            default: unknown(key, Self.retryKeys, in: "`retry`")
            }
        }
    }
}
