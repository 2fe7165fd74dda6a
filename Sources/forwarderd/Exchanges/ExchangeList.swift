import Shared

/// The exchanges of one connection. HTTP/1.1 has one at a time, which costs no memory of its own.
struct ExchangeList {
    private(set) var first: Slab<Exchange>.Index?
    private var others: [Slab<Exchange>.Index] = []

    var isEmpty: Bool { first == nil }
    var count: Int { first == nil ? 0 : 1 + others.count }

    var all: [Slab<Exchange>.Index] { first.map { [$0] + others } ?? [] }

    mutating func add(_ exchange: Slab<Exchange>.Index) {
        if first == nil { first = exchange } else { others.append(exchange) }
    }

    mutating func remove(_ exchange: Slab<Exchange>.Index) {
        if first == exchange {
            first = others.popLast()
        } else {
            others.removeAll { $0 == exchange }
        }
    }
}
