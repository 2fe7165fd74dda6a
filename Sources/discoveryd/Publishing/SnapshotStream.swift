import Shared

/// A whole snapshot, line by line, for whoever reads it: a subscriber or a file. The version is the one of the end; instances that change
/// while it goes out are told as they are when their line is made.
struct SnapshotStream {
    private enum Progress: Equatable {
        case begin
        case settings
        /// Places in the order of services.
        case services(next: Int)
        /// A service's API paths beyond those on its own line.
        case paths(service: Int, next: Int)
        case instances(service: Int, next: Int)
        case done
    }

    private var progress = Progress.begin
    private var digest = LineDigest()
    private let protocolVersion: Int
    /// Instances so far: the first version of the protocol counts them.
    private var instances = 0

    init(protocolVersion: Int) { self.protocolVersion = protocolVersion }

    var isDone: Bool { progress == .done }

    /// The next line; nil when all has been given. `told`: instances whose state it has.
    mutating func nextLine(_ registry: borrowing Registry, told: ([Registry.InstanceID]) -> Void) -> [UInt8]? {
        while true {
            switch progress {
            case .begin:
                progress = .settings
                return SnapshotLines.begin(
                    registry.version, protocolVersion, services: registry.order.count,
                    instances: registry.instances.count)
            case .settings:
                progress = .services(next: 0)
                return digested(SnapshotLines.settings(registry.general.forwarding))
            case .services(let next):
                guard next < registry.order.count else {
                    progress = .done
                    return SnapshotLines.end(registry.version, digest: digest)
                }
                progress = .paths(service: next, next: Limits.pathsPerLine)
                let service = registry.services[registry.order[next]]
                return digested(
                    SnapshotLines.service(
                        id: number(of: next, registry), name: service.name,
                        paths: service.paths.prefix(Limits.pathsPerLine),
                        policy: service.policy))
            case .paths(let service, let next):
                let paths = registry.services[registry.order[service]].paths
                guard next < paths.count else {
                    progress = .instances(service: service, next: 0)
                    continue
                }
                progress = .paths(service: service, next: next + Limits.pathsPerLine)
                return digested(
                    SnapshotLines.paths(
                        service: number(of: service, registry), paths[next...].prefix(Limits.pathsPerLine)))
            case .instances(let service, let next):
                let all = registry.services[registry.order[service]].instances
                guard next < all.count else {
                    progress = .services(next: service + 1)
                    continue
                }
                let part = Array(all[next...].prefix(Limits.instancesPerLine))
                progress = .instances(service: service, next: next + part.count)
                told(part)
                var members: [SnapshotInstance] = []
                for id in part {
                    members.append(registry.snapshotInstance(id, id: protocolVersion < 2 ? instances : id.position))
                    instances += 1
                }
                return digested(
                    SnapshotLines.instances(
                        service: number(of: service, registry), members, protocolVersion: protocolVersion))
            case .done: return nil
            }
        }
    }

    private func number(of place: Int, _ registry: borrowing Registry) -> Int {
        protocolVersion < 2 ? place : registry.order[place].position
    }

    private mutating func digested(_ line: [UInt8]) -> [UInt8] {
        digest.add(line)
        return line
    }
}
