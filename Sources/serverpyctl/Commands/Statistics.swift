import Shared

extension Command {
    private static let only = [
        Options.Spec("service", value: "NAME", help: "only this service's"),
        Options.Spec("instance", value: "ADDRESS", help: "only this instance's"),
    ]

    static let stats = Command(
        name: "stats", operands: "", summary: "Print what polls and forwarders say of every instance, as JSON.",
        details: "The discovery server's /stats; works with discoveryd alone, too.",
        options: only + [.json, .runtimeDirectory], example: "serverpyctl stats --service orders"
    ) { options throws(CommandFault) in
        try DiscoveryClient(options).get(path("/stats", options)) { piece throws(CommandFault) in
            try StandardOutput.write(Array(piece))
        }
        return ExitCode.done
    }

    static let dump = Command(
        name: "dump", operands: "", summary: "Print the same with every poll that is kept.",
        details: """
            The discovery server's /dump, which ends with `"complete":true`. A file given with -o appears under its name only when it
            is whole; a device or a pipe is written as it comes.
            """,
        options: [Options.Spec("output", "o", value: "FILE", help: "where to write it (default: standard output)")]
            + only
            + [.json, .runtimeDirectory], example: "serverpyctl dump -o polls.json"
    ) { options throws(CommandFault) in
        var tail: [UInt8] = []
        func copy(to descriptor: Descriptor) throws(CommandFault) {
            try DiscoveryClient(options).get(path("/dump", options)) { piece throws(CommandFault) in
                tail = Array((tail + piece.suffix(32)).suffix(32))
                try StandardOutput.write(Array(piece), to: descriptor)
            }
            guard String(decoding: tail, as: UTF8.self).contains("\"complete\":true") else {
                throw CommandFault(
                    code: ExitCode.failed, message: "serverpyctl dump: discoveryd ended before it was whole")
            }
        }
        guard let output = options["output"] else {
            try copy(to: .standardOutput)
            return ExitCode.done
        }
        do {
            // What is no file is written as it comes, by the name that was given: the links in /proc lead nowhere else.
            if let kind = try? Files.status(output, followsLink: true).kind, kind != .file {
                let file = try Files.openForAppending(output)
                defer { file.close() }
                try copy(to: file)
                return ExitCode.done
            }
            let path = try Files.target(of: Files.absolute(output))
            let cut = path.lastIndex(of: "/") ?? path.startIndex
            let directory = try Files.open(cut == path.startIndex ? "/" : String(path[..<cut]))
            defer { directory.close() }
            let name = String(path[path.index(after: cut)...])
            Files.remove(path + ".part")
            let file = try Files.openForAppending(path + ".part")
            defer { file.close() }
            do throws(CommandFault) { try copy(to: file) } catch {
                Files.remove(path + ".part")
                throw error
            }
            try Files.rename(name + ".part", to: name, in: directory)
        } catch let error as Errno {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl dump: \(output): \(error)")
        } catch let fault as CommandFault {
            throw fault
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl dump: \(error)")
        }
        return ExitCode.done
    }

    private static func path(_ path: String, _ options: Options) -> String {
        let wanted = ["service", "instance"].compactMap { name in options[name].map { "\(name)=\(encoded($0))" } }
        return wanted.isEmpty ? path : path + "?" + wanted.joined(separator: "&")
    }

    /// Percent-encoded for a query (RFC 3986 2.1).
    private static func encoded(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            if Grammar.isToken(byte), byte != UInt8(ascii: "%"), byte != UInt8(ascii: "&"), byte != UInt8(ascii: "+") {
                result.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
        return result
    }
}
