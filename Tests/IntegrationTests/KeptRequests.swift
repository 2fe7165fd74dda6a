/// A kept connection that makes requests until it is told to close, then a new one; counts what went wrong.
func keptRequests(_ serverpy: Serverpy, while isOn: () -> Bool) throws -> (good: Int, bad: [String]) {
    var (good, bad): (Int, [String]) = (0, [])
    var client = try Client(port: serverpy.requests)
    while isOn() {
        do {
            try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            let answer = try client.read()
            if answer.status == 200 { good += 1 } else { bad.append("\(answer.status)") }
            if answer.values("Connection") == ["close"] { client = try Client(port: serverpy.requests) }
        } catch {
            bad.append("\(error)")
            client = try Client(port: serverpy.requests)
        }
    }
    return (good, bad)
}
