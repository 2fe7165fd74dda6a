import Foundation
import Glibc
import Shared
import Synchronization

/// A name server that says exactly what a test wants, by datagram and over TCP.
final class StubNameServer: Sendable {
    enum Answer: Sendable {
        /// IPv4 addresses (any in 127.0.0.0/8), good for a second.
        case addresses([String])
        /// Records of a service: priority, weight, port, host.
        case services([(UInt16, UInt16, UInt16, String)])
        case noSuchName
        /// SERVFAIL.
        case failure
        case silence
    }

    let port: UInt16
    private let answers = Mutex<[String: Answer]>([:])
    private let datagrams: Int32
    private let listener: Descriptor
    private let questions = Mutex<[String]>([])
    private let overTCP = Mutex<Int>(0)

    /// Names that were asked for, in order.
    var asked: [String] { questions.withLock { $0 } }
    var askedOverTCP: Int { overTCP.withLock { $0 } }

    init(_ answers: [String: Answer]) throws {
        // Both kinds of sockets on one port; the system chooses it for one, and it is nearly always free for the other.
        var (datagrams, listener, port): (Int32, Descriptor, UInt16) = (-1, .none, 0)
        while datagrams < 0 {
            listener = try Socket.listen(on: .loopback(port: 0))
            try listener.setNonBlocking(false)
            port = try Socket.localAddress(listener)?.port ?? 0
            datagrams = Self.datagramSocket(port)
            if datagrams < 0 { listener.close() }
        }
        (self.datagrams, self.listener, self.port) = (datagrams, listener, port)
        self.answers.withLock { $0 = answers }
        Thread.detachNewThread { [self] in serveDatagrams() }
        Thread.detachNewThread { [self] in serveConnections() }
    }

    /// From now on.
    func set(_ name: String, _ answer: Answer) { answers.withLock { $0[name] = answer } }

    /// The threads hold on to it: it has to be told.
    func stop() {
        _ = Glibc.shutdown(datagrams, Int32(SHUT_RDWR))
        Socket.shutdownBoth(listener)
    }

    private static func datagramSocket(_ port: UInt16) -> Int32 {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result == 0 { return socket }
        Glibc.close(socket)
        return -1
    }

    private func serveDatagrams() {
        while true {
            let (result, bytes, from) = Descriptor(datagrams).receiveDatagram(capacity: 4096)
            guard let count = result.count, let from else { break }
            if count == 0 { break }
            if let answer = answer(bytes, limit: 512) { _ = Descriptor(datagrams).send(answer, to: from) }
        }
        Glibc.close(datagrams)
    }

    private func serveConnections() {
        while let (peer, _) = try? Socket.accept(listener) {
            try? peer.setNonBlocking(false)
            overTCP.withLock { $0 += 1 }
            var input: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 4096)
            while input.count < 2 || input.count < 2 + Int(input[0]) << 8 + Int(input[1]) {
                var span = chunk.mutableSpan
                guard let count = peer.receive(into: &span).count, count > 0 else { break }
                input += chunk[..<count]
            }
            if input.count > 2, let answer = answer(Array(input.dropFirst(2)), limit: 65_535) {
                try? peer.writeAll([UInt8(answer.count >> 8), UInt8(answer.count & 255)] + answer)
            }
            peer.close()
        }
        listener.close()
    }

    private func answer(_ query: [UInt8], limit: Int) -> [UInt8]? {
        var (labels, place): ([String], Int) = ([], 12)
        while place < query.count, query[place] > 0 {
            labels.append(String(decoding: query[place + 1..<place + 1 + Int(query[place])], as: UTF8.self))
            place += 1 + Int(query[place])
        }
        let end = place + 5
        guard end <= query.count else { return nil }
        let (name, type) = (labels.joined(separator: "."), query[place + 2])
        questions.withLock { $0.append(name) }
        var (code, records): (UInt8, [[UInt8]]) = (0, [])
        func word(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 255)] }
        func record(_ type: UInt16, _ data: [UInt8]) -> [UInt8] {
            [0xc0, 12] + word(type) + word(1) + [0, 0, 0, 1] + word(UInt16(data.count)) + data
        }
        switch answers.withLock({ $0[name] }) ?? .noSuchName {
        case .addresses(let all):
            if type == 1 { records = all.map { record(1, $0.split(separator: ".").compactMap { UInt8($0) }) } }
        case .services(let all):
            guard type == 33 else { break }
            for (priority, weight, port, host) in all {
                var target: [UInt8] = []
                for label in host.split(separator: ".") { target += [UInt8(label.utf8.count)] + Array(label.utf8) }
                records.append(record(33, word(priority) + word(weight) + word(port) + target + [0]))
            }
        case .noSuchName: code = 3
        case .failure: code = 2
        case .silence: return nil
        }
        var response = Array(query[..<2]) + [0x81, 0x80 | code] + word(1) + word(UInt16(records.count)) + [0, 0, 0, 0]
        response += query[12..<end]
        let whole = response + records.flatMap { $0 }
        if whole.count <= limit { return whole }
        response[2] |= 2
        response[6] = 0
        response[7] = 0
        return response
    }
}
