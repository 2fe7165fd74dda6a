import Shared

/// How instances are polled, with the parts of the health poll's bytes that are the same for all of them: instances of one
/// service, and often of many, share one.
struct PollPlan: Equatable, Sendable {
    let polling: Polling
    /// Up to where the instance's authority stands, and from there on; the first is all where a configured field is the Host.
    private let front: [UInt8]
    private let back: [UInt8]
    private let namesHost: Bool

    init(_ polling: Polling) {
        self.polling = polling
        guard case .health(let path) = polling.method else {
            (front, back, namesHost) = ([], [], false)
            return
        }
        func isGiven(_ name: String) -> Bool { polling.headers.contains { $0.name.lowercased() == name } }
        var lines = ""
        if !isGiven("user-agent") { lines += "User-Agent: serverpy/\(Version.current)\r\n" }
        if !isGiven("accept") { lines += "Accept: */*\r\n" }
        for field in polling.headers { lines += "\(field.name): \(field.value)\r\n" }
        namesHost = !isGiven("host")
        front = Array("GET \(path) HTTP/1.1\r\n\(namesHost ? "Host: " : "")".utf8)
        back = Array("\(namesHost ? "\r\n" : "")\(lines)\r\n".utf8)
    }

    /// Writes the bytes of a health poll of an instance over `request`.
    func write(_ instance: RegisteredInstance, to request: inout [UInt8]) {
        request.removeAll(keepingCapacity: true)
        request.append(contentsOf: front)
        if namesHost { request.append(contentsOf: instance.authority) }
        request.append(contentsOf: back)
    }
}
