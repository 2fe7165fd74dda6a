import Shared

/// Text in columns: each as wide as its widest cell, two spaces between, nothing behind the last.
struct Table {
    /// What a cell says of how things are.
    enum Mood: String {
        case good = "32"
        case doubtful = "33"
        case bad = "31"
    }

    /// Which part of a cell is left out where there is no room for all of it.
    enum Cut { case end, start }

    private var rows: [(cells: [String], mood: Mood?, column: Int)]
    private let cuts: [Cut?]

    /// `cutting`: by the column's head; the others are always whole.
    init(_ heads: [String], cutting: [String: Cut] = [:]) {
        rows = [(heads, nil, 0)]
        cuts = heads.map { cutting[$0] }
    }

    /// `mood`: of the cell of one column. Bytes that would move the cursor are shown as such.
    mutating func add(_ row: [String], _ mood: Mood? = nil, at column: Int = 0) {
        rows.append((row.map { Text.shown($0.utf8, limit: .max) }, mood, column))
    }

    var isEmpty: Bool { rows.count < 2 }

    /// With the terminal's colours (ECMA-48, SGR), or without; in so many columns, if that is possible.
    func text(hasColour: Bool = false, columns: Int = .max) -> String {
        let widths = widths(within: columns)
        var text = ""
        for (number, row) in rows.enumerated() {
            var line = ""
            var gap = 0
            for (column, whole) in row.cells.enumerated() where widths[column] > 0 {
                let cell = Self.cut(whole, widths[column], cuts[column] ?? .end)
                if !cell.isEmpty {
                    line += String(repeating: " ", count: gap)
                    gap = 0
                    if hasColour, let mood = row.mood, row.column == column {
                        line += "\u{1b}[\(mood.rawValue)m\(cell)\u{1b}[0m"
                    } else {
                        line += cell
                    }
                }
                gap += widths[column] - Self.cells(cell) + 2
            }
            text += hasColour && number == 0 ? "\u{1b}[1m\(line)\u{1b}[0m\n" : line + "\n"
        }
        return text
    }

    /// The widest of those that may be cut give way, down to eight.
    private func widths(within columns: Int) -> [Int] {
        var widths = cuts.indices.map { column in rows.map { Self.cells($0.cells[column]) }.max() ?? 0 }
        let shown = widths.count { $0 > 0 }
        var excess = widths.reduce(0, +) + 2 * max(0, shown - 1) - min(columns, 1 << 20)
        while excess > 0 {
            let cuttable = widths.indices.filter { cuts[$0] != nil && widths[$0] > 8 }
            guard let widest = cuttable.max(by: { widths[$0] < widths[$1] }) else { break }
            widths[widest] -= 1
            excess -= 1
        }
        return widths
    }

    /// What a text takes on a terminal: a wide character takes two columns, a combining one none.
    static func cells(_ text: String) -> Int { text.unicodeScalars.reduce(0) { $0 + Terminal.cells($1) } }

    private static func cut(_ text: String, _ width: Int, _ cut: Cut) -> String {
        if cells(text) <= width { return text }
        var kept: [Unicode.Scalar] = []
        var room = width - 1
        let scalars = cut == .end ? Array(text.unicodeScalars) : text.unicodeScalars.reversed()
        for scalar in scalars {
            room -= Terminal.cells(scalar)
            if room < 0 { break }
            kept.append(scalar)
        }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: cut == .end ? kept : kept.reversed())
        return cut == .end ? String(result) + "…" : "…" + String(result)
    }
}
