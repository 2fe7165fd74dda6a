import Shared

/// Questions to the discovery server's HTTP port; where it is, and its token, says discoveryd on discovery.sock.
struct DiscoveryClient {
    private let address: SocketAddress
    private let token: String?
    private let timeoutMilliseconds: UInt64

    /// `timeoutMilliseconds`: the longest silence that is waited for.
    init(_ options: Options, timeoutMilliseconds: UInt64 = Limits.answerMilliseconds) throws(CommandFault) {
        self.timeoutMilliseconds = timeoutMilliseconds
        var client = try OperatorClient(options)
        defer { client.close() }
        let answer = try client.command("api", [], timeoutMilliseconds: timeoutMilliseconds)
        guard let text = answer["address"]?.string, let address = SocketAddress(hostPort: text) else {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: discoveryd serves no HTTP")
        }
        self.address = address
        token = answer["token"]?.string
    }

    /// The body of an answer, as it comes.
    func get(_ path: String, take: (ArraySlice<UInt8>) throws(CommandFault) -> Void) throws(CommandFault) {
        do {
            let (descriptor, _) = try Socket.connect(to: address)
            defer { descriptor.close() }
            let queue = try EventQueue()
            try queue.add(descriptor, token: 0, interest: [.writable])
            _ = try queue.wait(timeoutMilliseconds: Int32(clamping: timeoutMilliseconds))
            if let error = Socket.pendingError(descriptor) { throw error }
            // HTTP/1.0: the end of the connection is the end of the body, and nothing is chunked.
            let authorization = token.map { "Authorization: Bearer \($0)\r\n" } ?? ""
            try descriptor.writeAll(Array("GET \(path) HTTP/1.0\r\nHost: localhost\r\n\(authorization)\r\n".utf8))
            try queue.modify(descriptor, token: 0, interest: [.readable, .peerClosed])
            try read(descriptor, queue, take)
        } catch let error as Errno {
            throw CommandFault(
                code: ExitCode.failed, message: "serverpyctl: the discovery server at \(address): \(error)")
        } catch let fault as CommandFault {
            throw fault
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: \(error)")
        }
    }

    private func read(
        _ descriptor: Descriptor, _ queue: borrowing EventQueue,
        _ take: (ArraySlice<UInt8>) throws(CommandFault) -> Void
    ) throws {
        var head: [UInt8]? = []
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            var span = chunk.mutableSpan
            let result = descriptor.receive(into: &span)
            guard let count = result.count else {
                guard result.isAgain else { throw result.error }
                if try queue.wait(timeoutMilliseconds: Int32(clamping: timeoutMilliseconds)) == 0 {
                    throw Errno.timedOut
                }
                continue
            }
            if count == 0 { break }
            guard var bytes = head else {
                try take(chunk[..<count])
                continue
            }
            bytes += chunk[..<count]
            head = bytes
            guard let end = bytes.indices.dropLast(3).first(where: { bytes[$0...].starts(with: [13, 10, 13, 10]) })
            else {
                guard bytes.count <= Limits.headBytes else { break }
                continue
            }
            let line = String(decoding: bytes.prefix { $0 != 13 }, as: UTF8.self)
            guard line.hasPrefix("HTTP/1.1 200 ") else {
                throw CommandFault(
                    code: ExitCode.failed, message: "serverpyctl: the discovery server answered \(line.dropFirst(9))")
            }
            head = nil
            try take(bytes[(end + 4)...])
        }
        if head != nil {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl: the discovery server gave no answer")
        }
    }

    /// A small answer, whole.
    func json(_ path: String) throws(CommandFault) -> Document.Value {
        var bytes: [UInt8] = []
        try get(path) { piece throws(CommandFault) in
            guard bytes.count + piece.count <= Limits.configurationBytes * 2 else {
                throw CommandFault(code: ExitCode.failed, message: "serverpyctl: the answer is too long")
            }
            bytes += piece
        }
        do { return try JSONReader.parse(bytes).root } catch {
            throw CommandFault(
                code: ExitCode.failed,
                message: "serverpyctl: the discovery server's answer is no JSON: \(error.message)")
        }
    }
}
