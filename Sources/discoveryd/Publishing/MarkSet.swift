import Shared

/// A set of places of a slab, one bit each.
struct MarkSet<Element: ~Copyable> {
    private var words: [UInt64] = []
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    func contains(_ index: Slab<Element>.Index) -> Bool {
        let word = index.position / 64
        return word < words.count && words[word] >> UInt64(index.position % 64) & 1 == 1
    }

    mutating func insert(_ index: Slab<Element>.Index) {
        let word = index.position / 64
        if words.count <= word { words += [UInt64](repeating: 0, count: word + 1 - words.count) }
        let bit: UInt64 = 1 << UInt64(index.position % 64)
        if words[word] & bit == 0 { count += 1 }
        words[word] |= bit
    }

    mutating func remove(_ index: Slab<Element>.Index) {
        guard contains(index) else { return }
        words[index.position / 64] &= ~(1 << UInt64(index.position % 64))
        count -= 1
    }

    /// Takes out the lowest ones, `limit` at most.
    mutating func takeFirst(_ limit: Int) -> [Slab<Element>.Index] {
        var taken: [Slab<Element>.Index] = []
        for word in words.indices where words[word] != 0 {
            while words[word] != 0 {
                guard taken.count < limit else { return taken }
                let bit = words[word].trailingZeroBitCount
                words[word] &= ~(1 << UInt64(bit))
                count -= 1
                taken.append(Slab<Element>.Index(word * 64 + bit))
            }
        }
        return taken
    }
}
