/// Wall-clock time as text, UTC, without a calendar library.
public struct Timestamp: Sendable {
    public let year: Int
    public let month: Int
    public let day: Int
    public let hour: Int
    public let minute: Int
    public let second: Int
    public let millisecond: Int
    /// 0 is Sunday.
    public let weekday: Int

    /// The civil date of a count of milliseconds since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
    public init(wallMilliseconds: UInt64) {
        let total = Int(clamping: wallMilliseconds / 1000)
        let days = total / 86_400
        let rest = total % 86_400
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        hour = rest / 3600
        minute = rest / 60 % 60
        second = rest % 60
        millisecond = Int(wallMilliseconds % 1000)
        weekday = (days + 4) % 7
    }

    private static func padded(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }

    /// ISO 8601 with milliseconds: `2026-11-23T22:36:17.123Z`.
    public var iso8601: String {
        let p = Self.padded
        return
            "\(p(year, 4))-\(p(month, 2))-\(p(day, 2))T\(p(hour, 2)):\(p(minute, 2)):\(p(second, 2)).\(p(millisecond, 3))Z"
    }

    /// IMF-fixdate for HTTP (RFC 9110 5.6.7): `Mon, 23 Nov 2026 22:36:17 GMT`.
    public var httpDate: String {
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let p = Self.padded
        return
            "\(days[weekday]), \(p(day, 2)) \(months[month - 1]) \(p(year, 4)) \(p(hour, 2)):\(p(minute, 2)):\(p(second, 2)) GMT"
    }

    /// The inverse: milliseconds since 1970 of text exactly as `iso8601` writes it; nil for anything else.
    public static func wallMilliseconds(iso8601 text: String) -> UInt64? {
        let bytes = Array(text.utf8)
        guard bytes.count == 24, bytes[10] == UInt8(ascii: "T"), bytes[23] == UInt8(ascii: "Z") else { return nil }
        func number(_ range: Range<Int>) -> Int? { DecimalDigits.parse(bytes[range], max: 9999).map { Int($0) } }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10), let hour = number(11..<13),
            let minute = number(14..<16), let second = number(17..<19), let millisecond = number(20..<23),
            (1970...9999).contains(year), (1...12).contains(month), (1...31).contains(day)
        else { return nil }
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = shiftedYear / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return UInt64(((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + UInt64(millisecond)
    }

    public static func iso8601(wallMilliseconds: UInt64) -> String {
        Timestamp(wallMilliseconds: wallMilliseconds).iso8601
    }
}
