import Shared

/// The last snapshot that discoveryd has saved in its state directory.
struct SavedSnapshot {
    let path: String
    /// The digest of the configuration that it must be of; nil: any.
    let configuration: String?

    /// Why the file cannot be used.
    struct Fault: Error {
        let reason: String
    }

    func load() throws(Fault) -> Snapshot {
        let bytes: [UInt8]
        do throws(Errno) {
            let file = try Files.open(path)
            defer { file.close() }
            guard try Files.status(of: file).kind == .file else { throw .notRegular }
            bytes = try Files.read(file, maxBytes: Limits.snapshotBytes)
        } catch {
            throw Fault(reason: "\(error)")
        }
        var assembler = SnapshotAssembler()
        var start = 0
        while start < bytes.count, let end = bytes[start...].firstIndex(of: 0x0a) {
            let line = Array(bytes[start...end])
            if start == 0 {
                let header: Document.Value
                do { header = try JSONReader.parse(line).root } catch {
                    throw Fault(reason: "it is no saved snapshot: \(error.message)")
                }
                guard header["type"]?.string == "saved", let made = header["configuration"]?.string else {
                    throw Fault(reason: "it is no saved snapshot")
                }
                if let configuration, made != configuration { throw Fault(reason: "it is of another configuration") }
            }
            do throws(SnapshotAssembler.Fault) {
                if case .snapshot(let snapshot) = try assembler.receive(line) { return snapshot }
            } catch {
                throw Fault(reason: error.reason)
            }
            start = end + 1
        }
        throw Fault(reason: "it is not whole")
    }
}
