import Shared
import Testing

@testable import forwarderd

@Suite struct RouteTableTests {
    private func makeTable(_ services: [[String]]) -> RouteTable {
        var table = RouteTable()
        for (service, paths) in services.enumerated() {
            for path in paths { _ = table.add(path, service: service) }
        }
        return table
    }

    private func service(_ table: RouteTable, _ path: String) -> Int? {
        let bytes = Array(("xx" + path).utf8)
        return table.route(bytes.span, 2, path.utf8.count)?.service
    }

    @Test func theLongestWholeSegmentPrefixWins() {
        let table = makeTable([["/first", "/second/sample"], ["/second", "/third"]])
        #expect(service(table, "/second") == 1)
        #expect(service(table, "/second/") == 1)
        #expect(service(table, "/second/x") == 1)
        #expect(service(table, "/second/sample") == 0)
        #expect(service(table, "/second/sample/deeper") == 0)
        #expect(service(table, "/second/samples") == 1)
        #expect(service(table, "/secondary") == nil)
        #expect(service(table, "/") == nil)
        #expect(service(table, "") == nil)
        #expect(service(table, "/FIRST") == nil)
        #expect(service(table, "/%66irst") == nil)
    }

    @Test func theRootServiceGetsUnclaimedPaths() {
        let table = makeTable([["/"], ["/a"]])
        #expect(service(table, "/") == 0)
        #expect(service(table, "/b/c") == 0)
        #expect(service(table, "/a/b") == 1)
    }

    @Test func agreesWithTheObviousSearchOverRandomTables() {
        var random = SplitMix(seed: 7)
        let words = ["a", "b", "ab", "abc", "c"]
        for _ in 0..<300 {
            var paths: Set<String> = []
            for _ in 0..<random.next() % 20 {
                paths.insert(
                    "/" + (0...random.next() % 3).map { _ in words[Int(random.next() % 5)] }.joined(separator: "/"))
            }
            let list = paths.sorted()
            let table = makeTable(list.map { [$0] })
            for _ in 0..<50 {
                let path =
                    "/" + (0...random.next() % 4).map { _ in words[Int(random.next() % 5)] }.joined(separator: "/")
                let expected = list.indices.filter { path == list[$0] || path.hasPrefix(list[$0] + "/") }.max {
                    list[$0].count < list[$1].count
                }
                #expect(service(table, path) == expected, "\(path) in \(list)")
            }
        }
    }

    /// Added and removed in any order, the table finds what a new one would find.
    @Test func pathsThatComeAndGoLeaveNothingBehind() {
        var random = SplitMix(seed: 7)
        var table = RouteTable()
        var live: [String: (number: Int, service: Int)] = [:]
        let names = (0..<60).map { "/p\($0 % 20)" + ($0 < 20 ? "" : $0 < 40 ? "/x" : "/x/y") } + ["/"]
        var most = 0
        for step in 0..<20_000 {
            let name = names[Int(random.next() % UInt64(names.count))]
            if let known = live.removeValue(forKey: name) {
                table.remove(known.number)
            } else {
                live[name] = (table.add(name, service: step), step)
            }
            most = max(most, live.values.map(\.number).max() ?? 0)
            let path = names[Int(random.next() % UInt64(names.count))] + "/z"
            let wanted = live.filter { $0.key == "/" || path.hasPrefix($0.key + "/") }
                .max { $0.key.utf8.count < $1.key.utf8.count }
            let found = table.route(Array(path.utf8).span, 0, path.utf8.count)
            #expect(found?.service == wanted?.value.service && found?.path == wanted?.value.number, "\(step) \(path)")
            if found?.service != wanted?.value.service { return }
        }
        #expect(most < names.count, "numbers are used again")
    }

    /// While a path goes from one service to another, the old one's may be removed last.
    @Test func aPathThatMovesIsTheNewServices() {
        for path in ["/", "/a"] {
            var table = RouteTable()
            let old = table.add(path, service: 1)
            _ = table.add(path, service: 2)
            table.remove(old)
            #expect(service(table, "/a/x") == 2)
        }
    }
}
