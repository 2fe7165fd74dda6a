import CLinux
import Glibc

/// Stream and datagram sockets over IP. All are made non-blocking and close-on-exec.
public enum Socket {
    private static let streamType =
        Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)

    static func domain(_ family: SocketAddress.Family) -> Int32 { family == .ipv4 ? AF_INET : AF_INET6 }

    /// A listening TCP socket. `address` on port 0 lets the system choose: see `localAddress`.
    /// `dualStack` makes an IPv6 wildcard serve IPv4 too (ipv6(7), IPV6_V6ONLY off). `own`: listeners of ours that may have the port
    /// already, at an address that this one covers or that covers it (socket(7), SO_REUSEPORT).
    public static func listen(
        on address: SocketAddress, backlog: Int32 = Limits.listenBacklog, dualStack: Bool = false,
        beside own: [Descriptor] = []
    ) throws(Errno) -> Descriptor {
        let socket = Descriptor(try retrying { Glibc.socket(domain(address.family), streamType, 0) })
        do throws(Errno) {
            try set(socket, SOL_SOCKET, SO_REUSEADDR, 1)
            // Connections inherit it, which saves a call for each.
            try setNoDelay(socket)
            if address.family == .ipv6 { try set(socket, Int32(IPPROTO_IPV6), IPV6_V6ONLY, dualStack ? 0 : 1) }
            // The port is shared with our own only, and only while it is opened: other programs are refused as ever.
            let sharing = own.isEmpty ? [] : own + [socket]
            for descriptor in sharing { try set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
            defer { for descriptor in sharing { try? set(descriptor, SOL_SOCKET, SO_REUSEPORT, 0) } }
            _ = try retrying { unsafe address.withSockaddr { unsafe Glibc.bind(socket.rawValue, $0, $1) } }
            _ = try retrying { Glibc.listen(socket.rawValue, backlog) }
        } catch {
            socket.close()
            throw error
        }
        return socket
    }

    /// Begins a TCP connection. The result is `connected` at once (possible on loopback) or in progress. `sendsFirst`: this side sends as
    /// soon as it stands, and what completes the connection goes with that (tcp(7), TCP_QUICKACK): a packet less.
    public static func connect(to address: SocketAddress, noDelay: Bool = true, sendsFirst: Bool = false) throws(Errno)
        -> (Descriptor, connected: Bool)
    {
        let socket = Descriptor(try retrying { Glibc.socket(domain(address.family), streamType, 0) })
        if noDelay { try? setNoDelay(socket) }
        if sendsFirst { try? set(socket, Int32(IPPROTO_TCP), TCP_QUICKACK, 0) }
        let result = unsafe address.withSockaddr { unsafe Glibc.connect(socket.rawValue, $0, $1) }
        if result == 0 { return (socket, true) }
        let error = Errno.last
        // A signal leaves it going on, too (connect(2), EINTR).
        if error == .inProgress || error == .interrupted { return (socket, false) }
        socket.close()
        throw error
    }

    /// A UDP socket that talks to one address only, from a port that the system picks at random. What its host says of it (nothing listens
    /// there) comes as an error of the next call; udp(7), connect(2).
    public static func datagram(to address: SocketAddress) throws(Errno) -> Descriptor {
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let socket = Descriptor(try retrying { Glibc.socket(domain(address.family), type, 0) })
        do throws(Errno) {
            _ = try retrying { unsafe address.withSockaddr { unsafe Glibc.connect(socket.rawValue, $0, $1) } }
        } catch {
            socket.close()
            throw error
        }
        return socket
    }

    /// The outcome of a connect that was in progress, or a pending error; nil when there is none.
    /// The corresponding C function is getsockopt(2) with SO_ERROR.
    public static func pendingError(_ socket: Descriptor) -> Errno? {
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard unsafe getsockopt(socket.rawValue, SOL_SOCKET, SO_ERROR, &code, &length) == 0 else { return Errno.last }
        return code == 0 ? nil : Errno(code)
    }

    /// Takes one connection from a listener, with its peer's address (nil for Unix sockets).
    /// The corresponding C function is accept4(2).
    @inline(__always)
    public static func accept(_ listener: Descriptor) throws(Errno) -> (Descriptor, SocketAddress?) {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let raw = unsafe withUnsafeMutablePointer(to: &storage) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe accept4(listener.rawValue, $0, &length, flags)
            }
        }
        if raw < 0 { throw Errno.last }
        return (Descriptor(raw), SocketAddress(&storage))
    }

    /// What `acceptNext` has found.
    public enum Accepted {
        /// With its peer's address; nil for Unix sockets.
        case connection(Descriptor, SocketAddress?)
        /// Nobody waits.
        case nobody
        /// No descriptors or no memory are left: a listener that stayed registered would only spin.
        case noRoom
    }

    /// Takes the next connection that is not over already.
    public static func acceptNext(_ listener: Descriptor) -> Accepted {
        while true {
            do throws(Errno) {
                let (descriptor, peer) = try accept(listener)
                return .connection(descriptor, peer)
            } catch {
                switch error.acceptOutcome {
                case .nobody: return .nobody
                case .next: continue
                case .noDescriptors, .pause: return .noRoom
                }
            }
        }
    }

    /// The address a socket is bound to; nil for Unix sockets.
    public static func localAddress(_ socket: Descriptor) throws(Errno) -> SocketAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        _ = try retrying {
            unsafe withUnsafeMutablePointer(to: &storage) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe getsockname(socket.rawValue, $0, &length)
                }
            }
        }
        return SocketAddress(&storage)
    }

    /// Whether a connection to an address of this machine has met itself: both ends are one socket.
    public static func isConnectedToItself(_ socket: Descriptor, _ address: SocketAddress) -> Bool {
        // Only ports that connect(2) hands out can be met; below them nothing needs to be asked.
        guard address.isLoopback, address.port >= 1024, let local = (try? localAddress(socket)) ?? nil else {
            return false
        }
        return local == address
    }

    /// Whether the socket is listening: an inherited one must be.
    public static func isListening(_ socket: Descriptor) -> Bool {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return unsafe getsockopt(socket.rawValue, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value != 0
    }

    public static func setNoDelay(_ socket: Descriptor) throws(Errno) {
        try set(socket, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }

    static func set(_ socket: Descriptor, _ level: Int32, _ option: Int32, _ value: Int32) throws(Errno) {
        var value = value
        _ = try retrying {
            unsafe setsockopt(socket.rawValue, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    /// Ends the sending side: the peer sees the end of the stream. The corresponding C function is shutdown(2).
    public static func shutdownWrite(_ socket: Descriptor) {
        _ = Glibc.shutdown(socket.rawValue, Int32(SHUT_WR))
    }

    /// Ends both directions: whoever waits on the socket is woken. Never for a listener that other processes share.
    public static func shutdownBoth(_ socket: Descriptor) {
        _ = Glibc.shutdown(socket.rawValue, Int32(SHUT_RDWR))
    }

    /// From which ports this machine's connections go out. /proc/sys/net/ipv4/ip_local_port_range; see ip(7).
    public static var ephemeralPorts: ClosedRange<UInt16> {
        let text = (try? Files.read("/proc/sys/net/ipv4/ip_local_port_range", maxBytes: 100)) ?? []
        let ports = text.split { $0 < 0x30 || $0 > 0x39 }.compactMap { DecimalDigits.parse($0, max: 65535) }
        guard ports.count == 2, ports[0] <= ports[1] else { return 1...65535 }
        return UInt16(ports[0])...UInt16(ports[1])
    }

    /// Makes close send a reset, so that a peer waiting for more sees a loss and not an end (socket(7), SO_LINGER).
    public static func resetOnClose(_ socket: Descriptor) {
        var value = linger(l_onoff: 1, l_linger: 0)
        _ = unsafe setsockopt(
            socket.rawValue, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
    }

    /// A listener takes no new connection from now on, whoever else holds it, and refuses none: what begins a connection (a SYN) is
    /// dropped, and its client tries again a second later, elsewhere. What has begun is completed and can be accepted. Only so can a
    /// listener be emptied and closed without a reset; socket(7), SO_ATTACH_FILTER. It cannot be taken back by closing.
    public static func dropNewConnections(_ listener: Descriptor) throws(Errno) {
        // Byte 13 of a TCP header holds the flags, 0x02 is SYN (RFC 9293 3.1): with it 0 bytes are kept, else all.
        var program = [
            sock_filter(code: UInt16(BPF_LD | BPF_B | BPF_ABS), jt: 0, jf: 0, k: 13),
            sock_filter(code: UInt16(BPF_JMP | BPF_JSET | BPF_K), jt: 0, jf: 1, k: 2),
            sock_filter(code: UInt16(BPF_RET | BPF_K), jt: 0, jf: 0, k: 0),
            sock_filter(code: UInt16(BPF_RET | BPF_K), jt: 0, jf: 0, k: .max),
        ]
        _ = try retrying {
            unsafe program.withUnsafeMutableBufferPointer { filter in
                var whole = unsafe sock_fprog(len: UInt16(clamping: filter.count), filter: filter.baseAddress)
                return unsafe setsockopt(
                    listener.rawValue, SOL_SOCKET, SO_ATTACH_FILTER, &whole, socklen_t(MemoryLayout<sock_fprog>.size))
            }
        }
    }

    /// Bytes that were sent and that the peer has not acknowledged; tcp(7), SIOCOUTQ.
    public static func unacknowledgedBytes(_ socket: Descriptor) -> Int {
        var count: Int32 = 0
        let result = unsafe withUnsafeMutablePointer(to: &count) { unsafe ioctl(socket.rawValue, UInt(TIOCOUTQ), $0) }
        return result == 0 ? Int(count) : 0
    }

    /// A non-blocking pair of connected Unix sockets that keep message boundaries, close-on-exec.
    public static func sequencedPair() throws(Errno) -> (Descriptor, Descriptor) {
        var pair: (Int32, Int32) = (-1, -1)
        let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        _ = try retrying {
            unsafe withUnsafeMutableBytes(of: &pair) {
                unsafe socketpair(AF_UNIX, type, 0, $0.baseAddress?.assumingMemoryBound(to: Int32.self))
            }
        }
        return (Descriptor(pair.0), Descriptor(pair.1))
    }

    /// An ICMP echo socket: unprivileged datagram first, raw next; see icmp(7) and raw(7).
    public static func icmp(_ family: SocketAddress.Family) throws(Errno) -> (Descriptor, raw: Bool) {
        let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let number = family == .ipv4 ? Int32(IPPROTO_ICMP) : Int32(IPPROTO_ICMPV6)
        do throws(Errno) {
            let type = Int32(SOCK_DGRAM.rawValue) | flags
            return (Descriptor(try retrying { Glibc.socket(domain(family), type, number) }), false)
        } catch {
            let type = Int32(SOCK_RAW.rawValue) | flags
            return (Descriptor(try retrying { Glibc.socket(domain(family), type, number) }), true)
        }
    }
}

extension Descriptor {
    /// An ICMP socket that was opened by somebody else: whether it is a raw one; socket(7), SO_TYPE.
    public var isRawSocket: Bool {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return unsafe getsockopt(rawValue, SOL_SOCKET, SO_TYPE, &value, &length) == 0
            && value == Int32(SOCK_RAW.rawValue)
    }

    /// Sends without SIGPIPE. The corresponding C function is send(2).
    @inlinable @inline(__always)
    public func send(_ bytes: Span<UInt8>) -> IOResult {
        unsafe bytes.withUnsafeBufferPointer {
            let (base, count) = ($0.baseAddress, $0.count)
            return IOResult { unsafe Glibc.send(rawValue, base, count, Int32(MSG_NOSIGNAL)) }
        }
    }

    /// Sends two ranges in one call without SIGPIPE. The corresponding C function is sendmsg(2).
    public func send(_ first: Span<UInt8>, _ second: Span<UInt8>) -> IOResult {
        unsafe first.withUnsafeBufferPointer { head in
            unsafe second.withUnsafeBufferPointer { body in
                var vectors = unsafe (
                    iovec(iov_base: UnsafeMutableRawPointer(mutating: head.baseAddress), iov_len: head.count),
                    iovec(iov_base: UnsafeMutableRawPointer(mutating: body.baseAddress), iov_len: body.count)
                )
                return unsafe withUnsafeMutableBytes(of: &vectors) { raw in
                    var message = unsafe msghdr()
                    unsafe message.msg_iov = raw.baseAddress?.assumingMemoryBound(to: iovec.self)
                    unsafe message.msg_iovlen = 2
                    return IOResult { unsafe sendmsg(rawValue, &message, Int32(MSG_NOSIGNAL)) }
                }
            }
        }
    }

    /// Receives into the front of `bytes`; 0 is the end of the stream. The corresponding C function is recv(2).
    @inlinable @inline(__always)
    public func receive(into bytes: inout MutableSpan<UInt8>) -> IOResult {
        unsafe bytes.withUnsafeMutableBufferPointer {
            let (base, count) = ($0.baseAddress, $0.count)
            return IOResult { unsafe Glibc.recv(rawValue, base, count, 0) }
        }
    }

    /// Looks at what has arrived without taking it: nothing yet, the end, or an error.
    /// The corresponding C function is recv(2) with MSG_PEEK.
    public func peek() -> IOResult {
        var byte: UInt8 = 0
        return IOResult { unsafe Glibc.recv(rawValue, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) }
    }

    /// Sends a datagram to an address. The corresponding C function is sendto(2).
    public func send(_ bytes: [UInt8], to address: SocketAddress) -> IOResult {
        unsafe address.withSockaddr { pointer, length in
            unsafe bytes.withUnsafeBytes {
                let (base, count) = ($0.baseAddress, $0.count)
                return IOResult { unsafe sendto(rawValue, base, count, Int32(MSG_NOSIGNAL), pointer, length) }
            }
        }
    }

    /// Receives a datagram of at most `capacity` bytes with its sender. The corresponding C function is recvfrom(2).
    public func receiveDatagram(capacity: Int) -> (IOResult, bytes: [UInt8], from: SocketAddress?) {
        var bytes = [UInt8](repeating: 0, count: capacity)
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe withUnsafeMutablePointer(to: &storage) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    let address = unsafe $0
                    return IOResult {
                        unsafe recvfrom(rawValue, buffer.baseAddress, buffer.count, 0, address, &length)
                    }
                }
            }
        }
        bytes.removeSubrange(min(max(result.raw, 0), capacity)...)
        return (result, bytes, SocketAddress(&storage))
    }

    /// The corresponding C function is write(2).
    public func write(_ bytes: Span<UInt8>) -> IOResult {
        unsafe bytes.withUnsafeBufferPointer {
            let (base, count) = ($0.baseAddress, $0.count)
            return IOResult { unsafe Glibc.write(rawValue, base, count) }
        }
    }

    /// Reads up to `bytes.count`; 0 is the end. The corresponding C function is read(2).
    public func read(into bytes: inout MutableSpan<UInt8>) -> IOResult {
        unsafe bytes.withUnsafeMutableBufferPointer {
            let (base, count) = ($0.baseAddress, $0.count)
            return IOResult { unsafe Glibc.read(rawValue, base, count) }
        }
    }

    /// Writes all of `bytes` to a blocking descriptor.
    public func writeAll(_ bytes: [UInt8]) throws(Errno) {
        var offset = 0
        while offset < bytes.count {
            let result = write(bytes.span.extracting(offset..<bytes.count))
            if let count = result.count {
                offset += count
            } else {
                throw result.error
            }
        }
    }
}
