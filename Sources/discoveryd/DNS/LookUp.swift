import Shared

/// What a name is looked up for.
enum NameKind: Hashable, Sendable {
    /// The addresses of a host.
    case host
    /// The hosts and ports of a service (RFC 2782).
    case service
}

/// One look-up of one name: the full names that it may mean, one after the other, and of each the records of both families. A value without
/// sockets.
struct LookUp: Sendable {
    /// What it has found.
    struct Found: Equatable, Sendable {
        /// What the name has; empty: it has nothing, or does not exist.
        var values: [DNSResponse.Value] = []
        /// For how long that may be believed; nil: nothing is said of that.
        var seconds: UInt32?
        /// Families of which nobody has said anything: what was known of them stands.
        var unanswered: [SocketAddress.Family] = []
    }

    enum Result: Equatable, Sendable {
        case found(Found)
        case noAnswer(String)
    }

    private let types: [DNSQuestion.RecordType]
    private let candidates: [DNSName]
    private var next = 0
    private var outcomes: [DNSOutcome] = []
    private var absenceSeconds: UInt32?
    private var failure: String?
    /// Something is known of the name already: then a name further down the search list says nothing while one above it is not answered.
    private let isKnown: Bool

    init(_ name: String, _ kind: NameKind, _ settings: ResolverFile, isKnown: Bool) {
        types = kind == .host ? [.a, .aaaa] : [.srv]
        candidates = settings.candidates(of: name)
        self.isKnown = isKnown
    }

    /// The questions to ask first.
    var firstQuestions: [DNSQuestion] { candidates.first.map(questions) ?? [] }

    private func questions(_ name: DNSName) -> [DNSQuestion] { types.map { DNSQuestion(name: name, type: $0) } }

    enum Step: Equatable {
        case wait
        case ask([DNSQuestion])
        case end(Result)
    }

    /// One of the questions has ended.
    mutating func receive(_ outcome: DNSOutcome, of question: DNSQuestion) -> Step {
        outcomes.append(outcome)
        guard outcomes.count == types.count else { return .wait }
        defer { outcomes = [] }
        var found = Found()
        var absence: UInt32?
        var reason: String?
        for outcome in outcomes {
            switch outcome {
            case .records(let values, let seconds):
                found.values += values
                found.seconds = min(found.seconds ?? .max, seconds)
            case .absent(let seconds): if let seconds { absence = min(absence ?? .max, seconds) }
            case .noAnswer(let why): reason = why
            }
        }
        if !found.values.isEmpty {
            if reason != nil { found.unanswered = Self.families(missingIn: found.values) }
            return .end(.found(found))
        }
        if let reason {
            if isKnown { return .end(.noAnswer(reason)) }
            failure = reason
        }
        if let absence { absenceSeconds = min(absenceSeconds ?? .max, absence) }
        next += 1
        if next < candidates.count { return .ask(questions(candidates[next])) }
        if let failure { return .end(.noAnswer(failure)) }
        return .end(.found(Found(seconds: absenceSeconds)))
    }

    private static func families(missingIn values: [DNSResponse.Value]) -> [SocketAddress.Family] {
        [.ipv4, .ipv6].filter { family in
            !values.contains { if case .address(let address) = $0 { address.family == family } else { false } }
        }
    }
}
