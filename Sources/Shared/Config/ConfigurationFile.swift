/// A configuration file as bytes: found, read and understood, or refused with positions.
public struct ConfigurationFile: Sendable {
    public enum Format: Sendable { case json, yaml }

    /// As the user wrote it: the name in messages.
    public var path: String
    public var bytes: [UInt8]

    public init(path: String, bytes: [UInt8]) {
        self.path = path
        self.bytes = bytes
    }

    /// A refusal.
    public struct Refusal: Error, Sendable {
        /// For people: each problem's headline, its line and a caret.
        public let text: String
        /// `FILE:LINE:COLUMN: error: ...`, one per problem.
        public let headlines: [String]

        /// One problem without a line to show.
        init(_ headline: String) {
            text = headline + "\n"
            headlines = [headline]
        }

        init(_ diagnostics: [Diagnostic], _ printer: DiagnosticPrinter, rest: String = "") {
            text = printer.print(diagnostics) + rest
            headlines = diagnostics.sorted { $0.offset < $1.offset }.map(printer.headline)
        }
    }

    /// Reads the file; what cannot be read is refused at its first character.
    public static func read(_ path: String) throws(Refusal) -> ConfigurationFile {
        // A pipe may have nobody at its other end, and whoever reads it waits for ever.
        if let kind = try? Files.status(path, followsLink: true).kind, kind == .other || kind == .socket {
            throw Refusal("\(path):1:1: error: this is a pipe, socket or device; a regular file is needed")
        }
        do throws(Errno) {
            var bytes: [UInt8] = []
            // Somebody may be writing it: what was read between two equal looks was one text.
            for _ in 0..<Limits.settledLooks {
                let before = try Files.fingerprint(path)
                bytes = try Files.read(path, maxBytes: Limits.configurationBytes)
                if try Files.fingerprint(path) == before { break }
                Clock.sleep(milliseconds: Limits.settledLookMilliseconds)
            }
            return ConfigurationFile(path: path, bytes: bytes)
        } catch {
            let reason =
                switch error {
                case .noEntry: "the file does not exist"
                case .isDirectory: "this is a directory; a JSON or YAML file is needed"
                case .fileTooBig:
                    "the file is larger than \(Limits.configurationBytes / 1_048_576) MiB, which is the limit"
                default: "the file cannot be read: \(error)"
                }
            throw Refusal("\(path):1:1: error: \(reason)")
        }
    }

    /// By the name's end, as the original does; else by the first character.
    public var format: Format {
        let lower = path.lowercased()
        if lower.hasSuffix(".json") || lower.hasSuffix("json") { return .json }
        if lower.hasSuffix(".yaml") || lower.hasSuffix(".yml") { return .yaml }
        let first = bytes.first { $0 != 0x20 && $0 != 0x0a && $0 != 0x0d && $0 != 0x09 }
        return first == UInt8(ascii: "{") ? .json : .yaml
    }

    /// The text as a tree.
    public func document(keepsDuplicates: Bool = false) throws(Diagnostic) -> Document {
        switch format {
        case .json: try JSONReader.parse(bytes, keepsDuplicates: keepsDuplicates)
        case .yaml: try YAMLReader.parse(bytes)
        }
    }

    /// The same as far as it can be read, with what is wrong beside it.
    private func documentWithFaults() throws(Diagnostic) -> Document {
        switch format {
        case .json: try JSONReader.parse(bytes, collectsFaults: true)
        case .yaml: try YAMLReader.parse(bytes, collectsFaults: true)
        }
    }

    /// The configuration and its warnings, or all errors at once. `lookUp`: the value of an environment variable.
    public func configuration(
        lookUp: @escaping (String) -> String? = { Process.environment($0) }
    ) throws(Refusal) -> (Configuration, warnings: [Diagnostic]) {
        let printer = DiagnosticPrinter(file: path, source: bytes)
        if bytes.isEmpty { throw Refusal("\(path):1:1: error: the file is empty; a map of services is needed") }
        let document: Document
        do {
            document = try documentWithFaults()
        } catch {
            throw Refusal([error], printer)
        }
        var substitution = EnvironmentSubstitution(lookUp)
        let substituted = substitution.apply(to: document)
        var reader = ConfigurationReader()
        let configuration = reader.read(substituted)
        let unreplaced = substitution.unreplaced
        let others = reader.diagnostics.filter { $0.severity == .error && !unreplaced.contains($0.offset) }
        let errors = document.faults + substitution.diagnostics + others
        if !errors.isEmpty {
            let beyond = reader.errors - reader.diagnostics.count { $0.severity == .error }
            let unsaid = substitution.failures - substitution.diagnostics.count
            throw Refusal(errors, printer, rest: rest(beyond + unsaid))
        }
        return (configuration, reader.diagnostics)
    }

    /// What is said of errors beyond those shown.
    private func rest(_ count: Int) -> String {
        count == 0 ? "" : "\(path): and \(count) more errors\n"
    }
}
