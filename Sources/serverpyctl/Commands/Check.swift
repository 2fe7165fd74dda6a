import Shared

extension Command {
    static let check = Command(
        name: "check", operands: "[FILE]", summary: "Check a configuration and show what was understood.",
        details: """
            Exits with 0, or with 78 and every error with its place. Warnings, for what is legal but likely wrong, change nothing.
            --print writes the configuration with all defaults filled in, as YAML that checks to the same configuration.
            --syntax reads any JSON or YAML file without judging what it means and prints it as JSON: for those who wonder how
            their YAML is read.
            """,
        options: [
            .config, .json, Options.Spec("print", help: "print the configuration with all defaults, as YAML"),
            Options.Spec("syntax", value: "FILE", help: "print any JSON or YAML file as JSON"),
        ],
        example: "serverpyctl check -c deploy/example.json"
    ) { options throws(CommandFault) in
        if let path = options["syntax"] { return try printSyntax(path) }
        let (file, configuration, warnings) = try load(options)
        let printer = DiagnosticPrinter(file: file.path, source: file.bytes)
        if !warnings.isEmpty { try? Descriptor.standardError.writeAll(Array(printer.print(warnings).utf8)) }
        if options.has("print") {
            let text = Array(ConfigurationPrinter.yaml(configuration).utf8)
            try StandardOutput.write(text)
            guard text.count <= Limits.configurationBytes else {
                throw CommandFault(
                    code: ExitCode.failed,
                    message:
                        "serverpyctl: with all defaults the configuration has \(text.count) bytes, more than the \(Limits.configurationBytes) that are read"
                )
            }
        } else if options.has("json") {
            try StandardOutput.write(CheckReport.json(configuration, warnings.map(printer.headline)))
        } else {
            try StandardOutput.write(CheckReport.table(configuration))
        }
        return ExitCode.done
    }

    /// Those who asked for JSON get it for a bad file too.
    private static func load(_ options: Options) throws(CommandFault) -> (
        ConfigurationFile, Configuration, [Diagnostic]
    ) {
        do {
            let (file, configuration, warnings) = try ConfigurationFile.load(options)
            return (file, configuration, warnings.sorted { $0.offset < $1.offset })
        } catch {
            if options.has("json"), error.code == ExitCode.configuration {
                try StandardOutput.write(CheckReport.json(errors: error.headlines))
            }
            throw error
        }
    }

    private static func printSyntax(_ path: String) throws(CommandFault) -> Int32 {
        let file: ConfigurationFile
        do {
            file = try ConfigurationFile.read(path)
        } catch {
            throw CommandFault(code: ExitCode.configuration, message: String(error.text.dropLast()))
        }
        var writer = JSONWriter(indent: 2)
        do {
            writer.value(try file.document(keepsDuplicates: true).root)
        } catch {
            let text = DiagnosticPrinter(file: path, source: file.bytes).print([error])
            throw CommandFault(code: ExitCode.configuration, message: String(text.dropLast()))
        }
        writer.endLine()
        try StandardOutput.write(writer.bytes)
        return ExitCode.done
    }
}

/// What `check` says of a good configuration.
enum CheckReport {
    /// Rows beyond this are counted, not shown: nobody reads ten thousand.
    static let rows = 40

    static func table(_ configuration: Configuration) -> String {
        var rows = [["SERVICE", "INSTANCE", "POLLING", "EVERY", "TIMEOUT", "RETRIES", "PRIORITY"]]
        for service in configuration.services {
            for (index, instance) in service.instances.enumerated() where rows.count <= Self.rows {
                let polling = instance.polling
                let name = index == 0 ? service.name : ""
                rows.append([
                    name, instance.url, method(polling.method), Duration.text(polling.frequencyMilliseconds),
                    Duration.text(polling.timeoutMilliseconds), String(polling.retries), polling.priority.name,
                ])
            }
        }
        var text = aligned(rows)
        if configuration.instanceCount > Self.rows {
            text += "... and \(configuration.instanceCount - Self.rows) more instances\n"
        }
        // The order in which they are matched: the longest first.
        let routes = configuration.services.flatMap { service in service.paths.map { (path: $0, service: service.name) }
        }
        .sorted {
            $0.path.utf8.count != $1.path.utf8.count ? $0.path.utf8.count > $1.path.utf8.count : $0.path < $1.path
        }
        text += "\n" + aligned([["ROUTE", "SERVICE"]] + routes.prefix(Self.rows).map { [$0.path, $0.service] })
        if routes.count > Self.rows { text += "... and \(routes.count - Self.rows) more routes\n" }
        func count(_ number: Int, _ word: String) -> String { "\(number) \(word)\(number == 1 ? "" : "s")" }
        return text
            + "\n\(count(configuration.services.count, "service")), \(count(configuration.instanceCount, "instance")), \(count(routes.count, "route")): the configuration is good\n"
    }

    private static func method(_ method: Polling.Method) -> String {
        switch method {
        case .health(let endpoint): "health \(endpoint)"
        case .ping: "ping"
        }
    }

    private static func aligned(_ rows: [[String]]) -> String {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = min(40, max(widths[column], cell.count))
            }
        }
        return rows.map { row in
            let cells = row.enumerated().map {
                $0.offset == row.count - 1 ? $0.element : Command.padded($0.element, widths[$0.offset])
            }
            return cells.joined(separator: "  ") + "\n"
        }.joined()
    }

    static func json(errors: [String]) -> [UInt8] {
        var writer = JSONWriter(indent: 2)
        writer.beginObject()
        writer.field("good", false)
        writer.key("errors")
        writer.beginArray()
        for error in errors { writer.value(error) }
        writer.endArray()
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }

    static func json(_ configuration: Configuration, _ warnings: [String]) -> [UInt8] {
        var writer = JSONWriter(indent: 2)
        writer.beginObject()
        writer.field("good", true)
        writer.field("services", configuration.services.count)
        writer.field("instances", configuration.instanceCount)
        writer.key("routes")
        writer.beginArray()
        for service in configuration.services {
            for path in service.paths {
                writer.beginObject()
                writer.field("path", path)
                writer.field("service", service.name)
                writer.endObject()
            }
        }
        writer.endArray()
        writer.key("warnings")
        writer.beginArray()
        for warning in warnings { writer.value(warning) }
        writer.endArray()
        writer.endObject()
        writer.endLine()
        return writer.bytes
    }
}
