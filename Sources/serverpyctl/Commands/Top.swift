import Shared

extension Command {
    static let top = Command(
        name: "top", operands: "", summary: "Show the status live in the terminal.",
        details: """
            Once a second. Keys: s, or one of c t r e l a, orders by configuration, status (troubles first), requests, errors,
            latency (p99) or availability; / filters by the text that follows, Escape shows all again; up and down, or j and k, scroll; the space bar halts and goes on; q ends.
            """, options: [.runtimeDirectory], example: "serverpyctl top"
    ) { options throws(CommandFault) in
        guard Terminal.isTerminal(.standardOutput), Terminal.isTerminal(.standardInput) else {
            throw CommandFault(
                code: ExitCode.usage,
                message: "serverpyctl top: this is no terminal; `serverpyctl status` prints it once")
        }
        var last = try StatusSample.taken(options)
        // The last one of an earlier counting: where there is much to count, that is done less often than we look.
        var counted: StatusSample?
        var top = try TopScreen.make()
        top.report = StatusReport(last)
        while try top.wait() {
            guard top.isDue else { continue }
            do throws(CommandFault) {
                let now = try StatusSample.taken(options)
                if now.countedAt != last.countedAt { counted = last }
                top.report = StatusReport(last, now, counted: counted)
                top.trouble = nil
                last = now
            } catch {
                top.trouble = error.message
            }
        }
        return ExitCode.done
    }
}

/// What the keys of `top` lead to. A value without IO.
struct TopState: Equatable {
    var view = StatusView()
    /// Lines passed over.
    var scrolled = 0
    var isHalted = false
    /// The filter is being typed.
    var isTyping = false
    var isEnding = false
    /// The bytes of a key that are not all there yet: an arrow is three.
    private var escape: [UInt8] = []
    /// The bytes of the filter.
    private var typed: [UInt8] = []

    private static let orders: [UInt8: StatusView.Order] = [
        UInt8(ascii: "c"): .configuration, UInt8(ascii: "t"): .status, UInt8(ascii: "r"): .requests,
        UInt8(ascii: "e"): .errors, UInt8(ascii: "l"): .latency, UInt8(ascii: "a"): .availability,
    ]

    mutating func key(_ byte: UInt8) {
        if !escape.isEmpty {
            escape.append(byte)
            // ESC O and a letter, or ESC [ and whatever there is up to a byte from 0x40 on: ECMA-48, 5.4.
            if escape.count == 2, byte == UInt8(ascii: "[") || byte == UInt8(ascii: "O") { return }
            if escape.count > 2, !(0x40...0x7e).contains(byte), escape.count < 16 { return }
            let isKey = escape.count > 2
            escape = []
            if !isKey {
                cancel()
                return key(byte)
            }
            if byte == UInt8(ascii: "A") { scroll(-1) }
            if byte == UInt8(ascii: "B") { scroll(1) }
            return
        }
        if byte == 0x1b {
            escape = [byte]
            return
        }
        if isTyping { return type(byte) }
        switch byte {
        case UInt8(ascii: "q"), UInt8(ascii: "Q"), 0x04: isEnding = true
        case UInt8(ascii: "s"):
            let all = StatusView.Order.allCases
            view.order = all[((all.firstIndex(of: view.order) ?? 0) + 1) % all.count]
        case UInt8(ascii: "/"):
            isTyping = true
            typed = []
            view.filter = ""
        case UInt8(ascii: " "): isHalted.toggle()
        case UInt8(ascii: "j"): scroll(1)
        case UInt8(ascii: "k"): scroll(-1)
        default: if let order = Self.orders[byte] { view.order = order }
        }
    }

    /// Nothing more has come with the last byte: if that was Escape, it was the key itself.
    mutating func pause() {
        guard escape == [0x1b] else { return }
        escape = []
        cancel()
    }

    /// Escape shows everything again.
    private mutating func cancel() {
        isTyping = false
        typed = []
        view.filter = ""
    }

    private mutating func type(_ byte: UInt8) {
        switch byte {
        case 0x0a, 0x0d: isTyping = false
        case 0x7f, 0x08:
            while let last = typed.popLast(), last & 0xc0 == 0x80 {}
        case 0x20...0x7e, 0x80...: if typed.count < 60 { typed.append(byte) }
        default: break
        }
        view.filter = String(decoding: typed, as: UTF8.self)
        scrolled = 0
    }

    private mutating func scroll(_ lines: Int) { scrolled = max(0, scrolled + lines) }

