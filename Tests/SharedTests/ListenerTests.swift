import Foundation
import Testing

@testable import Shared

/// A listener that is given up loses no connection: those that have begun can be accepted, those that begin come to its successor.
@Suite struct ListenerTests {
    private func isConnected(_ socket: Descriptor, milliseconds: Int32) throws -> Bool {
        let queue = try EventQueue(eventsPerTurn: 1)
        try queue.add(socket, token: 0, interest: [.writable])
        return try queue.wait(timeoutMilliseconds: milliseconds) > 0 && Socket.pendingError(socket) == nil
    }

    @Test func whatBeginsWhileAListenerIsReplacedReachesItsSuccessor() throws {
        let old = try Socket.listen(on: .loopback(port: 0))
        let address = try #require(try Socket.localAddress(old))
        let (before, _) = try Socket.connect(to: address)
        defer { before.close() }
        #expect(try isConnected(before, milliseconds: 5000))
        // A second holder, as each forwarder is one.
        let other = try old.duplicate()
        try Socket.dropNewConnections(old)
        let (late, _) = try Socket.connect(to: address)
        defer { late.close() }
        #expect(try !isConnected(late, milliseconds: 200), "neither taken nor refused")
        let (accepted, _) = try Socket.accept(other)
        accepted.close()
        #expect(throws: Errno.again) { try Socket.accept(other) }
        old.close()
        other.close()
        let next = try Socket.listen(on: SocketAddress(ipv4: 0, port: address.port))
        defer { next.close() }
        #expect(try isConnected(late, milliseconds: 10_000), "its client tries again by itself")
        let (served, _) = try Socket.accept(next)
        served.close()
    }
}
