/// How an instance is polled, and what decides whether an answer is good.
extension ConfigurationReader {
    static let pollingKeys = [
        "method", "endpoint", "frequency", "retries", "retry_delay", "packet_limit", "priority", "timeout", "rise",
        "down_frequency", "expect", "headers", "weight",
    ]

    /// `own`: the instance has its own polling, where priority and weight are allowed.
    mutating func polling(_ value: Value, own: Bool) -> (polling: Polling, weight: Int)? {
        guard value.kind == .mapping else {
            error(value, "polling is \(value.kind.name); a map with `method` is needed")
            return nil
        }
        var polling = Polling(method: .ping)
        var method: String?
        var endpoint: (value: Value, path: String)?
        var retryDelay: Value?
        var hasRetries = false
        var timeout: (value: Value, isGood: Bool)?
        var down: UInt64?
        var weight = 1
        var isFrequencyGood = true
        let before = errors
        for (key, value) in value.members {
            switch key.text {
            case "method": method = word(key, value, ["health", "ping"])
            case "endpoint": endpoint = endpointPath(key, value).map { (key, $0) }
            case "frequency":
                let time = duration(key, value, 10...86_400_000)
                isFrequencyGood = time != nil
                polling.frequencyMilliseconds = time ?? polling.frequencyMilliseconds
            case "retries":
                let count = integer(key, value, 0...100)
                hasRetries = count != 0
                polling.retries = count ?? 0
            case "retry_delay":
                retryDelay = value
                if let time = duration(key, value, 0...3_600_000) { polling.retryDelayMilliseconds = time }
            case "packet_limit":
                if let count = integer(key, value, 1...Limits.packetsPerInstanceMaximum) { polling.packetLimit = count }
            case "timeout":
                let time = duration(key, value, 1...3_600_000)
                timeout = (value, time != nil)
                polling.timeoutMilliseconds = time ?? polling.timeoutMilliseconds
            case "rise": if let count = integer(key, value, 1...100) { polling.rise = count }
            case "down_frequency": down = duration(key, value, 10...86_400_000)
            case "headers": polling.headers = headers(value)
            case "expect": if let ranges = statusRanges(key, value) { polling.expect = ranges }
            case "priority", "weight":
                guard own else {
                    error(
                        key,
                        "`\(key.text)` is accepted only where each server has its own polling: write `servers` as a map"
                    )
                    continue
                }
                if key.text == "weight" {
                    if let number = integer(key, value, 1...100) { weight = number }
                } else if let name = word(key, value, Priority.allCases.map(\.name)),
                    let priority = Priority(name: name)
                {
                    polling.priority = priority
                }
            default: unknown(key, Self.pollingKeys, in: "polling")
            }
        }
        if method == nil, !value.members.contains(where: { $0.key.text == "method" }) {
            error(value, "polling has no `method`; `health` or `ping` is needed")
        }
        if method == "health" {
            if let endpoint {
                polling.method = .health(endpoint: endpoint.path)
            } else if !value.members.contains(where: { $0.key.text == "endpoint" }) {
                error(value, "`method: health` needs an `endpoint`, such as /health")
            }
        } else if method == "ping", let endpoint {
            error(endpoint.value, "`endpoint` belongs to `method: health`; `ping` has none")
        }
        if method == "ping", !polling.headers.isEmpty {
            error(value, "`headers` belong to `method: health`; `ping` has none")
        }
        if let retryDelay, !value.members.contains(where: { $0.key.text == "retries" }) {
            note(.warning, retryDelay, "`retry_delay` has no meaning without `retries`, which is 0")
        }
        if hasRetries, retryDelay == nil {
            error(value, "`retries` is given and not 0, then `retry_delay` (seconds) is required")
        }
        if let timeout {
            if timeout.isGood, isFrequencyGood, polling.timeoutMilliseconds > polling.frequencyMilliseconds {
                error(
                    timeout.value,
                    "`timeout` must not exceed `frequency` (\(Duration.text(polling.frequencyMilliseconds)))")
            }
        } else {
            polling.timeoutMilliseconds = min(Limits.pollTimeoutMilliseconds, polling.frequencyMilliseconds)
        }
        polling.downFrequencyMilliseconds = down ?? min(polling.frequencyMilliseconds, Limits.downFrequencyMilliseconds)
        return errors == before ? (polling, weight) : nil
    }

    mutating func endpointPath(_ key: Value, _ value: Value) -> String? {
        guard let path = text(key, value) else { return nil }
        guard path.hasPrefix("/"), path.utf8.allSatisfy(Grammar.isTarget) else {
            error(
                value,
                "`endpoint` is `\(Text.shown(path.utf8))`; a path that begins with / and holds neither spaces, # nor control characters is needed"
            )
            return nil
        }
        return path
    }

    /// A map of field names to values; those that the poll itself needs cannot be given.
    mutating func headers(_ value: Value) -> [PollHeader] {
        guard value.kind == .mapping else {
            error(value, "`headers` is \(value.kind.name); a map from field names to values is needed")
            return []
        }
        var headers: [PollHeader] = []
        for (key, value) in value.members {
            let name = key.text
            let isName = !name.isEmpty && name.utf8.allSatisfy(Grammar.isToken)
            if !isName { error(key, "`\(Text.shown(name.utf8))` is no name of an HTTP field\(Text.unseen(name.utf8))") }
            if ["content-length", "transfer-encoding", "connection", "upgrade", "te"].contains(name.lowercased()) {
                error(key, "`\(name)` is decided by the poll itself")
                continue
            }
            guard let text = scalarText(value), text.utf8.count <= 1024, text.utf8.allSatisfy(Grammar.isFieldValue)
            else {
                // It may be a secret.
                let found =
                    scalarText(value).map {
                        $0.utf8.count > 1024 ? "longer than 1024 bytes" : "text with a control character"
                    }
                    ?? foundText(value)
                error(
                    value,
                    "the value of `\(Text.shown(name.utf8))` is \(found); text of up to 1024 bytes without control characters is needed"
                )
                continue
            }
            if headers.contains(where: { $0.name.lowercased() == name.lowercased() }) {
                error(key, "the field `\(name)` is there twice: the case of its letters makes no difference")
            } else if isName {
                headers.append(PollHeader(name: name, value: text))
            }
        }
        if headers.count > 32 { error(value, "`headers` holds \(headers.count) fields; at most 32 are allowed") }
        return headers
    }

    /// A code, a range `200-299`, or a list of these.
    mutating func statusRanges(_ key: Value, _ value: Value) -> [StatusRange]? {
        var ranges: [StatusRange] = []
        for element in value.kind == .sequence ? Array(value.elements) : [value] {
            guard let range = statusRange(element) else {
                error(
                    element,
                    "`expect` holds \(found(element)); a status code from 100 to 599 or a range such as 200-299 is needed"
                )
                continue
            }
            ranges.append(range)
        }
        if ranges.isEmpty, value.kind == .sequence, value.count == 0 {
            error(value, "`expect` is empty; at least one status code is needed")
        }
        return ranges.isEmpty ? nil : ranges
    }
}