    /// What is on the screen: as many lines as there are rows, none longer than the columns allow where `text` keeps to them.
    mutating func screen(_ text: String, rows: Int, trouble: String?) -> String {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last == "" { lines.removeLast() }
        let room = max(1, rows - 1)
        scrolled = min(scrolled, max(0, lines.count - room))
        var screen = "\u{1b}[H"
        for line in lines[scrolled...].prefix(room) { screen += line + "\u{1b}[K\r\n" }
        screen += "\u{1b}[J\u{1b}[\(rows);1H\u{1b}[7m"
        let left = lines.count - scrolled - room
        screen += String(footer(trouble, left: left).prefix(view.columns - 1)) + "\u{1b}[0m\u{1b}[K"
        return screen
    }

    private func footer(_ trouble: String?, left: Int) -> String {
        if let trouble { return trouble }
        if isTyping { return "/\(view.filter)_   Enter ends, Escape shows all" }
        var words = ["q quit", "s order: \(view.order.rawValue)", view.filter.isEmpty ? "/ filter" : "/\(view.filter)"]
        words.append(isHalted ? "halted, space goes on" : "space halts")
        if left > 0 { words.append("\(left) more lines below") }
        return words.joined(separator: "  ")
    }
}

/// The terminal of `top`: an alternate screen that leaves what was there before as it was.
struct TopScreen: ~Copyable {
    var report: StatusReport?
    var trouble: String?
    private var state = TopState()
    private let keys: Terminal.KeyMode
    private let signals: SignalQueue
    private let queue: EventQueue
    private var nextLook: UInt64

    static func make() throws(CommandFault) -> TopScreen {
        do throws(Errno) {
            let signals = try SignalQueue([
                .interrupt, .terminate, .hangUp, .quit, .user1, .user2, .alarm, .resized, .goOn, .stopFromTerminal,
            ])
            let queue = try EventQueue(eventsPerTurn: 2)
            try queue.add(.standardInput, token: 0, interest: [.readable])
            try queue.add(signals.descriptor, token: 1, interest: [.readable])
            return TopScreen(keys: try Terminal.KeyMode(.standardInput), signals, queue)
        } catch {
            throw CommandFault(
                code: ExitCode.failed, message: "serverpyctl top: the terminal cannot be set up: \(error)")
        }
    }

    private init(keys: consuming Terminal.KeyMode, _ signals: SignalQueue, _ queue: consuming EventQueue) {
        self.keys = keys
        self.signals = signals
        self.queue = queue
        nextLook = Clock.monotonicMilliseconds() + Limits.topMilliseconds
        enter()
    }

    deinit { leave() }

    private func write(_ text: String) { try? Descriptor.standardOutput.writeAll(Array(text.utf8)) }
    private func enter() { write("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l") }
    private func leave() { write("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l") }

    /// It is time for another look.
    var isDue: Bool { !state.isHalted && Clock.monotonicMilliseconds() >= nextLook }

    /// Draws, and waits for a key, a signal or the next look. False: the end.
    mutating func wait() throws(CommandFault) -> Bool {
        let now = Clock.monotonicMilliseconds()
        if now >= nextLook { nextLook = now + Limits.topMilliseconds }
        draw()
        do {
            _ = try queue.wait(timeoutMilliseconds: Int32(clamping: nextLook - min(now, nextLook)))
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl top: \(error)")
        }
        while let signal = signals.next() {
            switch signal {
            case .resized: break
            case .stopFromTerminal:
                leave()
                keys.leave()
                Process.signal(Process.pid, .stop)
            case .goOn:
                keys.enter()
                enter()
            default: return false
            }
        }
        return readKeys() && !state.isEnding
    }

    private mutating func readKeys() -> Bool {
        // A signal may have come meanwhile: only a key is read.
        let count = (try? queue.wait(timeoutMilliseconds: 0)) ?? 0
        guard (0..<count).contains(where: { queue[$0].token == 0 }) else { return true }
        var chunk = [UInt8](repeating: 0, count: 256)
        var span = chunk.mutableSpan
        guard let count = Descriptor.standardInput.read(into: &span).count else { return true }
        // The terminal is gone.
        guard count > 0 else { return false }
        for byte in chunk[..<count] { state.key(byte) }
        state.pause()
        return true
    }

    private mutating func draw() {
        let size = Terminal.size(.standardOutput) ?? (80, 24)
        state.view.columns = max(20, size.columns)
        state.view.hasColour = Colour.isWanted(on: .standardOutput)
        guard let report else { return }
        write(
            state.screen(StatusTables(report: report, view: state.view).text, rows: max(2, size.rows), trouble: trouble)
        )
    }
}
