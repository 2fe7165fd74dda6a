import CLinux
import Glibc

/// A thread beside the event loop, for calls that block: name look-ups, disk. See pthread_create(3).
public enum SystemThread {
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts a detached thread. Signals stay blocked in it as they are in the caller.
    public static func start(_ run: @escaping @Sendable () -> Void) throws(Errno) {
        let body = unsafe Unmanaged.passRetained(Body(run))
        var thread = pthread_t()
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        unsafe pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        let code = unsafe pthread_create(
            &thread, &attributes,
            { raw in
                guard let raw = unsafe raw else { return nil }
                unsafe Unmanaged<Body>.fromOpaque(raw).takeRetainedValue().run()
                return nil
            }, body.toOpaque())
        unsafe pthread_attr_destroy(&attributes)
        if code != 0 {
            unsafe body.release()
            throw Errno(code)
        }
    }
}

/// Turns host names into addresses; blocks, so only for threads beside the loop.
public enum NameLookup {
    /// EAI_NODATA, which Glibc's module does not have: the name exists and has no address.
    private static let noData: Int32 = -5

    public struct Fault: Error, Sendable {
        public let reason: String
        /// That there is no such name, or that it has no address, is an answer.
        public let isAbsence: Bool
    }

    /// All addresses of a name in the system's order of preference (RFC 6724), without duplicates.
    /// The corresponding C function is getaddrinfo(3).
    public static func addresses(of host: String, port: UInt16) throws(Fault) -> [SocketAddress] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        let code = unsafe host.withCString { unsafe getaddrinfo($0, nil, &hints, &list) }
        if code != 0 {
            throw Fault(
                reason: code == EAI_SYSTEM ? Errno.last.description : unsafe String(cString: gai_strerror(code)),
                isAbsence: code == EAI_NONAME || code == noData)
        }
        defer { unsafe freeaddrinfo(list) }
        var result: [SocketAddress] = []
        var entry = unsafe list
        while let current = unsafe entry {
            var storage = sockaddr_storage()
            let length = unsafe min(Int(current.pointee.ai_addrlen), MemoryLayout<sockaddr_storage>.size)
            unsafe withUnsafeMutableBytes(of: &storage) {
                unsafe $0.copyMemory(from: UnsafeRawBufferPointer(start: current.pointee.ai_addr, count: length))
            }
            if var address = SocketAddress(&storage) {
                address.port = port
                if !result.contains(address) { result.append(address) }
            }
            unsafe entry = unsafe current.pointee.ai_next
        }
        return result
    }
}
