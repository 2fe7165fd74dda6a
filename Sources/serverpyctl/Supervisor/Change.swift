/// The one change of the running system that is under way: nothing else is changed meanwhile. It decides what becomes of a reload; the
/// supervisor performs it.
enum Change {
    case none
    /// New programs are tried before an upgrade.
    case testing(SelfTest)
    /// discoveryd and the forwarders take over a new configuration. `since`: milliseconds of the loop's clock.
    case reloading(Reload, since: UInt64)
    /// The new configuration is in force; the listeners that it has replaced are being emptied.
    case emptying(Reload)
    /// The reload has failed, and discoveryd has been given the old configuration again.
    case rollingBack(since: UInt64)
    /// Processes are replaced one after another.
    case replacing(Replacement)

    enum Event: Equatable {
        /// Every forwarder works with the configuration that discoveryd was given.
        case applied(snapshot: String)
        /// discoveryd refuses it, or has said something that is not understood.
        case refused(String)
        /// discoveryd has not answered in time.
        case overdue(String)
        /// discoveryd is gone; its successor begins with the configuration in force.
        case discoverydEnded
        /// The replaced listeners are closed.
        case emptied
        /// serverpy is being stopped.
        case stopped
    }

    enum Command {
        case nothing
        /// The new configuration is in force.
        case use(Reload, snapshot: String)
        /// All of a reload is done.
        case complete(Reload)
        /// The old configuration goes on. `givesBack`: discoveryd may work with the new one and is to be given the old one.
        case abandon(Reload, reason: String, givesBack: Bool)
        /// The old configuration is in force everywhere again.
        case rolledBack
        /// discoveryd was given the old configuration and may not work with it.
        case notRolledBack(reason: String)
        /// A stop has overtaken it. `isInForce`: it had been done all the same.
        case forget(Reload, isInForce: Bool)
    }

    var isNone: Bool { if case .none = self { true } else { false } }

    /// `now`: milliseconds of the loop's clock.
    mutating func receive(_ event: Event, now: UInt64) -> Command {
        switch self {
        case .reloading(let reload, _):
            switch event {
            case .applied(let snapshot):
                self = reload.hasNewPorts ? .emptying(reload) : .none
                return .use(reload, snapshot: snapshot)
            case .refused(let reason), .overdue(let reason):
                self = .rollingBack(since: now)
                return .abandon(reload, reason: reason, givesBack: true)
            case .discoverydEnded:
                self = .none
                return .abandon(reload, reason: "discoveryd ended meanwhile", givesBack: false)
            case .stopped:
                self = .none
                return .forget(reload, isInForce: false)
            case .emptied: return .nothing
            }
        case .rollingBack:
            switch event {
            case .applied, .discoverydEnded:
                self = .none
                return .rolledBack
            case .refused(let reason), .overdue(let reason):
                self = .none
                return .notRolledBack(reason: reason)
            case .stopped:
                self = .none
                return .nothing
            case .emptied: return .nothing
            }
        case .emptying(let reload):
            switch event {
            case .emptied:
                self = .none
                return .complete(reload)
            case .stopped:
                self = .none
                return .forget(reload, isInForce: true)
            case .applied, .refused, .overdue, .discoverydEnded: return .nothing
            }
        // An answer that comes when nobody waits for it any more.
        case .none, .testing, .replacing: return .nothing
        }
    }

    /// Since when discoveryd's answer is waited for, and the reload that it is about; nil: it is not.
    var wait: (since: UInt64, reload: Reload?)? {
        switch self {
        case .reloading(let reload, let since): (since, reload)
        case .rollingBack(let since): (since, nil)
        case .none, .testing, .emptying, .replacing: nil
        }
    }

    /// The replacement under way; nil ends it.
    var replacement: Replacement? {
        get { if case .replacing(let replacement) = self { replacement } else { nil } }
        set {
            if let newValue { self = .replacing(newValue) } else if case .replacing = self { self = .none }
        }
    }

    /// The test under way; nil ends it.
    var test: SelfTest? {
        get { if case .testing(let test) = self { test } else { nil } }
        set {
            if let newValue { self = .testing(newValue) } else if case .testing = self { self = .none }
        }
    }
}
