import Shared
import Synchronization

/// Looks names up on a few threads beside the loop; each name once however many instances use it, at most every 30 s.
final class Resolver {
    struct Answer: Sendable {
        let host: String
        /// Nil: the look-up failed.
        let addresses: [SocketAddress]?
        let reason: String
    }

    /// An instance that waits for an answer, and its generation: it may be gone when that comes.
    typealias Waiting = (instance: Registry.InstanceID, generation: UInt32)

    private struct Entry {
        var name = NameAddresses()
        var askedAt: UInt64?
        var inFlight = false
        var waiting: [Waiting] = []
    }

    /// What the loop and the threads exchange; they share nothing else.
    private final class Mailbox: Sendable {
        let requests = Mutex<[String]>([])
        let answers = Mutex<[Answer]>([])
        let answered: WakeUp
        let asked: WakeUp

        init(answered: WakeUp, asked: WakeUp) {
            self.answered = answered
            self.asked = asked
        }
    }

    private var entries: [String: Entry] = [:]
    private let mailbox: Mailbox

    /// Becomes readable when answers have arrived.
    var descriptor: Descriptor { mailbox.answered.descriptor }

    init() throws(Errno) {
        let asked = try WakeUp()
        // The threads sleep in read(2) on it, one request each.
        try asked.descriptor.setNonBlocking(false)
        let mailbox = Mailbox(answered: try WakeUp(), asked: asked)
        self.mailbox = mailbox
        for _ in 0..<Limits.resolverThreads {
            try SystemThread.start { Self.work(mailbox) }
        }
    }

    private static func work(_ mailbox: Mailbox) {
        while true {
            mailbox.asked.drain()
            while let host = mailbox.requests.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
                let answer: Answer
                do {
                    let addresses = try NameLookup.addresses(of: host, port: 0)
                    answer = Answer(host: host, addresses: Array(addresses.prefix(Limits.addressesPerName)), reason: "")
                } catch {
                    answer = Answer(host: host, addresses: nil, reason: error.reason)
                }
                mailbox.answers.withLock { $0.append(answer) }
                mailbox.answered.signal()
            }
        }
    }

    /// The addresses known for a name; asks anew when they are old. Empty: `instance`, if one is given, is among those that
    /// `takeAnswers` names.
    func addresses(of host: String, port: UInt16, for instance: Waiting?, now: UInt64) -> [SocketAddress] {
        var entry = entries[host] ?? Entry()
        let isOld = entry.askedAt.map { now - $0 >= Limits.resolveAgainMilliseconds } ?? true
        if isOld, !entry.inFlight {
            entry.inFlight = true
            entry.askedAt = now
            mailbox.requests.withLock { $0.append(host) }
            mailbox.asked.signal()
        }
        if let instance, entry.name.addresses.isEmpty, entry.inFlight { entry.waiting.append(instance) }
        entries[host] = entry
        return entry.name.addresses.map { address in
            var address = address
            address.port = port
            return address
        }
    }

    /// What the mass-removal guard holds against the name service, in words.
    var doubts: [String] {
        entries.compactMap { host, entry in
            entry.name.kept == 0
                ? nil
                : "the name \(host) has lost \(entry.name.kept) of \(entry.name.addresses.count) addresses at once: they are kept for now"
        }.sorted()
    }

    /// The answers that have come, each with the instances that waited for it, and the guard's judgement.
    func takeAnswers() -> [(Answer, waiting: [Waiting], NameAddresses.Judgement)] {
        mailbox.answered.drain()
        return mailbox.answers.withLock { answers in
            defer { answers.removeAll() }
            return answers
        }.map { answer in
            var entry = entries[answer.host] ?? Entry()
            let waiting = entry.waiting
            entry.waiting = []
            entry.inFlight = false
            // A failed look-up keeps the last addresses.
            let judgement = entry.name.take(answer.addresses ?? [])
            entries[answer.host] = entry
            return (answer, waiting, judgement)
        }
    }

    /// Whether a look-up of this name is under way.
    func isAsking(_ host: String) -> Bool { entries[host]?.inFlight ?? false }
}
