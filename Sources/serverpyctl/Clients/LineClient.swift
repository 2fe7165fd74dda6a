import Shared

/// One end of a Unix socket on which a line of JSON asks and lines of JSON answer.
struct LineClient {
    private var channel: LineChannel
    /// Who answers, in words.
    private let peer: String

    init(path: String, peer: String) throws(Errno) {
        channel = LineChannel(try UnixSocket.connect(.stream, path: path))
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
            _ = try channel.flush()
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
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: \(peer) ended before it answered")
        }
        throw CommandFault(
            code: ExitCode.failed, message: "serverpyctl: \(peer) did not answer within \(timeoutMilliseconds) ms")
    }
}
