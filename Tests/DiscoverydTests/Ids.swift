import Shared
import Testing

@testable import discoveryd

/// Instances get their ids in the order of the configuration.
extension Slab.Index: ExpressibleByIntegerLiteral {
    public init(integerLiteral value: Int) { self.init(value) }
}

/// `#expect` for what it cannot look into: values that cannot be copied, and calls that change them.
func expect(_ condition: Bool, _ comment: String = "", _ location: SourceLocation = #_sourceLocation) {
    #expect(condition, "\(comment)", sourceLocation: location)
}

/// A registry with what fills it.
struct Members: ~Copyable {
    var registry: Registry
    var membership = Membership()
    private var file = FileSource()

    init(_ configuration: Configuration) {
        registry = Registry(general: configuration.general, epoch: 1)
        _ = adopt(configuration, now: 0)
        registry.restartVersions()
    }

    /// The registry alone.
    static func registry(_ configuration: Configuration) -> Registry {
        var registry = Registry(general: configuration.general, epoch: 1)
        var (membership, file) = (Membership(), FileSource())
        _ = membership.receive(
            file.read(configuration.services), configuration.general, order: configuration.services.map(\.name),
            &registry, now: 0)
        registry.restartVersions()
        return registry
    }

    /// The configuration file says this from now on.
    mutating func adopt(_ configuration: Configuration, now: UInt64) -> MembershipChange {
        membership.receive(
            file.read(configuration.services), configuration.general, order: configuration.services.map(\.name),
            &registry, now: now)
    }

    /// A name leads to these addresses.
    mutating func answer(_ host: String, _ targets: [NameTarget], version: UInt64 = 1, now: UInt64) -> MembershipChange
    {
        membership.receive(
            SourceChange(version: version, content: .reset(targets)), of: SourceName(host, .host), &registry, now: now
        ).0
    }
}
