extension Exchange {
    /// What can happen to an exchange.
    enum Event {
        /// This forwarder responds by itself.
        indirect case refused(OwnAnswer)
        /// An instance with room was chosen.
        case chosen
        /// All instances that could take the request are full.
        case noRoom
        /// A connection is being established.
        case connecting
        /// The exchange has an established connection, new or taken from the pool.
        case connected
        /// The instance has the whole request.
        case handedOver
        /// Part of a final response is about to be forwarded.
        case forwarding
        /// A response 101 is about to be forwarded.
        case switched
        /// The response is complete.
        case complete
        /// The client has taken everything it was sent.
        case taken
        /// A try at an instance failed.
        indirect case failed(RetryLaw.Failure)
        /// After forwarding began, the request's body proved invalid or one side of a tunnel failed.
        case brokenOff
        /// No buffer is free for unsent bytes.
        case starved
        /// Both directions of a tunnel have ended.
        case tunnelOver
        /// The deadline has passed.
        case overdue
        /// The deadline has passed, and the client has not taken what it was sent.
        case untaken
        /// The client has half-closed its connection, and another request needs the instance, connection or queue place.
        case crowdedOut
        /// The client's connection is closed.
        case clientGone
        /// The process ends.
        case stopped
    }
}
