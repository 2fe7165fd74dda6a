import Shared

/// The wait for the moment when no forwarder has a request at an instance any more.
struct DrainBarrier {
    private let instance: [(StaticString, String)]
    /// In which every forwarder is to know of the drain: the one of the first answer, or a busy registry would move it on and on.
    private var snapshot: String?
    /// The last answer; nil before the first.
    private(set) var answer: Document.Value?

    /// `snapshot`: from which on the instance is marked; nil: the present one.
    init(service: String, instance: String, snapshot: String?) {
        self.instance = [("service", service), ("instance", instance)]
        self.snapshot = snapshot
    }

    /// Asks until it is drained (true), is not being drained any more, or the time is over; at least once.
    mutating func wait(until end: UInt64, _ client: inout OperatorClient) throws(CommandFault) -> Bool {
        while true {
            var fields = instance
            if let snapshot { fields.append(("snapshot", snapshot)) }
            let answer = try client.command("drained", fields)
            self.answer = answer
            if answer["drained"]?.boolean == true { return true }
            guard isDraining, Clock.monotonicMilliseconds() < end else { return false }
            snapshot = snapshot ?? answer["snapshot"]?.string
            Clock.sleep(milliseconds: Limits.askAgainMilliseconds)
        }
    }

    var isDraining: Bool { answer?["draining"]?.boolean == true }

    /// Who is not done yet, a line each.
    var left: [String] {
        let uncounted = answer?["uncounted"]?.unsigned ?? 0
        let others = uncounted == 0 ? [] : ["  \(uncounted) without counters that can be read"]
        return others
            + (answer?["forwarders"]?.elements.map { $0 } ?? []).compactMap { forwarder in
                let name = "forwarderd \(forwarder["index"]?.text ?? "?") (pid \(forwarder["pid"]?.text ?? "?"))"
                if forwarder["applied"]?.boolean != true { return "  \(name) does not know of it yet" }
                guard let count = forwarder["in_flight"]?.unsigned, count > 0 else { return nil }
                return "  \(name) has \(count) request\(count == 1 ? "" : "s") under way there"
            }
    }
}
