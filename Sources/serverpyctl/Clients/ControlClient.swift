import Shared

/// A question to the supervisor of a runtime directory.
enum ControlClient {
    /// Sends one request and waits for its answer, at most `timeoutMilliseconds`.
    static func ask(
        _ command: String, _ options: Options, fields: [(StaticString, Bool)] = [], numbers: [(StaticString, Int)] = [],
        words: [(StaticString, String)] = [], timeoutMilliseconds: UInt64 = Limits.answerMilliseconds
    ) throws(CommandFault) -> Document.Value {
        let directory = Directories.runtime(options["runtime-dir"])
        var client: LineClient
        do throws(Errno) {
            client = try LineClient(path: directory + "/control.sock", peer: "the supervisor")
        } catch {
            throw missing(command, directory, error)
        }
        defer { client.close() }
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("command", command)
        for (name, value) in fields { writer.field(name, value) }
        for (name, value) in numbers { writer.field(name, value) }
        for (name, value) in words { writer.field(name, value) }
        writer.endObject()
        writer.endLine()
        var answer: Document.Value?
        try client.ask(writer.bytes, timeoutMilliseconds: timeoutMilliseconds) {
            answer = $0
            return true
        }
        guard let answer else {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: the supervisor gave no answer")
        }
        return answer
    }

    /// Who listens on the supervisor's control socket, as this process sees its number (it may be in another namespace); nil: nobody.
    static func supervisor(_ options: Options) -> Int32? {
        let path = Directories.runtime(options["runtime-dir"]) + "/control.sock"
        guard let socket = try? UnixSocket.connect(.stream, path: path) else { return nil }
        defer { socket.close() }
        return (try? UnixSocket.peer(of: socket))?.pid
    }

    /// The supervisor that has opened a socket; nil where a daemon has done so itself.
    private static func holder(_ socket: Descriptor) -> Int32? {
        guard let pid = (try? UnixSocket.peer(of: socket))?.pid,
            let name = try? Files.read("/proc/\(pid)/comm", maxBytes: 64), name.starts(with: "serverpyctl".utf8)
        else { return nil }
        return pid
    }

    /// Nobody answers: none runs, or it is not for us to ask.
    static func missing(_ command: String, _ directory: String, _ error: Errno) -> CommandFault {
        if ![.noEntry, .connectionRefused].contains(error) {
            return CommandFault(
                code: ExitCode.failed, message: "serverpyctl: the runtime directory \(directory): \(error)")
        }
        var message = "serverpyctl: serverpy is not running with the runtime directory \(directory)"
        let units = [
            // Under units of their own, systemd is who can do it.
            "stop": "systemctl stop 'serverpy-*'", "scale": "systemctl start serverpy-forwarderd@N",
            "restart": "systemctl restart serverpy-forwarderd@N, one after another",
            "upgrade": "systemctl restart serverpy-discoveryd, and serverpy-forwarderd@N one after another",
            "reload": "serverpyctl check -c FILE", "logs": "journalctl -u 'serverpy-*'",
        ]
        if let unit = units[command], let socket = try? UnixSocket.connect(.stream, path: directory + "/discovery.sock")
        {
            let holder = Self.holder(socket)
            socket.close()
            if let holder {
                return CommandFault(
                    code: ExitCode.failed,
                    message:
                        "serverpyctl: serverpyctl (pid \(holder)) runs with the runtime directory \(directory), but what `\(command)` needs there has been removed; `kill \(holder)` stops it"
                )
            }
            message =
                "serverpyctl: discoveryd runs on its own with the runtime directory \(directory), without a supervisor; use `\(unit)`"
        }
        return CommandFault(code: ExitCode.notRunning, message: message)
    }
}
