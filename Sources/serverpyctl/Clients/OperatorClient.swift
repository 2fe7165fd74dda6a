import Shared

/// Commands to the discoveryd of a runtime directory: they work with and without a supervisor.
struct OperatorClient {
    private var client: LineClient
    private var id: UInt64 = 0

    init(_ options: Options) throws(CommandFault) {
        let directory = Directories.runtime(options["runtime-dir"])
        do throws(Errno) {
            client = try LineClient(path: directory + "/discovery.sock", peer: "discoveryd")
        } catch {
            guard [.noEntry, .connectionRefused].contains(error) else {
                throw CommandFault(
                    code: ExitCode.failed, message: "serverpyctl: the runtime directory \(directory): \(error)")
            }
            throw CommandFault(
                code: ExitCode.notRunning,
                message: "serverpyctl: discoveryd is not running with the runtime directory \(directory)")
        }
        client.introduce(SubscriberLines.hello(role: .operator, pid: Process.pid, index: nil))
    }

    func close() { client.close() }

    /// One command and its answer.
    mutating func ask(
        _ command: String, _ fields: [(StaticString, String)], timeoutMilliseconds: UInt64 = Limits.answerMilliseconds
    ) throws(CommandFault) -> Document.Value {
        var last: Document.Value?
        try ask(command, timeoutMilliseconds: timeoutMilliseconds) { writer in
            for (name, value) in fields { writer.field(name, value) }
        } take: {
            last = $0
        }
        guard let last else {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: discoveryd gave no answer")
        }
        return last
    }

    /// The forwarders' answers to `explain`, and behind them what discoveryd adds.
    mutating func explain(_ explain: ForwarderQuestion.Explain) throws(CommandFault) -> [Document.Value] {
        var answers: [Document.Value] = []
        try ask("explain", timeoutMilliseconds: Limits.answerMilliseconds) {
            explain.write(to: &$0)
        } take: {
            answers.append($0)
        }
        try check(answers.last)
        return answers
    }

    /// One command and its answers; all but the last say that there is more.
    private mutating func ask(
        _ command: String, timeoutMilliseconds: UInt64, fields: (inout JSONWriter) -> Void,
        take: (Document.Value) -> Void
    ) throws(CommandFault) {
        id += 1
        let number = id
        let line = SnapshotLines.line("command") { writer in
            writer.field("id", number)
            writer.field("command", command)
            fields(&writer)
        }
        try client.ask(line, timeoutMilliseconds: timeoutMilliseconds) { answer in
            let isOurs = answer["type"]?.string == "answer" && answer["id"]?.unsigned == number
            let isError = answer["type"]?.string == "error"
            if isOurs || isError { take(answer) }
            return isError || isOurs && answer["more"]?.boolean != true
        }
    }

    /// The same, where an answer other than yes ends the command.
    mutating func command(
        _ command: String, _ fields: [(StaticString, String)], timeoutMilliseconds: UInt64 = Limits.answerMilliseconds
    ) throws(CommandFault) -> Document.Value {
        let answer = try ask(command, fields, timeoutMilliseconds: timeoutMilliseconds)
        try check(answer)
        return answer
    }

    private func check(_ answer: Document.Value?) throws(CommandFault) {
        guard answer?["ok"]?.boolean == true else {
            let reason = answer?["error"]?.string ?? answer?["reason"]?.string ?? "no reason given"
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: \(reason)")
        }
    }
}
