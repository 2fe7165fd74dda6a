/// Where a port is opened.
public struct ListenAddress: Equatable, Sendable {
    /// What the port is for, in messages.
    public let purpose: String
    /// Nil: all interfaces, IPv4 and IPv6.
    public let host: String?
    public let port: UInt16

    public struct Fault: Error, Equatable, Sendable {
        public let reason: String
    }

    public static func discovery(_ general: Configuration.General) -> ListenAddress {
        ListenAddress(
            purpose: "discovery server", host: general.discoveryHost, port: general.discoveryPort)
    }

    public static func requestProcessor(_ general: Configuration.General) -> ListenAddress {
        ListenAddress(
            purpose: "request processor", host: general.requestProcessorHost, port: general.requestProcessorPort)
    }

    public init(purpose: String, host: String?, port: UInt16) {
        self.purpose = purpose
        self.host = host
        self.port = port
    }

    /// Opens the port; a fault names it. `own`: listeners of ours that may have the port already, at another address.
    public func listen(beside own: [Descriptor] = []) throws(Fault) -> Descriptor {
        do throws(Errno) {
            guard let host else {
                do throws(Errno) {
                    return try Socket.listen(
                        on: SocketAddress(ipv6High: 0, low: 0, port: port), dualStack: true, beside: own)
                } catch {
                    // A system without IPv6.
                    guard error == .addressFamilyNotSupported || error == .addressNotAvailable else { throw error }
                    return try Socket.listen(on: SocketAddress(ipv4: 0, port: port), beside: own)
                }
            }
            guard let address = SocketAddress(literal: host, port: port) else { throw .invalidArgument }
            return try Socket.listen(on: address, beside: own)
        } catch {
            let place = host.map { "\($0.contains(":") ? "[\($0)]" : $0):\(port)" } ?? "port \(port) on all interfaces"
            let reason =
                switch error {
                case .addressInUse: "it is in use by another program"
                case .accessDenied: "the system does not allow it to this user (ports below 1024 need privileges)"
                case .addressNotAvailable: "this machine has no such address"
                default: error.description
                }
            throw Fault(
                reason: "the \(purpose)'s \(host == nil ? place : "address \(place)") cannot be opened: \(reason)")
        }
    }
}
