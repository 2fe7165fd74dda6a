import CLinux
import Glibc

/// An IPv4 or IPv6 address with a port: a plain value.
public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    public enum Family: UInt8, Sendable { case ipv4, ipv6 }

    public let family: Family
    /// Host byte order.
    public var port: UInt16
    /// The address in network order as two big-endian halves; IPv4 uses the low 32 bits of `low`.
    public let high: UInt64
    public let low: UInt64
    /// IPv6 zone; 0 for none.
    public let scope: UInt32

    /// Whether `appendHost` writes the same for both.
    @inlinable
    public func hasSameHost(as other: SocketAddress) -> Bool {
        low == other.low && high == other.high && family == other.family
    }

    public init(ipv4: UInt32, port: UInt16) {
        family = .ipv4
        self.port = port
        high = 0
        low = UInt64(ipv4)
        scope = 0
    }

    public init(ipv6High: UInt64, low: UInt64, port: UInt16, scope: UInt32 = 0) {
        family = .ipv6
        self.port = port
        high = ipv6High
        self.low = low
        self.scope = scope
    }

    public static func loopback(port: UInt16) -> SocketAddress { SocketAddress(ipv4: 0x7f00_0001, port: port) }

    /// Parses an address literal without port, brackets or zone: `127.0.0.1`, `::1`.
    /// The corresponding C function is inet_pton(3).
    public init?(literal: String, port: UInt16) {
        var four = in_addr()
        if unsafe literal.withCString({ unsafe inet_pton(AF_INET, $0, &four) }) == 1 {
            self.init(ipv4: UInt32(bigEndian: four.s_addr), port: port)
            return
        }
        var six = in6_addr()
        if unsafe literal.withCString({ unsafe inet_pton(AF_INET6, $0, &six) }) == 1 {
            let (high, low) = unsafe withUnsafeBytes(of: &six) { bytes in
                unsafe (
                    UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
                    UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                )
            }
            self.init(ipv6High: high, low: low, port: port)
            return
        }
        return nil
    }

    /// Parses what `description` prints: `127.0.0.1:80`, `[::1]:80`.
    public init?(hostPort text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        guard let port = DecimalDigits.parse(digits.utf8, max: 65535) else { return nil }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { return nil }
        } else if host.contains(":") {
            return nil
        }
        self.init(literal: String(host), port: UInt16(port))
    }

    /// 0.0.0.0 or ::, all addresses of this machine.
    public var isUnspecified: Bool { high == 0 && low == 0 }

    public var isLoopback: Bool {
        switch family {
        case .ipv4: low >> 24 == 127
        case .ipv6: high == 0 && (low == 1 || low >> 24 == 0xffff7f)
        }
    }

    /// An IPv4 address that a dual-stack listener shows as `::ffff:a.b.c.d` in its plain form.
    public var unmapped: SocketAddress {
        if family == .ipv6, high == 0, low >> 32 == 0xffff {
            return SocketAddress(ipv4: UInt32(truncatingIfNeeded: low), port: port)
        }
        return self
    }

    /// The address without port; no brackets.
    public var host: String {
        var out: [UInt8] = []
        appendHost(to: &out)
        return String(decoding: out, as: UTF8.self)
    }

    /// Appends the address without port. The corresponding C function is inet_ntop(3).
    public func appendHost(to out: inout [UInt8]) {
        switch family {
        case .ipv4:
            for shift in stride(from: 24 as UInt64, through: 0, by: -8) {
                let part = UInt8(truncatingIfNeeded: low >> shift)
                if part >= 100 { out.append(0x30 + part / 100) }
                if part >= 10 { out.append(0x30 + part / 10 % 10) }
                out.append(0x30 + part % 10)
                if shift > 0 { out.append(UInt8(ascii: ".")) }
            }
        case .ipv6:
            var six = in6_addr()
            unsafe withUnsafeMutableBytes(of: &six) { bytes in
                unsafe bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
                unsafe bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            var text = InlineArray<46, UInt8>(repeating: 0)
            unsafe withUnsafeMutableBytes(of: &text) { buffer in
                _ = unsafe inet_ntop(
                    AF_INET6, &six, buffer.baseAddress?.assumingMemoryBound(to: CChar.self), socklen_t(buffer.count))
            }
            for index in text.indices {
                if text[index] == 0 { break }
                out.append(text[index])
            }
        }
    }

    public var description: String {
        family == .ipv6 ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Calls `body` with the address as the kernel wants it.
    func withSockaddr<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        switch family {
        case .ipv4:
            var raw = sockaddr_in()
            raw.sin_family = sa_family_t(AF_INET)
            raw.sin_port = port.bigEndian
            raw.sin_addr.s_addr = UInt32(truncatingIfNeeded: low).bigEndian
            return unsafe withUnsafePointer(to: &raw) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        case .ipv6:
            var raw = sockaddr_in6()
            raw.sin6_family = sa_family_t(AF_INET6)
            raw.sin6_port = port.bigEndian
            raw.sin6_scope_id = scope
            unsafe withUnsafeMutableBytes(of: &raw.sin6_addr) { bytes in
                unsafe bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
                unsafe bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            return unsafe withUnsafePointer(to: &raw) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe body($0, socklen_t(MemoryLayout<sockaddr_in6>.size))
                }
            }
        }
    }

    /// Reads an address that the kernel wrote; nil for other families.
    init?(_ storage: inout sockaddr_storage) {
        switch Int32(storage.ss_family) {
        case AF_INET:
            let raw = unsafe withUnsafeBytes(of: &storage) { unsafe $0.loadUnaligned(as: sockaddr_in.self) }
            self.init(ipv4: UInt32(bigEndian: raw.sin_addr.s_addr), port: UInt16(bigEndian: raw.sin_port))
        case AF_INET6:
            var raw = unsafe withUnsafeBytes(of: &storage) { unsafe $0.loadUnaligned(as: sockaddr_in6.self) }
            let (high, low) = unsafe withUnsafeBytes(of: &raw.sin6_addr) { bytes in
                unsafe (
                    UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
                    UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                )
            }
            self.init(ipv6High: high, low: low, port: UInt16(bigEndian: raw.sin6_port), scope: raw.sin6_scope_id)
        default:
            return nil
        }
    }
}
