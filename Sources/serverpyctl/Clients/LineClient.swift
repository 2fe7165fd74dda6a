import Shared

/// One end of a Unix socket on which a line of JSON asks and lines of JSON answer.
struct LineClient {
    private var channel: LineChannel
    /// Who answers, in words.
    private let peer: String

    init(path: String, peer: String) throws(Errno) {
        channel = LineChannel(
            try UnixSocket.connect(.stream, path: path), maxLineBytes: Limits.answerBytes)
        self.peer = peer
    }

    func close() { channel.descriptor.close() }

    /// Sends a line before the first question.
    mutating func introduce(_ line: [UInt8]) { channel.queue(line) }

    /// Sends one question and hands over what comes until `take` has had enough, at most for `timeoutMilliseconds`.
    mutating func ask(
        _ line: [UInt8], timeoutMilliseconds: UInt64, take: (Document.Value) -> Bool
    ) throws(CommandFault) {
        channel.queue(line)
        do {
            let limit = Clock.monotonicMilliseconds() + timeoutMilliseconds
            while try !channel.flush(), Clock.monotonicMilliseconds() < limit {
                channel.descriptor.waitUntilWritable(milliseconds: Limits.askAgainMilliseconds)
            }
            let queue = try EventQueue()
            try queue.add(channel.descriptor, token: 0, interest: [.readable])
            let end = Clock.monotonicMilliseconds() + timeoutMilliseconds
            while true {
                let now = Clock.monotonicMilliseconds()
                if now >= end { break }
                _ = try queue.wait(timeoutMilliseconds: Int32(clamping: end - now))
                _ = try channel.receive()
                while let line = try channel.nextLine() {
                    if take(try JSONReader.parse(line).root) { return }
                }
            }
        } catch {
            let reason =
                switch error {
                case LineChannel.Fault.closed, LineChannel.Fault.system(.connectionReset),
                    LineChannel.Fault.system(.brokenPipe):
                    "\(peer) ended before it answered"
                case LineChannel.Fault.lineTooLong(let limit): "\(peer)'s answer is longer than \(limit) bytes"
                case LineChannel.Fault.system(let error): "\(peer) cannot be asked: \(error)"
                case let fault as Diagnostic: "\(peer)'s answer is not understood: \(fault.message)"
                default: "\(peer) cannot be asked: \(error)"
                }
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: \(reason)")
        }
        throw CommandFault(
            code: ExitCode.failed, message: "serverpyctl: \(peer) did not answer within \(timeoutMilliseconds) ms")
    }
}
