import Shared

/// One instance's polling as it goes.
struct Course {
    enum Phase {
        /// Until it is due or accused.
        case resting
        /// Due since then (0: at no certain time), and waits until another poll may begin.
        case queued(dueAt: UInt64)
        /// A poll runs: on a connection of its own, or on one that was kept.
        case polling(isFresh: Bool)
    }

    /// What has come up while a poll was running, and follows it.
    enum Sequel {
        case nothing
        case regular
        case accusation
    }

    /// What its last poll was.
    enum Last {
        /// There was none.
        case none
        case good
        case bad
    }

    var phase = Phase.resting
    var purpose = Health.Purpose.regular
    /// The poll that runs or waits was accused meanwhile: its failure confirms.
    var isAccused = false
    var sequel = Sequel.nothing
    var last = Last.none
    var ticket: Admission.Ticket = 0
    /// When it is polled next; 0: at no time.
    var dueAt: UInt64 = 0

    var isResting: Bool { if case .resting = phase { true } else { false } }
    var isPolling: Bool { if case .polling = phase { true } else { false } }
    var isFirst: Bool { if case .none = last { true } else { false } }
}

/// What is known of the polling of an instance in trouble, beside its course: few are at a time.
struct Trouble {
    /// Whether failed polls are believed.
    enum Doubt: Equatable {
        case none
        /// They have been void since then (milliseconds of the loop's clock).
        case void(since: UInt64)
        /// The next one counts, whatever is thought of ourselves.
        case confirming(since: UInt64)
    }

    var doubt = Doubt.none
    /// When it was last accused; 0 for never.
    var accusedAt: UInt64 = 0
    /// When an accusation that came too soon after another is acted upon; 0: at no time.
    var accusationAt: UInt64 = 0

    /// It says nothing any more.
    func isOver(now: UInt64) -> Bool {
        doubt == .none && accusationAt == 0 && now - min(now, accusedAt) >= Limits.accusationGapMilliseconds
    }
}
