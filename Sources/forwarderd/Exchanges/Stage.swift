/// How far an exchange has come. `Exchange.receive` holds every stage with every event.
enum Stage: UInt8, CaseIterable {
    /// No connection to an instance is established or being established. Also between two tries.
    case begun
    /// All instances are full; the request waits for one with room.
    case queued
    /// A connection to an instance is being established.
    case connecting
    /// The connection is established; the request is on its way, or the rest of its body is awaited from the client.
    case sending
    /// The instance has the whole request.
    case awaitingHead
    /// The head of the final response has been forwarded; its body is being relayed.
    case relaying
    /// The response is complete, or was cut; the client has not taken all of it.
    case flushing
    /// The protocol was switched (101): bytes go in both directions.
    case tunnel
    /// The outcome is known. Nothing more happens.
    case ended
}
