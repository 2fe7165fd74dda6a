import Shared

/// What a token stands for in discoveryd's loop.
enum EventKind: UInt8 {
    case signals = 1
    case control
    /// discovery.sock and its connections.
    case subscriberListener, subscriber, helloTimeout
    /// The HTTP port and its connections.
    case apiListener, apiConnection, apiTimeout
    /// The system has answered; a name is to be looked up; a name server's datagrams or connection, its time-out, and room for more look-ups.
    case resolved, nameDue, dnsSocket, dnsConnection, lookUpTimeout, lookUpRoom
    /// A probe's socket, its time-out, an instance's next poll, the end of waiting for its name, a postponed accusation.
    case probe, probeTimeout, pollDue, nameTimeout, accusationDue
    case icmp4, icmp6
    /// Polls that wait may begin; changes that came too soon are published.
    case pollRoom, publishDue
    /// State has been written to the disk, or is to be.
    case diskDone, saveDue, historyDue, snapshotDue
    /// The subscribers' heartbeat, the latest end of the first round.
    case heartbeat, firstRound
    /// Listeners that rested for want of descriptors.
    case resumeAccepting
    /// A replaced listener is emptied and closed.
    case retireListener
    /// The connection on which a change of status is posted, and its time-out.
    case changePost, changePostTimeout
    /// Not every forwarder has applied a reload in time; those that are not connected are looked at again.
    case reloadTimeout, reloadLook
    /// A question to the forwarders has waited long enough.
    case inquiryDue

    /// For an instance's timer, which is cancelled when the instance goes.
    func token(_ instance: Registry.InstanceID) -> Token { token(instance.position) }

    func token<Element: ~Copyable>(_ place: Slab<Element>.Index, _ generation: UInt32) -> Token {
        token(Int(place.rawValue), generation)
    }

    func token(_ slot: Int = 0, _ generation: UInt32 = 0) -> Token {
        Token(kind: rawValue, slot: slot, generation: generation)
    }
}
