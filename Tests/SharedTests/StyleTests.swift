import Foundation
import Testing

@testable import Shared

/// Rules of style that matter enough to fail on.
@Suite struct StyleTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    /// Path below the repository and text of every Swift file below a folder.
    private func sources(_ folder: String) throws -> [(path: String, text: String)] {
        let base = Self.root + "/" + folder
        let names = try #require(FileManager.default.enumerator(atPath: base)).compactMap { $0 as? String }.filter {
            $0.hasSuffix(".swift")
        }
        #expect(!names.isEmpty)
        return try names.map { ("\(folder)/\($0)", try String(contentsOfFile: base + "/" + $0, encoding: .utf8)) }
    }

    @Test func unsafeStandsInItsTwoRoomsOnly() throws {
        for (path, text) in try sources("Sources")
        where !path.hasPrefix("Sources/Shared/System/") && !path.hasPrefix("Sources/Shared/Bytes/") {
            #expect(!text.split(separator: "\n").contains { $0.contains("unsafe ") && !$0.contains("//") }, "\(path)")
        }
    }

    @Test func noFoundationOnTheDataPathAndNoneThatBringsCurl() throws {
        for folder in ["Sources/Shared", "Sources/forwarderd"] {
            for (path, text) in try sources(folder) { #expect(!text.contains("import Foundation"), "\(path)") }
        }
        for (path, text) in try sources("Sources") {
            #expect(!text.contains("import Foundation\n") && !text.contains("import FoundationNetworking"), "\(path)")
        }
    }

    @Test func nothingCanKillTheProcessOnPurpose() throws {
        for (path, text) in try sources("Sources") {
            for word in ["try!", "as!", "fatalError("] { #expect(!text.contains(word), "\(path): \(word)") }
        }
    }

    @Test func filesKeepOneConcept() throws {
        for folder in ["Sources", "Tests"] {
            for (path, text) in try sources(folder) {
                #expect(text.split(separator: "\n", omittingEmptySubsequences: false).count <= 450, "\(path)")
            }
        }
    }

    @Test func thePackageHasNoDependency() throws {
        let text = try String(contentsOfFile: Self.root + "/Package.swift", encoding: .utf8)
        #expect(!text.contains(".package("))
    }

    @Test func theExamplesOfTheReadmeAreGood() throws {
        let text = try String(contentsOfFile: Self.root + "/README.md", encoding: .utf8)
        let parts = text.components(separatedBy: "```")
        var configurations = 0
        for index in stride(from: 1, to: parts.count, by: 2) {
            if parts[index].hasPrefix("yaml\n") {
                let bytes = Array(parts[index].dropFirst(5).utf8)
                _ = try ConfigurationFile(path: "README.yaml", bytes: bytes).configuration()
                configurations += 1
            } else if parts[index].hasPrefix("json\n") {
                _ = try JSONReader.parse(Array(parts[index].dropFirst(5).utf8))
            }
        }
        #expect(configurations >= 1)
        for path in ["deploy/example.json"] { _ = try ConfigurationFile.read(Self.root + "/" + path).configuration() }
    }

    @Test func theReadmeExplainsEveryKeyOfTheConfiguration() throws {
        let text = try String(contentsOfFile: Self.root + "/README.md", encoding: .utf8)
        let keys =
            ConfigurationReader.serviceKeys + ConfigurationReader.pollingKeys + ConfigurationReader.generalKeys
            + ConfigurationReader.limitKeys + ConfigurationReader.timeoutKeys + ConfigurationReader.clientTimeoutKeys
            + ConfigurationReader.retryKeys + BalancePolicy.names
        for key in keys { #expect(text.contains("`\(key)`"), "\(key)") }
    }
}
