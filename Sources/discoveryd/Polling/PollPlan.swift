import Shared

/// How instances are polled, with the parts of the health poll's bytes that are the same for all of them: instances of one
/// service, and often of many, share one.
final class PollPlan: Sendable {
    let polling: Polling
    /// Where its polls are kept: see `HistoryLog`.
    let spanClass: Int
    /// Up to where the instance's authority stands, and from there on; the first is all where a configured field is the Host.
    private let front: [UInt8]
    private let back: [UInt8]
    private let namesHost: Bool

    /// A health poll sends as soon as it is connected.
    var sendsFirst: Bool { if case .health = polling.method { true } else { false } }

    init(_ polling: Polling) {
        self.polling = polling
        spanClass = HistoryLog.spanClass(polling)
        guard case .health(let path) = polling.method else {
            (front, back, namesHost) = ([], [], false)
            return
        }
        func isGiven(_ name: String) -> Bool { polling.headers.contains { $0.name.lowercased() == name } }
        var lines = ""
        if !isGiven("user-agent") { lines += "User-Agent: serverpy/\(Version.current)\r\n" }
        if !isGiven("accept") { lines += "Accept: */*\r\n" }
        for field in polling.headers { lines += "\(field.name): \(field.value)\r\n" }
        namesHost = !isGiven("host")
        front = Array("GET \(path) HTTP/1.1\r\n\(namesHost ? "Host: " : "")".utf8)
        back = Array("\(namesHost ? "\r\n" : "")\(lines)\r\n".utf8)
    }

    /// Writes the bytes of a health poll over `request`. `authority`: the value for its Host field.
    func write(_ authority: some Sequence<UInt8>, to request: inout [UInt8]) {
        request.removeAll(keepingCapacity: true)
        request.append(contentsOf: front)
        if namesHost { request.append(contentsOf: authority) }
        request.append(contentsOf: back)
    }
}

/// The plans in use, each with how many instances share it.
struct PollPlans {
    typealias Index = Slab<Entry>.Index

    struct Entry {
        let plan: PollPlan
        var uses = 0
    }

    private let entries = Slab<Entry>(capacity: Limits.registeredInstances)
    private var indexByPolling: [Polling: Index] = [:]

    subscript(_ index: Index) -> PollPlan { entries[index].plan }

    mutating func use(_ polling: Polling) -> Index {
        let index: Index
        if let known = indexByPolling[polling] {
            index = known
        } else {
            index = entries.insert(Entry(plan: PollPlan(polling)))
            indexByPolling[polling] = index
        }
        entries[index].uses += 1
        return index
    }

    /// One more instance shares it.
    mutating func use(_ index: Index) { entries[index].uses += 1 }

    mutating func giveBack(_ index: Index) {
        entries[index].uses -= 1
        guard entries[index].uses == 0 else { return }
        indexByPolling[entries[index].plan.polling] = nil
        entries.discard(index)
    }

    /// The longest time that a poll may take.
    var longestTimeoutMilliseconds: UInt64 {
        indexByPolling.keys.reduce(0) { max($0, $1.timeoutMilliseconds) }
    }
}
