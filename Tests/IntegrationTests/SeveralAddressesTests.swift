import Foundation
import Shared
import Testing

/// A name with several addresses of which some are bad, while no discoveryd polls: no request is lost, and the good ones serve.
@Suite struct SeveralAddressesTests {
    /// Says one snapshot to whoever connects, and nothing more.
    private final class Publisher {
        let directory: String
        private let listener: Descriptor

        init(_ instances: [[SocketAddress]], _ settings: ForwarderSettings) throws {
            directory = try Serverpy.temporaryDirectory()
            let listener = try UnixSocket.bind(.stream, path: directory + "/discovery.sock")
            try listener.setNonBlocking(false)
            self.listener = listener
            let lines = Self.lines(instances, settings)
            Thread.detachNewThread {
                while let (peer, _) = try? Socket.accept(listener) {
                    try? peer.setNonBlocking(false)
                    try? peer.writeAll(lines)
                }
            }
        }

        private static func lines(_ instances: [[SocketAddress]], _ settings: ForwarderSettings) -> [UInt8] {
            let version = SnapshotVersion(epoch: 1, number: 1)
            let named = instances.enumerated().flatMap { name, addresses in
                addresses.map { (name, addresses.count, $0) }
            }
            let all = named.enumerated().map { id, of in
                SnapshotInstance(
                    id: id, url: "many\(of.0):80", address: of.2, isOneOfSeveral: of.1 > 1, authority: "many\(of.0)",
                    priority: .medium, weight: 1,
                    state: InstanceState(
                        status: .up, suspect: false, draining: false, availability: 100, address: of.2))
            }
            var inner =
                SnapshotLines.settings(settings)
                + SnapshotLines.service(id: 0, name: "s", paths: ["/a"])
            for start in stride(from: 0, to: all.count, by: Limits.instancesPerLine) {
                inner += SnapshotLines.instances(service: 0, all[start...].prefix(Limits.instancesPerLine))
            }
            return SnapshotLines.begin(version, 2, services: 1, instances: all.count) + inner
                + SnapshotLines.end(version, digest: LineDigest(of: inner))
        }

        deinit {
            Socket.shutdownBoth(listener)
            try? FileManager.default.removeItem(atPath: directory)
        }
    }

    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    /// An address of this machine where nobody listens.
    private func refusing() throws -> SocketAddress {
        let socket = try Socket.listen(on: .loopback(port: 0))
        defer { socket.close() }
        return try #require(try Socket.localAddress(socket))
    }

    /// An address that takes a few connections and then drops every SYN: its backlog is full.
    private func silent() throws -> (SocketAddress, [Descriptor]) {
        let socket = try Socket.listen(on: .loopback(port: 0), backlog: 0)
        let address = try #require(try Socket.localAddress(socket))
        var waiting = [socket]
        for _ in 0..<8 { waiting.append(try Socket.connect(to: address).0) }
        return (address, waiting)
    }

    /// `body` is given the port of a forwarder that answers /a with `status`.
    private func with(
        _ instances: [[SocketAddress]], _ settings: ForwarderSettings = ForwarderSettings(), status: UInt16 = 200,
        _ body: (UInt16) throws -> Void
    ) throws {
        let publisher = try Publisher(instances, settings)
        let free = try refusing()
        let forwarder = try Running(
            program: "forwarderd",
            arguments: ["--runtime-dir", publisher.directory, "--listen", "127.0.0.1:\(free.port)"])
        defer { forwarder.signal(.kill) }
        #expect(Eventually.holds { (try? Client.get(free.port, "/a"))?.status == status }, "\(forwarder.errors)")
        try body(free.port)
        withExtendedLifetime(publisher) {}
    }

