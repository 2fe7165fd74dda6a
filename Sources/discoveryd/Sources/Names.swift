import Shared

/// Looks names up for `NameBook`: in DNS, or through the system where the configuration says so.
struct Names: ~Copyable {
    private(set) var book = NameBook()
    private var client = DNSClient()
    private var system: SystemResolver
    private var asksSystem = false
    private var news: [NameBook.News] = []
    private var ended: [SourceName] = []
    private let log: Log

    /// Becomes readable when the system has answered.
    var descriptor: Descriptor { system.descriptor }

    init(log: Log) throws(Errno) {
        self.log = log
        system = try SystemResolver()
    }

    mutating func configure(_ settings: ResolverSettings) {
        asksSystem = settings.use == .system
        client.configure(settings.servers)
    }

    /// Names that lead elsewhere.
    mutating func takeNews() -> [NameBook.News] {
        defer { news = [] }
        return news
    }

    /// Names whose look-up has ended, whatever it has found.
    mutating func takeEnded() -> [SourceName] {
        defer { ended = [] }
        return ended
    }

    // MARK: What is looked up

    mutating func use(_ name: SourceName, forLines: Bool, _ loop: inout EventLoop) {
        book.use(name, forLines: forLines, now: loop.now)
        setTimers(&loop)
    }

    mutating func release(_ name: SourceName, forLines: Bool, _ loop: inout EventLoop) {
        book.release(name, forLines: forLines)
        setTimers(&loop)
    }

    mutating func restore(_ name: SourceName, _ addresses: [SocketAddress]) { book.restore(name, addresses) }

    /// An address of the name has refused or failed its poll.
    mutating func doubt(_ name: SourceName, _ loop: inout EventLoop) {
        book.doubt(name, now: loop.now)
        setTimers(&loop)
    }

    /// An address of this family has answered, and none of those in use does.
    mutating func use(_ family: SocketAddress.Family, of name: SourceName) { news += book.use(family, of: name) }

    // MARK: Events

    /// The time of a look-up has come.
    mutating func due(_ token: Token, _ loop: inout EventLoop) {
        guard let index = book.entries.index(of: token) else { return }
        book.entries[index].timer = .none
        begin(index, &loop)
        receiveResults(&loop)
    }

    private mutating func begin(_ index: NameBook.Index, _ loop: inout EventLoop) {
        guard let source = book.begin(index, now: loop.now) else { return }
        let generation = book.entries.generation(index)
        guard asksSystem, source.name.kind == .host else {
            return client.begin(source.name, isKnown: source.isKnown, (index.position, generation), &loop)
        }
        do throws(Errno) {
            try system.ask(source.name.text, owner: index.position, generation: generation)
        } catch {
            receive(.noAnswer("no thread can be started: \(error)"), index, &loop)
        }
    }

    mutating func systemAnswered(_ loop: inout EventLoop) {
        for answer in system.takeAnswers() {
            let index = NameBook.Index(answer.owner)
            if book.entries.holds(index, answer.generation) { receive(answer.result, index, &loop) }
        }
        setTimers(&loop)
    }

    mutating func socketReady(_ token: Token, _ loop: inout EventLoop) {
        client.socketReady(token, &loop)
        receiveResults(&loop)
    }

    mutating func connectionReady(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        client.connectionReady(token, readiness, &loop)
        receiveResults(&loop)
    }

    mutating func timedOut(_ token: Token, _ loop: inout EventLoop) {
        client.timedOut(token, &loop)
        receiveResults(&loop)
    }

    mutating func roomDue(_ loop: inout EventLoop) {
        client.roomDue(&loop)
        receiveResults(&loop)
    }

    private mutating func receiveResults(_ loop: inout EventLoop) {
        for (owner, result) in client.takeResults() {
            let index = NameBook.Index(owner.position)
            if book.entries.holds(index, owner.generation) { receive(result, index, &loop) }
        }
        setTimers(&loop)
    }

    private mutating func receive(_ result: LookUp.Result, _ index: NameBook.Index, _ loop: inout EventLoop) {
        let name = book.entries[index].source.name
        let before = book.entries[index].source.reason
        news += book.receive(result, of: index, now: loop.now)
        ended.append(name)
        ended += book.entries[index].services
        switch result {
        case .noAnswer(let reason):
            if reason != before { log.warning("the name \(name.text) was not resolved: \(reason)") }
        case .found(let found):
            if found.values.isEmpty, !book.entries[index].source.saidNothing {
                log.warning("the name \(name.text) has no \(name.kind == .host ? "address" : "record of a service")")
            }
            book.entries[index].source.saidNothing = found.values.isEmpty
        }
    }

    /// Each name wakes at its time.
    private mutating func setTimers(_ loop: inout EventLoop) {
        for var timer in book.takeCancelled() { loop.cancel(&timer) }
        for index in book.takeRescheduled() {
            guard let due = book.entries[index].source.dueAt else { continue }
            loop.cancel(&book.entries[index].timer)
            book.entries[index].timer = loop.schedule(
                EventKind.nameDue.token(index, book.entries.generation(index)), at: due)
        }
    }
}
