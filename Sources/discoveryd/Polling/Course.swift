import Shared

/// One instance's polling as it goes.
struct Course {
    var purpose = Health.Purpose.regular
    var isRunning = false
    var isFresh = true
    /// Waits for its name to be resolved.
    var isWaitingForName = false
    /// Came due or was accused while a poll was running.
    var isDueAgain = false
    var isAccusedAgain = false
    /// An accusation that came too soon after another waits for its time.
    var isAccusationPostponed = false
    /// The poll that runs was accused meanwhile: its failure confirms.
    var wasAccused = false
    /// Waits until another poll may begin.
    var isQueued = false
    var isFirst = true
    var lastGood = false
    /// Its failure is counted whatever is thought of ourselves: the poll before was void.
    var isConfirming = false
    /// Addresses whose poll runs.
    var outstanding: UInt8 = 0
    var best = PollOutcome.none
    /// When the poll that runs began: wall clock and monotonic, milliseconds.
    var startedAt: UInt64 = 0
    var beganAt: UInt64 = 0
    /// From when on its failed polls have been void; 0: they are not.
    var voidSince: UInt64 = 0
    var ticket: PollAdmission.Ticket = 0
    /// The next poll.
    var timer = TimerWheel.ID.none
    var dueAt: UInt64 = 0
    /// The end of waiting for its name.
    var nameTimer = TimerWheel.ID.none
    var accusationTimer = TimerWheel.ID.none
    /// When it was last accused; 0 for never.
    var accusedAt: UInt64 = 0
    /// Addresses of a name that have answered the poll that runs.
    var answering: [SocketAddress] = []
    var probes = ProbeList()
}

/// The probes of an instance: nearly always one, which needs no memory elsewhere.
struct ProbeList {
    private var first: Slab<Probe>.Index?
    private var more: [Slab<Probe>.Index] = []

    init() {}

    init(_ probes: [Slab<Probe>.Index]) {
        first = probes.first
        more = Array(probes.dropFirst())
    }

    var count: Int { first == nil ? 0 : 1 + more.count }

    subscript(_ index: Int) -> Slab<Probe>.Index {
        guard let first, index == 0 else { return more[index - 1] }
        return first
    }
}
