import Shared

/// What a question has led to.
enum DNSOutcome: Equatable, Sendable {
    case records([DNSResponse.Value], seconds: UInt32)
    /// The name, or what was asked of it, does not exist.
    case absent(seconds: UInt32?)
    /// Nobody has said anything that counts; why, in words.
    case noAnswer(String)

    /// CNAMEs that are followed within a response.
    private static let aliases = 16

    /// What a response says of its question. Nil: it is truncated, and the question is to be asked over TCP.
    init?(_ response: DNSResponse) {
        switch response.code {
        case 0:
            if response.isTruncated { return nil }
            self = Self.records(response)
        case 3: self = .absent(seconds: response.absenceSeconds)
        case 2: self = .noAnswer("the name server failed (SERVFAIL)")
        case 5: self = .noAnswer("the name server refused (REFUSED)")
        default: self = .noAnswer("the name server says error \(response.code)")
        }
    }

    private static func records(_ response: DNSResponse) -> DNSOutcome {
        var owner = response.question.name
        var seconds = UInt32.max
        for _ in 0..<aliases {
            var values: [DNSResponse.Value] = []
            var alias: DNSName?
            for record in response.records where record.owner == owner {
                switch (record.value, response.question.type) {
                case (.address(let address), .a) where address.family == .ipv4,
                    (.address(let address), .aaaa) where address.family == .ipv6:
                    values.append(.address(address))
                case (.service, .srv): values.append(record.value)
                case (.alias(let target), _): alias = target
                default: continue
                }
                seconds = min(seconds, record.seconds)
            }
            if !values.isEmpty { return .records(values, seconds: seconds) }
            guard let alias else { break }
            owner = alias
        }
        return .absent(seconds: response.absenceSeconds.map { min($0, seconds) })
    }
}
