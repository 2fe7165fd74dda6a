import Shared

/// One question on its way from name server to name server, until one of them answers or none has. A value without sockets.
struct DNSInquiry: Sendable {
    enum Event: Equatable {
        case response(DNSResponse)
        /// It could not be asked, or no answer came: why, in words.
        case failed(String)
    }

    enum Step: Equatable {
        /// Ask as the properties say.
        case ask
        case end(DNSOutcome)
    }

    let question: DNSQuestion
    /// Which of the name servers is asked.
    private(set) var server: Int
    private(set) var isOverTCP = false
    private(set) var usesOptions = true
    private var tries = 0
    private let servers: Int
    private let settings: ResolverFile

    /// `first`: the server that is asked first.
    init(_ question: DNSQuestion, _ settings: ResolverFile, first: Int) {
        self.question = question
        self.settings = settings
        servers = max(1, settings.servers.count)
        server = first % servers
    }

    /// How long to wait for an answer: twice as long in each further round.
    var timeoutMilliseconds: UInt64 { settings.timeoutMilliseconds << UInt64(min(tries / servers, 4)) }

    mutating func receive(_ event: Event) -> Step {
        switch event {
        case .response(let response):
            // A server from before EDNS (RFC 6891 7): the same question, in the old way.
            if usesOptions, response.code == 1 || response.code == 4 || response.code == 16 {
                usesOptions = false
                return .ask
            }
            guard let outcome = DNSOutcome(response) else {
                // Over TCP nothing is truncated.
                if isOverTCP { return next("the name server's answer is truncated") }
                isOverTCP = true
                return .ask
            }
            if case .noAnswer(let reason) = outcome { return next(reason) }
            return .end(outcome)
        case .failed(let reason): return next(reason)
        }
    }

    private mutating func next(_ reason: String) -> Step {
        tries += 1
        guard tries < servers * settings.attempts else { return .end(.noAnswer(reason)) }
        server = (server + 1) % servers
        isOverTCP = false
        usesOptions = true
        return .ask
    }
}
