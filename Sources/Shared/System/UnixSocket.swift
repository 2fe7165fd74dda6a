import CLinux
import Glibc

/// Who is at the other end of a Unix socket, as the kernel says.
public struct PeerCredentials: Equatable, Sendable {
    public let pid: Int32
    public let uid: UInt32
    public let gid: UInt32
}

/// One message of a Unix socket with what came beside its bytes.
public struct UnixMessage: Sendable {
    public var bytes: [UInt8] = []
    public var descriptors: [Descriptor] = []
    public var sender: PeerCredentials?
    /// The message was longer than the buffer, or its ancillary data did not fit: do not trust it.
    public var isTruncated = false

    public init() {}
}

/// Unix domain sockets: addresses, credentials and descriptor passing; see unix(7).
public enum UnixSocket {
    public enum Kind: Sendable { case stream, datagram, sequenced }

    /// The longest path a socket address holds, without the closing NUL (unix(7)).
    public static let maxPathBytes = 107
    /// Descriptors taken from one message at most.
    public static let maxDescriptors = 16

    /// Room for 16 descriptors and one set of credentials with their headers (cmsg(3)).
    private static let controlBytes = 256

    private static func type(_ kind: Kind) -> Int32 {
        let base =
            switch kind {
            case .stream: Int32(SOCK_STREAM.rawValue)
            case .datagram: Int32(SOCK_DGRAM.rawValue)
            case .sequenced: Int32(SOCK_SEQPACKET.rawValue)
            }
        return base | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    }

