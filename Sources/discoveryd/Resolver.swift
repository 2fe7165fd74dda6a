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

    private struct Entry {
        var name = NameAddresses()
        var askedAt: UInt64?
        var inFlight = false
        var waiting: [Int] = []
    }

    /// What the loop and the threads exchange; they share nothing else.
    private final class Exchange: Sendable {
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
    private let exchange: Exchange

    /// Becomes readable when answers have arrived.
    var descriptor: Descriptor { exchange.answered.descriptor }

    init() throws(Errno) {
        let asked = try WakeUp()
        // The threads sleep in read(2) on it, one request each.
        try asked.descriptor.setNonBlocking(false)
        let exchange = Exchange(answered: try WakeUp(), asked: asked)
        self.exchange = exchange
        for _ in 0..<Limits.resolverThreads {
            try SystemThread.start { Self.work(exchange) }
        }
    }

    private static func work(_ exchange: Exchange) {
        while true {
            exchange.asked.drain()
            while let host = exchange.requests.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
                let answer: Answer
                do {
                    let addresses = try NameLookup.addresses(of: host, port: 0)
                    answer = Answer(host: host, addresses: Array(addresses.prefix(Limits.addressesPerName)), reason: "")
                } catch {
                    answer = Answer(host: host, addresses: nil, reason: error.reason)
                }
                exchange.answers.withLock { $0.append(answer) }
                exchange.answered.signal()
            }
        }
    }

    /// The addresses known for a name; asks anew when they are old. Empty: `instance`, if one is given, is among those that
    /// `takeAnswers` names.
    func addresses(of host: String, port: UInt16, for instance: Int?, now: UInt64) -> [SocketAddress] {
        var entry = entries[host] ?? Entry()
        let isOld = entry.askedAt.map { now - $0 >= Limits.resolveAgainMilliseconds } ?? true
        if isOld, !entry.inFlight {
            entry.inFlight = true
            entry.askedAt = now
            exchange.requests.withLock { $0.append(host) }
            exchange.asked.signal()
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
    func takeAnswers() -> [(Answer, waiting: [Int], NameAddresses.Judgement)] {
        exchange.answered.drain()
        return exchange.answers.withLock { answers in
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

    /// Instances that wait have other ids from now on, or are gone.
    func rename(_ newID: (Int) -> Int?) {
        for (host, entry) in entries where !entry.waiting.isEmpty {
            entries[host]?.waiting = entry.waiting.compactMap(newID)
        }
    }

    /// Whether a look-up of this name is under way.
    func isAsking(_ host: String) -> Bool { entries[host]?.inFlight ?? false }
}
