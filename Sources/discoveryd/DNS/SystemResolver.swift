import Shared
import Synchronization

/// Asks the system for the addresses of hosts (getaddrinfo(3)), on a few threads beside the loop: `resolver: {use: system}`. Its threads live
/// from the first question on.
struct SystemResolver {
    struct Answer: Sendable {
        let owner: Int
        let generation: UInt32
        let result: LookUp.Result
    }

    fileprivate struct Request {
        let host: String
        let owner: Int
        let generation: UInt32
    }

    /// What the loop and the threads exchange; they share nothing else.
    private final class Mailbox: Sendable {
        let requests = Mutex<[Request]>([])
        let answers = Mutex<[Answer]>([])
        let answered: WakeUp
        let asked: WakeUp

        init(answered: WakeUp, asked: WakeUp) {
            self.answered = answered
            self.asked = asked
        }

        /// The next request. While there are more, another thread is woken: no name waits for another.
        func take() -> Request? {
            let (request, hasMore) = requests.withLock { waiting in
                let first = waiting.isEmpty ? nil : waiting.removeFirst()
                return (first, !waiting.isEmpty)
            }
            if hasMore { asked.signal() }
            return request
        }
    }

    private let mailbox: Mailbox
    private var threads = 0

    /// Becomes readable when answers have arrived.
    var descriptor: Descriptor { mailbox.answered.descriptor }

    init() throws(Errno) {
        let asked = try WakeUp()
        // The threads sleep in read(2) on it, one request each.
        try asked.descriptor.setNonBlocking(false)
        mailbox = Mailbox(answered: try WakeUp(), asked: asked)
    }

    private static func work(_ mailbox: Mailbox) {
        while true {
            mailbox.asked.drain()
            while let request = mailbox.take() {
                let answer = Answer(owner: request.owner, generation: request.generation, result: result(request.host))
                mailbox.answers.withLock { $0.append(answer) }
                mailbox.answered.signal()
            }
        }
    }

    private static func result(_ host: String) -> LookUp.Result {
        do {
            let addresses = try NameLookup.addresses(of: host, port: 0)
            // The system does not say for how long an answer is good.
            return .found(
                LookUp.Found(
                    values: addresses.prefix(Limits.addressesPerName).map { .address($0) },
                    seconds: UInt32(Limits.systemLookUpHeldMilliseconds / 1000)))
        } catch {
            return error.isAbsence ? .found(LookUp.Found()) : .noAnswer(error.reason)
        }
    }

    /// `owner`: what the answer will carry.
    mutating func ask(_ host: String, owner: Int, generation: UInt32) throws(Errno) {
        // One that cannot be started is missed only where there is none at all.
        while threads < Limits.resolverThreads {
            let mailbox = mailbox
            do throws(Errno) { try SystemThread.start { Self.work(mailbox) } } catch {
                if threads == 0 { throw error }
                break
            }
            threads += 1
        }
        mailbox.requests.withLock { $0.append(Request(host: host, owner: owner, generation: generation)) }
        mailbox.asked.signal()
    }

    func takeAnswers() -> [Answer] {
        mailbox.answered.drain()
        return mailbox.answers.withLock { answers in
            defer { answers.removeAll() }
            return answers
        }
    }
}
