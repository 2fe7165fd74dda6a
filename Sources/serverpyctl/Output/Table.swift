/// Text in columns: each as wide as its widest cell, two spaces between, nothing behind the last.
struct Table {
    /// What a cell says of how things are.
    enum Mood: String {
        case good = "32"
        case doubtful = "33"
        case bad = "31"
    }

    private var rows: [(cells: [String], mood: Mood?, column: Int)]

    init(_ heads: [String]) { rows = [(heads, nil, 0)] }

    /// `mood`: of the cell of one column.
    mutating func add(_ row: [String], _ mood: Mood? = nil, at column: Int = 0) { rows.append((row, mood, column)) }

    var isEmpty: Bool { rows.count < 2 }

    /// With the terminal's colours (ECMA-48, SGR), or without.
    func text(hasColour: Bool = false) -> String {
        guard let columns = rows.first?.cells.count else { return "" }
        let widths = (0..<columns).map { column in rows.map { $0.cells[column].count }.max() ?? 0 }
        var text = ""
        for (number, row) in rows.enumerated() {
            var line = ""
            var gap = 0
            for (column, cell) in row.cells.enumerated() where widths[column] > 0 {
                if !cell.isEmpty {
                    line += String(repeating: " ", count: gap)
                    gap = 0
                    if hasColour, let mood = row.mood, row.column == column {
                        line += "\u{1b}[\(mood.rawValue)m\(cell)\u{1b}[0m"
                    } else {
                        line += cell
                    }
                }
                gap += widths[column] - cell.count + 2
            }
            text += hasColour && number == 0 ? "\u{1b}[1m\(line)\u{1b}[0m\n" : line + "\n"
        }
        return text
    }
}
