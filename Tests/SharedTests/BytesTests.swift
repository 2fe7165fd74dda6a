import Testing

@testable import Shared

@Suite struct BytesTests {
    @Test func aBufferMovesItsBytesFromEndToEnd() {
        var buffer = Buffer(capacity: 8)
        buffer.append("abcdef")
        buffer.consume(4)
        let before = buffer.free
        buffer.compact()
        let after = buffer.free
        buffer.append(decimal: 1234)
        let bytes = buffer.bytes.array(0, buffer.count)
        #expect(before == 2)
        #expect(after == 6)
        #expect(bytes == Array("ef1234".utf8))
    }

    @Test(arguments: [0, 1, 9, 10, 15, 16, 255, 4096, 65535, .max] as [UInt64])
    func numbersAreWrittenAsTheyAreRead(_ value: UInt64) {
        var buffer = Buffer(capacity: 64)
        buffer.append(decimal: value)
        buffer.append(" ")
        buffer.append(hexadecimal: value)
        let text = String(decoding: buffer.bytes.array(0, buffer.count), as: UTF8.self)
        #expect(text == "\(value) " + String(value, radix: 16))
    }

    @Test func aPoolLendsNoMoreThanItsLimit() {
        var pool = BufferPool(bufferBytes: 16, limit: 2, keep: 1)
        let first = pool.lease()
        let second = pool.lease()
        let third = pool.lease()
        let lent = (first.isLeased, third.isLeased)
        pool.giveBack(first)
        pool.giveBack(second)
        pool.giveBack(third)
        let left = pool.lent
        #expect(lent == (true, false))
        #expect(left == 0)
    }

    @Test func aFreedPlaceDoesNotAnswerToItsOldGeneration() {
        let slab = Slab<Int>(capacity: 2)
        let slot = slab.insert(5)
        let generation = slab.generation(slot)
        #expect(slab.holds(slot, generation))
        _ = slab.remove(slot)
        #expect(!slab.holds(slot, generation))
        #expect(slab.insert(6) == slot)
        #expect(!slab.holds(slot, generation))
        #expect(slab[slot] == 6)
    }

    @Test func strictDecimalTakesDigitsOnly() {
        #expect(DecimalDigits.parse("0042".utf8) == 42)
        #expect(DecimalDigits.parse("18446744073709551615".utf8) == .max)
        for bad in ["", "+5", "-5", " 5", "5 ", "0x5", "18446744073709551616", "99999999999999999999999"] {
            #expect(DecimalDigits.parse(bad.utf8) == nil, "\(bad)")
        }
    }

    @Test func theLimitsFitTogether() { Limits.check() }

    @Test(arguments: [
        (0 as UInt64, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
        (951_827_696_789, "2000-02-29T12:34:56.789Z", "Tue, 29 Feb 2000 12:34:56 GMT"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
    ])
    func datesAreThoseOfTheCalendar(_ wall: UInt64, _ iso: String, _ http: String) {
        #expect(Timestamp.iso8601(wallMilliseconds: wall) == iso)
        #expect(Timestamp(wallMilliseconds: wall).httpDate == http)
    }

    @Test(arguments: ["127.0.0.1:80", "[::1]:8080", "[2001:db8::5]:1"])
    func addressesAreReadAsTheyArePrinted(_ text: String) {
        #expect(SocketAddress(hostPort: text)?.description == text)
    }

    @Test(arguments: [
        "", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:+80", "::1:80", "[127.0.0.1]:80", "[::1]", "1.2.3.4:65536",
    ])
    func whatIsNoAddressIsRefused(_ text: String) {
        #expect(SocketAddress(hostPort: text) == nil)
    }
}
