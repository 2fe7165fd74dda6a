import Shared
import Testing

@Suite struct CoreQuotaTests {
    private func cores(_ text: String) -> Int? { CoreQuota.cores(Array(text.utf8)) }

    @Test func aQuotaIsWholeCoresRoundedUp() {
        #expect(cores("max 100000\n") == nil)
        #expect(cores("100000 100000\n") == 1)
        #expect(cores("150000 100000\n") == 2)
        #expect(cores("1000 100000\n") == 1)
        #expect(cores("800000 100000") == 8)
        #expect(cores("18446744073709551615 1") != nil)
        for bad in ["", "x 100000", "100000", "0 100000", "100000 0", "1 2 3"] { #expect(cores(bad) == nil, "\(bad)") }
    }

    @Test func theGroupIsThatOfVersionTwo() {
        #expect(CoreQuota.group(Array("5:cpu:/old\n0::/user.slice/a b\n".utf8)) == "/user.slice/a b")
        #expect(CoreQuota.group(Array("5:cpu:/old\n".utf8)) == nil)
    }
}