    @Test(arguments: ["GET", "POST"]) func anAddressThatRefusesCostsNoRequest(_ method: String) throws {
        let (one, two) = (
            try StubInstance { _, _ in .bytesAndClose(Self.ok) }, try StubInstance { _, _ in .bytesAndClose(Self.ok) }
        )
        try with([[try refusing(), .loopback(port: one.port), .loopback(port: two.port)]]) { port throws in
            for _ in 0..<60 {
                let client = try Client(port: port)
                try client.send("\(method) /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
                #expect(try client.read().status == 200)
            }
            #expect(one.received.count >= 20 && two.received.count >= 20, "both that serve take their part")
        }
    }

    /// Connected to, it takes a request and hangs up: what may be asked twice goes to the next address.
    @Test(arguments: [false, true]) func anAddressThatHangsUpCostsNoRequestThatMayBeRepeated(_ resets: Bool) throws {
        let stub = try StubInstance { _, _ in .bytesAndClose(Self.ok) }
        let listener = try Socket.listen(on: .loopback(port: 0))
        try listener.setNonBlocking(false)
        defer { Socket.shutdownBoth(listener) }
        Thread.detachNewThread {
            while let (peer, _) = try? Socket.accept(listener) {
                try? peer.setNonBlocking(false)
                var bytes = [UInt8](repeating: 0, count: 4096)
                var span = bytes.mutableSpan
                _ = peer.receive(into: &span)
                if resets { Socket.resetOnClose(peer) }
                peer.close()
            }
        }
        try with([[try #require(try Socket.localAddress(listener)), .loopback(port: stub.port)]]) { port in
            for _ in 0..<40 {
                let status = try Client.get(port, "/a").status
                #expect(status == 200)
            }
        }
    }

    @Test func anAddressThatDropsConnectionsIsTriedFewTimesAndCostsNoRequest() throws {
        let stub = try StubInstance { _, _ in .bytesAndClose(Self.ok) }
        let (address, held) = try silent()
        defer { for socket in held { socket.close() } }
        try with([[address, .loopback(port: stub.port)]]) { port throws in
            let start = Date()
            for _ in 0..<40 { #expect(try Client.get(port, "/a").status == 200) }
            // Each try of the silent one takes the connect time-out of a second.
            #expect(Date().timeIntervalSince(start) < 12)
        }
    }

    /// Connections that are kept to one address do not draw all requests to it.
    @Test func keptConnectionsAreOfAllAddresses() throws {
        let stubs = try (0..<3).map { _ in try StubInstance { _, _ in .bytes(Self.ok) } }
        try with([stubs.map { .loopback(port: $0.port) }]) { port throws in
            for _ in 0..<60 { #expect(try Client.get(port, "/a").status == 200) }
            for stub in stubs { #expect(stub.received.count >= 15, "\(stubs.map(\.received.count))") }
        }
    }

    @Test func theNextInstanceServesIfAllAddressesOfOneRefuse() throws {
        let stub = try StubInstance { _, _ in .bytesAndClose(Self.ok) }
        try with([[try refusing(), try refusing(), try refusing()], [.loopback(port: stub.port)]]) { port throws in
            for _ in 0..<20 { #expect(try Client.get(port, "/a").status == 200) }
        }
    }

    /// However many addresses there are, one request is tried on a bounded number of connections.
    @Test func aRequestThatFindsNobodyIsTriedABoundedNumberOfTimes() throws {
        let path = "/tmp/serverpy-test-" + Text.hexadecimal(SystemRandom.word())
        defer { try? FileManager.default.removeItem(atPath: path) }
        var settings = ForwarderSettings()
        settings.accessLog = .file(path)
        let instances = try (0..<4).map { _ in try (0..<16).map { _ in try refusing() } }
        try with(instances, settings, status: 502) { port throws in
            for _ in 0..<20 { #expect(try Client.get(port, "/a").status == 502) }
            func tries() -> [Int] {
                ((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").split(separator: "\n").compactMap {
                    $0.split(separator: " ").first { $0.hasPrefix("tries=") }.flatMap { Int($0.dropFirst(6)) }
                }
            }
            #expect(Eventually.holds { tries().count >= 21 }, "\(tries())")
            let most = tries().max() ?? 0
            #expect(most >= 2 && most <= Limits.instancesTriedPerRequest, "\(tries())")
        }
    }
}
