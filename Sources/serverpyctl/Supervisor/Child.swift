import Shared

/// One process that the supervisor keeps.
struct Child {
    enum Role: Equatable {
        case discoveryd
        case forwarderd(index: Int)
        /// The demo's instances.
        case sample(name: String, port: UInt16)

        var name: String {
            switch self {
            case .discoveryd: "discoveryd"
            case .forwarderd(let index): "forwarderd \(index)"
            case .sample(let name, _): "instance \(name)"
            }
        }

        var isForwarder: Bool {
            if case .forwarderd = self { return true }
            return false
        }

        var isSample: Bool {
            if case .sample = self { return true }
            return false
        }
    }

    enum State: Equatable {
        case starting
        case ready
        /// Ended; a restart is due.
        case waiting
        /// Told to end.
        case stopping
        /// Ended and not to be restarted.
        case ended
    }

    let role: Role
    var state = State.waiting
    var pid: Int32 = 0
    /// Our end of its control socketpair.
    var control = Descriptor.none
    /// Our end of what it writes on its standard output and error.
    var output = Descriptor.none
    var lines = ChildOutput()
    var policy = RestartPolicy()
    var startedAt: UInt64 = 0
    /// When its event loop turned last, as it says; counts from readiness on.
    var aliveAt: UInt64 = 0
    /// What it last said of itself.
    var status = ""
    var timer = TimerWheel.ID.none

    init(role: Role) { self.role = role }

    var isRunning: Bool { pid != 0 }

    /// As `status` shows it.
    var stateName: String {
        guard isRunning else { return "down" }
        return switch state {
        case .ready: "ready"
        case .stopping: "draining"
        case .starting, .waiting, .ended: "starting"
        }
    }
}
