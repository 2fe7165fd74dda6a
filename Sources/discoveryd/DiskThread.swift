import Shared
import Synchronization

/// The one thread that writes to the disk: the loop hands it bytes and goes on; what became of them comes back as an event.
final class DiskThread {
    enum Job: Sendable {
        /// The file is replaced as a whole: a crash leaves the old or the new one.
        case replace(name: String, [UInt8])
        case append(name: String, [UInt8])
    }

    /// Nil: done.
    typealias Outcome = Errno?

    private final class Exchange: Sendable {
        let jobs = Mutex<[Job]>([])
        let outcomes = Mutex<[Outcome]>([])
        let asked: WakeUp
        let done: WakeUp

        init(asked: WakeUp, done: WakeUp) {
            self.asked = asked
            self.done = done
        }
    }

    private let exchange: Exchange

    /// Becomes readable when jobs have been done.
    var descriptor: Descriptor { exchange.done.descriptor }

    init(_ directory: Descriptor) throws(Errno) {
        let asked = try WakeUp()
        // The thread sleeps in read(2) on it.
        try asked.descriptor.setNonBlocking(false)
        let exchange = Exchange(asked: asked, done: try WakeUp())
        self.exchange = exchange
        try SystemThread.start { Self.work(exchange, directory) }
    }

    private static func work(_ exchange: Exchange, _ directory: Descriptor) {
        while true {
            exchange.asked.drain()
            while let job = exchange.jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
                var outcome: Outcome
                do throws(Errno) {
                    switch job {
                    case .replace(let name, let bytes): try Files.replace(name, in: directory, with: bytes)
                    case .append(let name, let bytes): try Files.append(bytes, to: name, in: directory)
                    }
                    outcome = nil
                } catch {
                    outcome = error
                }
                exchange.outcomes.withLock { $0.append(outcome) }
                exchange.done.signal()
            }
        }
    }

    func give(_ job: Job) {
        exchange.jobs.withLock { $0.append(job) }
        exchange.asked.signal()
    }

    func takeOutcomes() -> [Outcome] {
        exchange.done.drain()
        return exchange.outcomes.withLock { outcomes in
            defer { outcomes.removeAll() }
            return outcomes
        }
    }
}
