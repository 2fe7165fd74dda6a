import Shared

/// A change of members as the second version of the protocol tells it: see Snapshot/README.md.
enum ChangeLines {
    /// Nil: it has more than `limit` bytes.
    static func make(
        _ change: MembershipChange, _ registry: borrowing Registry, base: SnapshotVersion, isMore: Bool, limit: Int
    ) -> [UInt8]? {
        var lines = SnapshotLines.beginChange(base: base, registry.version)
        if change.hasOtherSettings { lines += SnapshotLines.settings(registry.general.forwarding) }
        if !change.goneServices.isEmpty || !change.goneInstances.isEmpty {
            lines += SnapshotLines.gone(
                services: change.goneServices.map(\.position), instances: change.goneInstances.map(\.position))
        }
        for id in change.services {
            let paths = registry.services[id].paths
            lines += SnapshotLines.service(
                id: id.position, name: registry.services[id].name, paths: paths.prefix(Limits.pathsPerLine),
                policy: registry.services[id].policy)
            var next = Limits.pathsPerLine
            while next < paths.count, lines.count <= limit {
                lines += SnapshotLines.paths(service: id.position, paths[next...].prefix(Limits.pathsPerLine))
                next += Limits.pathsPerLine
            }
            if lines.count > limit { return nil }
        }
        var rest = change.instances.sorted {
            registry.instances[$0].service.position < registry.instances[$1].service.position
        }[...]
        while let first = rest.first {
            let service = registry.instances[first].service
            let part = rest.prefix(Limits.instancesPerLine).prefix { registry.instances[$0].service == service }
            rest = rest.dropFirst(part.count)
            lines += SnapshotLines.instances(
                service: service.position, part.map { registry.snapshotInstance($0, id: $0.position) })
            if lines.count > limit { return nil }
        }
        lines += SnapshotLines.endChange(registry.version, isMore: isMore)
        return lines.count > limit ? nil : lines
    }
}
