import Shared

/// A command of serverpyctl: its words, its options, its help. The help and the reference come from here alone.
struct Command: Sendable {
    let name: String
    /// As the help shows them; each word in capitals is one that must be given.
    let operands: String
    let summary: String
    let details: String
    let options: [Options.Spec]
    let example: String
    /// Not shown in the list.
    var isHidden = false
    let run: @Sendable (Options) throws(CommandFault) -> Int32

    static let all: [Command] = [
        .start, .demo, .check, .reload, .drain, .undrain, .explain, .scale, .restart, .upgrade, .stop, .status, .top,
        .logs, .stats, .dump, .completion, .version, .manual, .selfTest, .sample,
    ]

    /// The command of a command line; nil where none is given. `serverpyctl -c FILE` is `serverpyctl start -c FILE`, as the original was
    /// called.
    static func name(in arguments: some Collection<String>) -> String? {
        switch arguments.first {
        case "-h", "--help", "--version": arguments.first
        case .some(let first) where first.hasPrefix("-"): "start"
        case let first: first
        }
    }

    /// The arguments of `start` in this process.
    static var startArguments: ArraySlice<String> {
        let arguments = CommandLine.arguments.dropFirst()
        return arguments.first == "start" ? arguments.dropFirst() : arguments
    }

    static let help = Options.Spec("help", "h", help: "print this help")

    /// The names of the operands that must be given: words in capitals without an option before them.
    var operandNames: [String] {
        let words = operands.split(separator: " ").map(String.init)
        return words.indices.filter { index in
            words[index].allSatisfy { $0.isUppercase } && (index == 0 || !words[index - 1].hasPrefix("-"))
        }.map { words[$0] }
    }

    /// FILE may stand without -c.
    private var takesConfiguration: Bool { operands == "[FILE]" }

    /// How many more there may be: words in brackets.
    var optionalOperands: Int {
        operands.split(separator: " ").count {
            $0.hasPrefix("[") && $0.dropFirst().dropLast().allSatisfy(\.isUppercase)
        }
    }

    /// What is given behind the command's name; operands are checked unless only the help is wanted.
    func parse(_ arguments: [String]) throws(Options.Fault) -> Options {
        let given = try Options(arguments, options + [Self.help])
        if given.has("help") { return given }
        let expected = operandNames
        let most = expected.count + optionalOperands
        if given.operands.count > most { throw Options.Fault("`\(given.operands[most])` is not expected") }
        if given.operands.count < expected.count {
            throw Options.Fault("\(expected[given.operands.count]) is missing")
        }
        return takesConfiguration ? try given.takingOperand(as: .config) : given
    }

    var usage: String {
        var text =
            "usage: serverpyctl \(name)\(operands.isEmpty ? "" : " " + operands)\(options.isEmpty ? "" : " [options]")\n\n"
            + Self.wrapped(summary)
        if !details.isEmpty { text += "\n\(Self.wrapped(details))" }
        let all = options + [Self.help]
        text += "\noptions:\n"
        for option in all {
            let short = option.short.map { "-\($0), " } ?? "    "
            let long = "--\(option.name)" + (option.value.map { " \($0)" } ?? "")
            text += Self.wrapped("  \(short)\(Self.padded(long, 22)) \(option.help)", indent: 29)
        }
        text += "\nexample:\n  \(example)\n"
        return text
    }

    /// Lines of at most 80 columns, broken between words: paragraphs are filled, a line that begins with spaces stands for itself, and
    /// what is broken off goes on behind `indent` spaces.
    static func wrapped(_ text: String, indent: Int = 0) -> String {
        var result = ""
        var line = ""
        func end() {
            if !line.isEmpty { result += line + "\n" }
            line = ""
        }
        for source in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let margin = source.prefix { $0 == " " }
            if source.isEmpty || !margin.isEmpty { end() }
            if source.isEmpty { result += "\n" }
            if !margin.isEmpty, indent == 0 {
                result += source + "\n"
                continue
            }
            for (number, word) in source.dropFirst(margin.count).split(separator: " ", omittingEmptySubsequences: false)
                .enumerated()
            {
                if number == 0, !margin.isEmpty {
                    line = String(margin + word)
                } else if line.isEmpty {
                    line = String(word)
                } else if line.count + 1 + word.count <= 80 {
                    line += " " + word
                } else {
                    end()
                    line = String(repeating: " ", count: indent) + word
                }
            }
            if !margin.isEmpty { end() }
        }
        end()
        return result
    }

    static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}

/// Why a command ends with another status than 0: what to say, and the status.
struct CommandFault: Error {
    let code: Int32
    /// Printed as it is, with a line break; empty for nothing.
    let message: String
    /// The errors of a refused configuration, one `FILE:LINE:COLUMN: error: ...` each.
    var headlines: [String] = []
}
