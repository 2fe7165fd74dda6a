import Foundation
import Synchronization

@testable import Shared

/// As much of JSON Schema (draft 7) as the project's schema uses. What it does not know it reports, so that nothing is passed
/// over.
struct JSONSchema {
    private let root: Document.Value

    init(_ text: [UInt8]) throws { root = try JSONReader.parse(text).root }

    /// Why a value does not fit, as places and keywords; empty when it does.
    func faults(_ value: Document.Value) -> [String] { faults(value, root, "$") }

    private func faults(_ value: Document.Value, _ schema: Document.Value, _ place: String) -> [String] {
        if let flag = schema.boolean { return flag ? [] : ["\(place): not allowed"] }
        var faults: [String] = []
        func require(_ condition: Bool, _ keyword: String) { if !condition { faults.append("\(place): \(keyword)") } }
        for (key, rule) in schema.members {
            let keyword = key.text
            switch keyword {
            case "$schema", "title", "description", "default", "definitions", "then", "else": break
            case "$ref": faults += self.faults(value, resolve(rule.text), place)
            case "type":
                let names = rule.kind == .sequence ? rule.elements.map(\.text) : [rule.text]
                require(names.contains { Self.isOf(value, $0) }, keyword)
            case "enum": require(rule.elements.contains { Self.same($0, value) }, keyword)
            case "const": require(Self.same(rule, value), keyword)
            case "minimum": if let number = value.double { require(number >= rule.double ?? 0, keyword) }
            case "maximum": if let number = value.double { require(number <= rule.double ?? 0, keyword) }
            case "minLength": if let text = value.string { require(text.unicodeScalars.count >= count(rule), keyword) }
            case "maxLength": if let text = value.string { require(text.unicodeScalars.count <= count(rule), keyword) }
            case "pattern":
                if let text = value.string { require(Self.matches(text, rule.text), "\(keyword) \(rule.text)") }
            case "minItems": if value.kind == .sequence { require(value.count >= count(rule), keyword) }
            case "maxItems": if value.kind == .sequence { require(value.count <= count(rule), keyword) }
            case "minProperties": if value.kind == .mapping { require(value.count >= count(rule), keyword) }
            case "maxProperties": if value.kind == .mapping { require(value.count <= count(rule), keyword) }
            case "items":
                for (index, element) in value.elements.enumerated() {
                    faults += self.faults(element, rule, "\(place)[\(index)]")
                }
            case "required":
                if value.kind == .mapping {
                    for name in rule.elements { require(member(value, name.text) != nil, "\(keyword) \(name.text)") }
                }
            case "dependencies":
                for (name, needed) in rule.members where member(value, name.text) != nil {
                    for other in needed.elements {
                        require(member(value, other.text) != nil, "\(keyword) \(other.text)")
                    }
                }
            case "properties":
                for (name, inner) in rule.members {
                    if let inside = member(value, name.text) {
                        faults += self.faults(inside, inner, "\(place).\(name.text)")
                    }
                }
            case "additionalProperties":
                let known = schema["properties"].map { $0.members.map(\.key.text) } ?? []
                for (name, inside) in value.members where !known.contains(name.text) {
                    faults += self.faults(inside, rule, "\(place).\(name.text)")
                }
            case "propertyNames":
                for (name, _) in value.members { faults += self.faults(name, rule, "\(place) key \(name.text)") }
            case "anyOf":
                let each = rule.elements.map { self.faults(value, $0, place) }
                require(each.contains { $0.isEmpty }, keyword)
            case "allOf": for inner in rule.elements { faults += self.faults(value, inner, place) }
            case "not": require(!self.faults(value, rule, place).isEmpty, keyword)
            case "if":
                let branch = self.faults(value, rule, place).isEmpty ? schema["then"] : schema["else"]
                if let branch { faults += self.faults(value, branch, place) }
            default: faults.append("\(place): the keyword \(keyword) is not known to this validator")
            }
        }
        return faults
    }

    private func member(_ value: Document.Value, _ name: String) -> Document.Value? {
        value.members.first { $0.key.text == name }?.value
    }

    private func count(_ rule: Document.Value) -> Int { Int(clamping: rule.unsigned ?? 0) }

    /// `#/definitions/name`.
    private func resolve(_ reference: String) -> Document.Value {
        var found = root
        for part in reference.split(separator: "/").dropFirst() { found = member(found, String(part)) ?? found }
        return found
    }

    /// The keys of an object's `properties`, by the path of keywords to it.
    func properties(_ path: String...) -> Set<String> {
        var found = root
        for part in path { found = member(found, part) ?? found }
        return Set(found["properties"]?.members.map(\.key.text) ?? [])
    }

    private static func isOf(_ value: Document.Value, _ type: String) -> Bool {
        switch (type, value.kind) {
        case ("object", .mapping), ("array", .sequence), ("string", .string), ("boolean", .boolean), ("null", .null),
            ("number", .integer), ("number", .number), ("integer", .integer):
            true
        case ("integer", .number): value.double.map { $0 == $0.rounded() } ?? false
        default: false
        }
    }

    private static func same(_ a: Document.Value, _ b: Document.Value) -> Bool {
        a.kind == b.kind && Array(a.bytes) == Array(b.bytes)
    }

    private static let expressions = Mutex<[String: NSRegularExpression]>([:])

    private static func matches(_ text: String, _ pattern: String) -> Bool {
        let expression = expressions.withLock { known -> NSRegularExpression? in
            if let expression = known[pattern] { return expression }
            let expression = try? NSRegularExpression(pattern: pattern)
            known[pattern] = expression
            return expression
        }
        guard let expression else { return false }
        return expression.firstMatch(in: text, range: NSRange(text.startIndex..., in: text)) != nil
    }
}
