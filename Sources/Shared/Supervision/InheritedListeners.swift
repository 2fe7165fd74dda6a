extension InheritedDescriptors {
    /// The listening sockets of a name, made non-blocking: those of a socket unit block, and of several who are woken for one connection
    /// all but the first would wait in accept(2) for ever.
    public func listeners(_ name: String) throws(StartFault) -> [Descriptor] {
        let found = all(name)
        for descriptor in found {
            guard Socket.isListening(descriptor) else {
                throw StartFault("the inherited descriptor `\(name)` does not listen")
            }
            do {
                try descriptor.setNonBlocking(true)
            } catch {
                throw StartFault("the inherited descriptor `\(name)` cannot be used: \(error)")
            }
        }
        return found
    }
}
