import CLinux
import Glibc

/// 64-bit words that other processes may read: the front of a file, mapped; see mmap(2). There is one writer.
@safe
public struct SharedWords: ~Copyable {
    @usableFromInline let base: UnsafeMutablePointer<UInt64>
    /// Words that exist. What lies between it and `capacity` has an address and no memory yet.
    @usableFromInline private(set) var count = 0
    public let capacity: Int
    private let file: Descriptor

    /// `file`: open for writing, and closed with the words; without one the words are ours alone.
    public init(_ file: Descriptor, capacity: Int) throws(Errno) {
        let flags = file.isOpen ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        let memory = unsafe mmap(nil, capacity * 8, PROT_READ | PROT_WRITE, flags, file.rawValue, 0)
        guard let memory = unsafe memory, unsafe memory != MAP_FAILED else {
            let error = Errno.last
            file.close()
            throw error
        }
        unsafe base = memory.assumingMemoryBound(to: UInt64.self)
        self.capacity = capacity
        self.file = file
    }

    deinit {
        _ = unsafe munmap(base, capacity * 8)
        file.close()
    }

    /// Gives memory to all words before `end`. Room on the disk is taken now: a page without any would kill us at its first use
    /// (SIGBUS). The corresponding C function is posix_fallocate(3).
    public mutating func grow(to end: Int) throws(Errno) {
        guard end > count else { return }
        guard end <= capacity else { throw .fileTooBig }
        if file.isOpen {
            var error: Int32
            repeat { error = posix_fallocate(file.rawValue, 0, off_t(end * 8)) } while error == EINTR
            if error != 0 { throw Errno(error) }
        }
        count = end
    }

    @inlinable public subscript(index: Int) -> UInt64 {
        get {
            precondition(index >= 0 && index < count)
            return unsafe base[index]
        }
        mutating set {
            precondition(index >= 0 && index < count)
            unsafe base[index] = newValue
        }
    }

    @inlinable public mutating func add(_ amount: UInt64, at index: Int) {
        precondition(index >= 0 && index < count)
        unsafe base[index] &+= amount
    }
}
