import Shared

/// What a token stands for in discoveryd's loop.
enum EventKind: UInt8 {
    case signals = 1
    case control
    /// discovery.sock and its connections.
    case subscriberListener, subscriber, helloTimeout
    /// The HTTP port and its connections.
    case apiListener, apiConnection, apiTimeout
    case resolved
    /// A probe's socket, its time-out, an instance's next poll (generation 1: it waits for its name).
    case probe, probeTimeout, pollDue
    case icmp4, icmp6
    /// The subscribers' heartbeat, the latest end of the first round.
    case heartbeat, firstRound

    func token(_ slot: Int = 0, _ generation: UInt32 = 0) -> Token {
        Token(kind: rawValue, slot: slot, generation: generation)
    }
}
