/// A stream connection that carries lines both ways; both directions are bounded.
public struct LineChannel: Sendable {
    public let descriptor: Descriptor
    private var input: [UInt8] = []
    private var inputStart = 0
    private var scanned = 0
    private var output: [UInt8] = []
    private var outputStart = 0
    private let maxLineBytes: Int

    public enum Fault: Error, Equatable, Sendable {
        case closed
        case lineTooLong(limit: Int)
        case system(Errno)
        /// What was received is not of the protocol.
        case malformed(String)
    }

    public init(_ descriptor: Descriptor, maxLineBytes: Int = Limits.lineBytes) {
        self.descriptor = descriptor
        self.maxLineBytes = maxLineBytes
    }

    /// Bytes waiting to be sent.
    public var pendingBytes: Int { output.count - outputStart }

    /// Nothing of it is here alone: what is to come is still the kernel's.
    public var isEmpty: Bool { input.count == inputStart && pendingBytes == 0 }

    /// Takes what has arrived, at most `budget` bytes. True: there may be more, or an end or error that the next call will
    /// tell: what came before it is read first.
    public mutating func receive(budget: Int = 256 * 1024) throws(Fault) -> Bool {
        var left = budget
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        while left > 0 {
            var span = chunk.mutableSpan
            let result = descriptor.receive(into: &span)
            guard let count = result.count else {
                if result.isAgain { return false }
                if left < budget { return true }
                throw .system(result.error)
            }
            if count == 0 {
                if left < budget { return true }
                throw .closed
            }
            if inputStart > 0 {
                input.removeSubrange(..<inputStart)
                scanned -= inputStart
                inputStart = 0
            }
            input.append(contentsOf: chunk[..<count])
            // Also after a short read: the end may have come with the same event, and no other will tell of it.
            left -= count
        }
        return true
    }

    /// The next whole line with its line break; nil when none is complete.
    public mutating func nextLine() throws(Fault) -> [UInt8]? {
        while scanned < input.count {
            if input[scanned] == 0x0a {
                let line = Array(input[inputStart...scanned])
                scanned += 1
                inputStart = scanned
                if inputStart == input.count {
                    input.removeAll(keepingCapacity: input.capacity <= 64 * 1024)
                    inputStart = 0
                    scanned = 0
                }
                return line
            }
            scanned += 1
            if scanned - inputStart > maxLineBytes { throw .lineTooLong(limit: maxLineBytes) }
        }
        return nil
    }

    /// Puts a line behind what waits.
    public mutating func queue(_ line: [UInt8]) { output.append(contentsOf: line) }

    /// Sends what waits. True when all is sent; otherwise the descriptor will become writable.
    public mutating func flush() throws(Fault) -> Bool {
        while outputStart < output.count {
            let result = descriptor.send(output.span.extracting(outputStart..<output.count))
            guard let count = result.count else {
                if result.isAgain { return false }
                throw .system(result.error)
            }
            outputStart += count
        }
        output.removeAll(keepingCapacity: output.capacity <= 256 * 1024)
        outputStart = 0
        return true
    }
}
