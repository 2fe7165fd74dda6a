/// Command-line options as getopt_long(3) has them: `--name value`, `--name=value`, `-n value`, flags, `--` ends them.
public struct Options: Sendable {
    public struct Spec: Sendable {
        public let name: String
        public let short: Character?
        /// The word for its value in the help; nil for a flag.
        public let value: String?
        public let help: String

        public init(_ name: String, _ short: Character? = nil, value: String? = nil, help: String) {
            self.name = name
            self.short = short
            self.value = value
            self.help = help
        }
    }

    public struct Fault: Error, Equatable, Sendable {
        public let reason: String
        public init(_ reason: String) { self.reason = reason }
    }

    private var values: [String: String] = [:]
    private var given: [(name: String, value: String)] = []
    public private(set) var operands: [String] = []

    public init(_ arguments: [String], _ specs: [Spec]) throws(Fault) {
        var index = 0
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            if argument == "--" {
                operands.append(contentsOf: arguments[index...])
                return
            }
            guard argument.hasPrefix("-"), argument.count > 1 else {
                operands.append(argument)
                continue
            }
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts[0])
            guard
                let spec = specs.first(where: { name == "--\($0.name)" || $0.short.map { name == "-\($0)" } ?? false })
            else {
                var message = "`\(name)` is not an option"
                if let near = Text.nearest(name, specs.map { "--\($0.name)" }) {
                    message += "; did you mean `\(near)`?"
                }
                throw Fault(message)
            }
            if spec.value == nil {
                if parts.count == 2 { throw Fault("`\(name)` takes no value") }
                values[spec.name] = ""
            } else {
                var value = parts.count == 2 ? String(parts[1]) : ""
                if parts.count < 2, index < arguments.count {
                    value = arguments[index]
                    index += 1
                }
                // An empty one is most likely a variable of the shell's that is not set.
                if value.isEmpty { throw Fault("`\(name)` needs a value: \(spec.value ?? "VALUE")") }
                take(spec.name, value)
            }
        }
    }

    private mutating func take(_ name: String, _ value: String) {
        values[name] = value
        given.append((name, value))
    }

    /// All values of an option that may be given several times, in order.
    public func all(_ name: String) -> [String] { given.filter { $0.name == name }.map(\.value) }

    /// The same where the first operand is the value of an option that is not given otherwise.
    public func takingOperand(as spec: Spec) throws(Fault) -> Options {
        guard let operand = operands.first else { return self }
        if let value = values[spec.name] { throw Fault("both `\(value)` and `\(operand)` are given; one is needed") }
        var result = self
        result.operands.removeFirst()
        result.take(spec.name, operand)
        return result
    }

    public subscript(_ name: String) -> String? { values[name] }
    public func has(_ name: String) -> Bool { values[name] != nil }

    /// A whole number within a range; nil when the option is absent.
    public func integer(_ name: String, _ range: ClosedRange<Int>) throws(Fault) -> Int? {
        guard let text = values[name] else { return nil }
        guard let number = DecimalDigits.parse(text.utf8, max: UInt64(range.upperBound)),
            Int(number) >= range.lowerBound
        else {
            throw Fault(
                "`--\(name)` is `\(text)`; a whole number from \(range.lowerBound) to \(range.upperBound) is needed")
        }
        return Int(number)
    }
}
