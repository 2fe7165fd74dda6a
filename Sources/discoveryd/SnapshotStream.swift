import Shared

/// A whole snapshot, line by line, for whoever reads it: a subscriber or a file. The version is the one of the end; instances that change
/// while it goes out are told as they are when their line is made.
struct SnapshotStream {
    private enum Progress: Equatable {
        case begin
        case settings
        case services(next: Int)
        /// A service's API paths beyond those on its own line.
        case paths(service: Int, next: Int)
        case instances(service: Int, next: Int)
        case done
    }

    private var progress = Progress.begin
    private var digest = LineDigest()

    var isDone: Bool { progress == .done }

    /// The next line; nil when all has been given. `told`: instances whose state it has.
    mutating func nextLine(_ registry: Registry, told: (Range<Int>) -> Void) -> [UInt8]? {
        while true {
            switch progress {
            case .begin:
                progress = .settings
                return SnapshotLines.begin(
                    registry.version, services: registry.services.count, instances: registry.instances.count)
            case .settings:
                progress = .services(next: 0)
                return digested(SnapshotLines.settings(registry.general.forwarding))
            case .services(let next):
                guard next < registry.services.count else {
                    progress = .done
                    return SnapshotLines.end(registry.version, digest: digest)
                }
                progress = .paths(service: next, next: Limits.pathsPerLine)
                let service = registry.services[next]
                return digested(
                    SnapshotLines.service(
                        id: next, name: service.name, paths: service.paths.prefix(Limits.pathsPerLine),
                        policy: service.policy))
            case .paths(let service, let next):
                let paths = registry.services[service].paths
                guard next < paths.count else {
                    progress = .instances(service: service, next: registry.services[service].instances.lowerBound)
                    continue
                }
                progress = .paths(service: service, next: next + Limits.pathsPerLine)
                return digested(SnapshotLines.paths(service: service, paths[next...].prefix(Limits.pathsPerLine)))
            case .instances(let service, let next):
                let all = registry.services[service].instances
                guard next < all.upperBound else {
                    progress = .services(next: service + 1)
                    continue
                }
                let end = min(all.upperBound, next + Limits.instancesPerLine)
                progress = .instances(service: service, next: end)
                told(next..<end)
                return digested(
                    SnapshotLines.instances(
                        service: service, (next..<end).map { registry.instances[$0].snapshotInstance($0) }))
            case .done: return nil
            }
        }
    }

    private mutating func digested(_ line: [UInt8]) -> [UInt8] {
        digest.add(line)
        return line
    }
}
