import Shared

/// What a command prints. An output that cannot be written is a failure; a reader that has had enough is told nothing more.
enum StandardOutput {
    static func write(_ bytes: [UInt8], to descriptor: Descriptor = .standardOutput) throws(CommandFault) {
        do throws(Errno) { try descriptor.writeAll(bytes) } catch {
            throw CommandFault(
                code: ExitCode.failed,
                message: error == .brokenPipe ? "" : "serverpyctl: the output cannot be written: \(error)")
        }
    }

    static func write(_ text: String) throws(CommandFault) { try write(Array(text.utf8)) }
}
