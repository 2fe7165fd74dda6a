import Shared
import Synchronization

/// The one thread that writes to the disk: the loop hands it bytes and goes on; what became of them comes back as an event.
final class DiskThread {
    enum Job: Sendable {
        /// The file is replaced as a whole: a crash leaves the old or the new one.
        case replace(name: String, [UInt8])
        case append(name: String, [UInt8])
        /// A new file.
        case create(name: String, [UInt8])
        case remove(name: String)
    }

    /// For whom a job is done.
    enum Owner: Sendable { case state, history, snapshot }

    struct Outcome: Sendable {
        let owner: Owner
        /// Nil: done.
        let error: Errno?
    }

    private final class Mailbox: Sendable {
        let jobs = Mutex<[(job: Job, owner: Owner)]>([])
        let outcomes = Mutex<[Outcome]>([])
        /// Jobs that have not been done.
        let open = Mutex<Int>(0)
        let asked: WakeUp
        let done: WakeUp

        init(asked: WakeUp, done: WakeUp) {
            self.asked = asked
            self.done = done
        }
    }

    private let mailbox: Mailbox

    /// Becomes readable when jobs have been done.
    var descriptor: Descriptor { mailbox.done.descriptor }

    init(_ directory: Descriptor) throws(Errno) {
        let asked = try WakeUp()
        // The thread sleeps in read(2) on it.
        try asked.descriptor.setNonBlocking(false)
        let mailbox = Mailbox(asked: asked, done: try WakeUp())
        self.mailbox = mailbox
        try SystemThread.start { Self.work(mailbox, directory) }
    }

    private static func work(_ mailbox: Mailbox, _ directory: Descriptor) {
        while true {
            mailbox.asked.drain()
            while let (job, owner) = mailbox.jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
                var failure: Errno?
                do throws(Errno) {
                    switch job {
                    case .replace(let name, let bytes): try Files.replace(name, in: directory, with: bytes)
                    case .append(let name, let bytes): try Files.append(bytes, to: name, in: directory)
                    case .create(let name, let bytes):
                        do throws(Errno) {
                            try Files.append(bytes, to: name, in: directory, makes: true)
                        } catch {
                            // A disk that is full is not filled with empty files.
                            if error != .exists { Files.remove(name, in: directory) }
                            throw error
                        }
                    case .remove(let name): Files.remove(name, in: directory)
                    }
                } catch {
                    failure = error
                }
                let outcome = Outcome(owner: owner, error: failure)
                mailbox.outcomes.withLock { $0.append(outcome) }
                mailbox.open.withLock { $0 -= 1 }
                mailbox.done.signal()
            }
        }
    }

    func give(_ job: Job, _ owner: Owner) {
        mailbox.open.withLock { $0 += 1 }
        mailbox.jobs.withLock { $0.append((job, owner)) }
        mailbox.asked.signal()
    }

    /// Waits until all jobs have been done, or the time is up.
    func finish(milliseconds: UInt64) {
        guard let queue = try? EventQueue(eventsPerTurn: 1),
            (try? queue.add(mailbox.done.descriptor, token: 0, interest: [.readable])) != nil
        else { return }
        let end = Clock.monotonicMilliseconds() + milliseconds
        while mailbox.open.withLock({ $0 }) > 0, Clock.monotonicMilliseconds() < end {
            _ = try? queue.wait(timeoutMilliseconds: 10)
            mailbox.done.drain()
        }
    }

    func takeOutcomes() -> [Outcome] {
        mailbox.done.drain()
        return mailbox.outcomes.withLock { outcomes in
            defer { outcomes.removeAll() }
            return outcomes
        }
    }
}
