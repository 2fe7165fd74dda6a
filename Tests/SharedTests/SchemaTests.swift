import Foundation
import Testing

@testable import Shared

/// The schema in deploy/ says the same as the reader, as far as a schema can say it.
@Suite struct SchemaTests {
    private static let repository = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()
    private static let schema = Result {
        try JSONSchema([UInt8](Data(contentsOf: URL(fileURLWithPath: repository + "/deploy/serverpy.schema.json"))))
    }

    /// What two places have to do with each other, and what only a whole text shows.
    private static let beyondASchema = [
        "in this service already", "claimed already", "must not exceed `frequency`", "they must differ",
        "there is no service",
        "not a number from 1 to 65535", "not an IPv4 address", "is not an IPv6 address",
        "without bits set behind the prefix",
        "an IPv4 or IPv6 address is needed", "a time from", "a size from", "a host name has", "a part of a host name",
        "an address has no", "it must", "a status code from", "at least one is needed beside",
        "the case of its letters",
    ]

    private enum Verdict: Equatable {
        case good
        case refused(beyondASchema: Bool, String)
    }

    private func reader(_ text: String, _ name: String) -> Verdict {
        do throws(ConfigurationFile.Refusal) {
            _ = try ConfigurationFile(path: name, bytes: Array(text.utf8)).configuration { _ in nil }
            return .good
        } catch {
            let errors = error.text.split(separator: "\n").filter { $0.contains(": error: ") }
            let isBeyond = errors.allSatisfy { line in Self.beyondASchema.contains { line.contains($0) } }
            return .refused(beyondASchema: isBeyond, error.text)
        }
    }

    private func faults(_ text: String, _ name: String) throws -> [String] {
        let document = try ConfigurationFile(path: name, bytes: Array(text.utf8)).document()
        return try Self.schema.get().faults(document.root)
    }

    private func compare(_ text: String, _ name: String) throws {
        let faults = try faults(text, name)
        switch reader(text, name) {
        case .good: #expect(faults.isEmpty, "the reader takes what the schema does not: \(text)\n\(faults)")
        case .refused(let isBeyond, let why):
            #expect(isBeyond || !faults.isEmpty, "the schema takes what the reader does not: \(why)\n\(text)")
        }
    }

    @Test func agreesOnAllFixtures() throws {
        for (text, _) in ConfigurationFixtures.refused { try compare(text, "c.yaml") }
        for (text, _) in ConfigurationFixtures.refusedBesideAService {
            try compare(ConfigurationFixtures.service + text, "c.yaml")
        }
        let everything = ConfigurationFixtures.everything.replacingOccurrences(of: "${X:-x}", with: "x")
        try compare(everything, "c.yaml")
        let read = try ConfigurationFile(path: "c.yaml", bytes: Array(everything.utf8)).configuration().0
        try compare(ConfigurationPrinter.yaml(read), "c.yaml")
        try compare(String(contentsOfFile: Self.repository + "/deploy/example.json", encoding: .utf8), "c.json")
    }

    @Test func knowsTheReadersKeysAndNoOthers() throws {
        let schema = try Self.schema.get()
        #expect(schema.properties("definitions", "service") == Set(ConfigurationReader.serviceKeys))
        #expect(schema.properties("definitions", "polling") == Set(ConfigurationReader.pollingKeys))
        #expect(schema.properties("definitions", "metaInfo") == Set(ConfigurationReader.generalKeys))
        let service = ["definitions", "service", "properties"]
        #expect(
            schema.properties(service[0], service[1], service[2], "timeouts") == Set(ConfigurationReader.timeoutKeys))
        let general = ["definitions", "metaInfo", "properties"]
        #expect(schema.properties(general[0], general[1], general[2], "limits") == Set(ConfigurationReader.limitKeys))
        #expect(
            schema.properties(general[0], general[1], general[2], "timeouts")
                == Set(ConfigurationReader.clientTimeoutKeys))
    }

    /// Each value of the configuration that has every key is replaced by each of these: both say the same.
    @Test func agreesOnStrangeValuesInEveryPlace() throws {
        let strange = [
            "null", "true", "false", "0", "1", "-1", "2.5", "1e3", "99999999999", "\"\"", "\"x\"", "\"off\"", "\"5s\"",
            "\"0ms\"",
            "\"/x\"", "\"-\"", "[]", "{}", "[\"x\"]", "{\"x\": 1}", "\"10.0.0.0/8\"", "\"200-299\"", "\"http://h/\"",
            "\"16KiB\"", "\"auto\"", "\"hash\"", "\"a b\"",
        ]
        let bytes = Array(ConfigurationFixtures.everything.utf8)
        let root = try ConfigurationFile(path: "c.yaml", bytes: bytes).document().root
        var compared = 0
        for place in Self.places(root) {
            for value in strange {
                try compare(Self.text(root, replacing: place, by: value), "c.json")
                compared += 1
            }
            // Without it at all.
            if !place.isEmpty { try compare(Self.text(root, replacing: place, by: nil), "c.json") }
        }
        #expect(compared > 1000)
    }

    /// The ways to all values: indices of members or elements.
    private static func places(_ value: Document.Value) -> [[Int]] {
        let inside = value.kind == .mapping ? value.members.map(\.value) : Array(value.elements)
        return [[]] + inside.enumerated().flatMap { index, value in places(value).map { [index] + $0 } }
    }

    /// As JSON, with the value at a place replaced or left out.
    private static func text(_ value: Document.Value, replacing place: [Int], by other: String?) -> String {
        if place.isEmpty { return other ?? "null" }
        func inner(_ index: Int, _ value: Document.Value) -> String? {
            guard index == place[0] else { return whole(value) }
            if place.count == 1, other == nil { return nil }
            return text(value, replacing: Array(place.dropFirst()), by: other)
        }
        if value.kind == .mapping {
            let members = value.members.enumerated().compactMap { index, member in
                inner(index, member.value).map { "\(whole(member.key)): \($0)" }
            }
            return "{\(members.joined(separator: ", "))}"
        }
        let elements = value.elements.enumerated().compactMap { index, element in inner(index, element) }
        return "[\(elements.joined(separator: ", "))]"
    }

    private static func whole(_ value: Document.Value) -> String {
        var writer = JSONWriter()
        writer.value(value)
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}