    private static func withAddress(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(Errno) -> Int32 {
        let bytes = [UInt8](path.utf8)
        guard bytes.count <= maxPathBytes, !bytes.isEmpty, !bytes.contains(0) else { throw .nameTooLong }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        // "@name" is Linux's abstract namespace: systemd may put NOTIFY_SOCKET there.
        if bytes[0] == UInt8(ascii: "@") {
            unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0[0] = 0 }
        }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count + (bytes[0] == UInt8(ascii: "@") ? 0 : 1))
        return try retrying {
            unsafe withUnsafePointer(to: &address) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0, length) }
            }
        }
    }

    /// A bound socket at `path`, mode 0600, listening unless it is a datagram socket. A file that is there is
    /// removed first: the caller holds the lock on the directory.
    public static func bind(_ kind: Kind, path: String, backlog: Int32 = Limits.listenBacklog) throws(Errno)
        -> Descriptor
    {
        let socket = Descriptor(try retrying { Glibc.socket(AF_UNIX, type(kind), 0) })
        let mask = umask(0o177)
        defer { umask(mask) }
        do throws(Errno) {
            _ = unsafe path.withCString { unsafe Glibc.unlink($0) }
            _ = try unsafe withAddress(path) { unsafe Glibc.bind(socket.rawValue, $0, $1) }
            if kind != .datagram { _ = try retrying { Glibc.listen(socket.rawValue, backlog) } }
        } catch {
            socket.close()
            throw error
        }
        return socket
    }

    /// A socket connected to `path`. On a Unix socket connect completes at once or fails (EAGAIN: backlog full).
    public static func connect(_ kind: Kind, path: String) throws(Errno) -> Descriptor {
        let socket = Descriptor(try retrying { Glibc.socket(AF_UNIX, type(kind), 0) })
        do throws(Errno) {
            _ = try unsafe withAddress(path) { unsafe Glibc.connect(socket.rawValue, $0, $1) }
        } catch {
            socket.close()
            throw error
        }
        return socket
    }

    /// The process that connected (or made the pair). On the connecting side it names whoever called listen(),
    /// so only the accepting side may rely on it.
    public static func peer(of socket: Descriptor) throws(Errno) -> PeerCredentials {
        var raw = clinux_credentials()
        var length = socklen_t(MemoryLayout<clinux_credentials>.size)
        _ = try retrying {
            unsafe getsockopt(socket.rawValue, SOL_SOCKET, Int32(CLINUX_SO_PEERCRED), &raw, &length)
        }
        return PeerCredentials(pid: raw.pid, uid: raw.uid, gid: raw.gid)
    }

    /// Lets each received message carry its sender's credentials (unix(7), SO_PASSCRED).
    public static func receiveCredentials(_ socket: Descriptor) throws(Errno) {
        try Socket.set(socket, SOL_SOCKET, Int32(CLINUX_SO_PASSCRED), 1)
    }

    /// Sends one message with descriptors beside it (at most `maxDescriptors`).
    public static func send(_ bytes: [UInt8], descriptors: [Descriptor] = [], on socket: Descriptor) throws(Errno) {
        precondition(descriptors.count <= maxDescriptors)
        var control = [UInt8](repeating: 0, count: controlBytes)
        let headerSize = MemoryLayout<cmsghdr>.size
        let length = headerSize + descriptors.count * 4
        _ = try retrying {
            let sent = unsafe control.withUnsafeMutableBytes { raw in
                unsafe bytes.withUnsafeBytes { data in
                    var vector = unsafe iovec(
                        iov_base: UnsafeMutableRawPointer(mutating: data.baseAddress), iov_len: data.count)
                    var message = unsafe msghdr()
                    if !descriptors.isEmpty {
                        var header = cmsghdr()
                        header.cmsg_len = length
                        header.cmsg_level = SOL_SOCKET
                        header.cmsg_type = Int32(SCM_RIGHTS)
                        unsafe raw.storeBytes(of: header, as: cmsghdr.self)
                        for (index, descriptor) in descriptors.enumerated() {
                            unsafe raw.storeBytes(
                                of: descriptor.rawValue, toByteOffset: headerSize + index * 4, as: Int32.self)
                        }
                        unsafe message.msg_control = raw.baseAddress
                        unsafe message.msg_controllen = (length + 7) & ~7
                    }
                    return unsafe withUnsafeMutablePointer(to: &vector) {
                        unsafe message.msg_iov = $0
                        unsafe message.msg_iovlen = 1
                        return unsafe sendmsg(socket.rawValue, &message, Int32(MSG_NOSIGNAL))
                    }
                }
            }
            return Int32(clamping: sent)
        }
    }

    /// Receives one message of at most `capacity` bytes. Nil at the end of the connection; throws `.again` when
    /// there is none.
    public static func receive(on socket: Descriptor, capacity: Int) throws(Errno) -> UnixMessage? {
        var result = UnixMessage()
        result.bytes = [UInt8](repeating: 0, count: capacity)
        var control = [UInt8](repeating: 0, count: controlBytes)
        var flags: Int32 = 0
        var controlLength = 0
        let count = try retrying {
            let received = unsafe control.withUnsafeMutableBytes { raw in
                unsafe result.bytes.withUnsafeMutableBytes { data in
                    var vector = unsafe iovec(iov_base: data.baseAddress, iov_len: data.count)
                    return unsafe withUnsafeMutablePointer(to: &vector) {
                        var message = unsafe msghdr()
                        unsafe message.msg_iov = $0
                        unsafe message.msg_iovlen = 1
                        unsafe message.msg_control = raw.baseAddress
                        unsafe message.msg_controllen = raw.count
                        let count = unsafe recvmsg(socket.rawValue, &message, Int32(MSG_CMSG_CLOEXEC))
                        flags = unsafe message.msg_flags
                        controlLength = unsafe min(message.msg_controllen, raw.count)
                        return count
                    }
                }
            }
            return Int32(clamping: received)
        }
        unsafe control.withUnsafeBytes { unsafe readControl($0, length: controlLength, into: &result) }
        result.isTruncated = flags & (Int32(MSG_TRUNC) | Int32(MSG_CTRUNC)) != 0
        result.bytes.removeSubrange(min(Int(count), capacity)...)
        if count == 0, result.descriptors.isEmpty { return nil }
        return result
    }

    private static func readControl(_ raw: UnsafeRawBufferPointer, length: Int, into message: inout UnixMessage) {
        let headerSize = MemoryLayout<cmsghdr>.size
        var offset = 0
        while offset + headerSize <= length {
            let header = unsafe raw.loadUnaligned(fromByteOffset: offset, as: cmsghdr.self)
            let size = Int(clamping: header.cmsg_len)
            guard size >= headerSize, size <= length - offset else { return }
            if header.cmsg_level == SOL_SOCKET, header.cmsg_type == Int32(SCM_RIGHTS) {
                var position = offset + headerSize
                while position + 4 <= offset + size {
                    message.descriptors.append(
                        Descriptor(unsafe raw.loadUnaligned(fromByteOffset: position, as: Int32.self)))
                    position += 4
                }
            } else if header.cmsg_level == SOL_SOCKET, header.cmsg_type == Int32(CLINUX_SCM_CREDENTIALS),
                size >= headerSize + MemoryLayout<clinux_credentials>.size
            {
                let peer = unsafe raw.loadUnaligned(fromByteOffset: offset + headerSize, as: clinux_credentials.self)
                message.sender = PeerCredentials(pid: peer.pid, uid: peer.uid, gid: peer.gid)
            }
            offset += (size + 7) & ~7
        }
    }
}
