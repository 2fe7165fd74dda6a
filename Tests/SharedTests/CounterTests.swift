import Testing

@testable import Shared

@Suite struct CounterTests {
    private func with(_ body: (String) throws -> Void) throws {
        let directory = "/tmp/serverpy-counters-" + Text.hexadecimal(SystemRandom.word())
        try Files.makeDirectory(directory, mode: 0o700)
        defer {
            for name in (try? Files.list(directory)) ?? [] { Files.remove(directory + "/" + name) }
            Files.removeDirectory(directory)
        }
        try body(directory)
    }

    private func content(_ directory: String, _ name: String) throws -> [UInt8] {
        try Files.read(directory + "/" + name, maxBytes: 1 << 20)
    }

    @Test func whatIsCountedIsInTheFileAtOnceAndAddsUp() throws {
        try with { directory in
            var one = try CounterFile.make(in: directory, index: 1)
            var two = try CounterFile.make(in: directory, index: 2)
            #expect(one.trouble == nil && two.trouble == nil)
            let key = CounterKey.hash(.instance, "orders", "10.0.0.1:80")
            for _ in 0..<3 {
                let row = one.row(.instance, key)
                one.add(.accepted)
                one.add(.requests, row: row)
                one.observe(microseconds: 1000, row: row)
            }
            let other = two.row(.path, CounterKey.hash(.path, "orders", "/orders"))
            let row = two.row(.instance, key)
            two.add(.requests, row: row, 4)
            two.add(.inFlight, row: other, 2)
            two.add(.inFlight, row: other, UInt64.max)
            var totals = CounterTotals()
            let added = [
                totals.add(try content(directory, one.name)),
                totals.add(try content(directory, two.name), isOver: true),
            ]
            #expect(added == [true, true])
            #expect(totals[.accepted] == 3 && totals.unended == 3)
            #expect(totals.rows[key]?[.requests] == 7)
            #expect(totals.rows[key]?.latencies.reduce(0, +) == 3)
            #expect(
                totals.rows[CounterKey.hash(.path, "orders", "/orders")]?[.inFlight] == 0, "nothing is under way there")
            var again = CounterTotals()
            let isRead = again.add(totals.encoded(lastFolded: 7))
            #expect(isRead)
            #expect(again[.accepted] == 3 && again.rows[key]?[.requests] == 7)
        }
    }

    @Test func whatIsNoCounterFileIsRefusedAndATornOneReadAsFarAsItGoes() throws {
        var totals = CounterTotals()
        let added = [totals.add([]), totals.add([UInt8](repeating: 0xff, count: 5000))]
        #expect(added == [false, false])
        try with { directory in
            var file = try CounterFile.make(in: directory, index: nil)
            for number in 0..<10 { file.add(.requests, row: file.row(.instance, UInt64(number + 1))) }
            let bytes = try content(directory, file.name)
            for count in stride(from: 8, to: bytes.count, by: 97) {
                var torn = CounterTotals()
                _ = torn.add(Array(bytes[..<count]))
                #expect(torn.rows.count <= 11)
            }
        }
    }

    @Test func withoutADirectoryCountersAreKeptInMemory() throws {
        var counters = try CounterFile.make(in: "/nonexistent", index: nil)
        #expect(counters.trouble == .noEntry && counters.name.isEmpty)
        let row = counters.row(.instance, 7)
        counters.add(.requests, row: row)
        counters.add(.accepted)
        #expect(counters[.accepted] == 1)
    }
}
