import Foundation
import Testing

@testable import Shared

@Suite struct DirectoriesTests {
    @Test func differentRuntimeDirectoriesHaveDifferentState() {
        let paths = [
            "/run/serverpy", "/run-serverpy", "/run/serverpy/", "/tmp/a/b", "/tmp/a-b",
            "/tmp/" + String(repeating: "x", count: 200),
        ]
        let names = paths.map { Directories.name(of: $0) }
        #expect(Set(names).count == paths.count)
        for name in names { #expect(!name.contains("/") && name.utf8.count < 128) }
    }

    private func around(_ variables: [String: String], user: UInt32 = 7, home: String? = "/home/u")
        -> Directories.Surroundings
    {
        var around = Directories.Surroundings()
        around.userID = user
        around.variable = { variables[$0] }
        around.owner = { $0.hasPrefix("/run/user/7") ? 7 : 0 }
        around.home = { $0 == 7 ? home : "/root" }
        return around
    }

    /// Empty, relative and the bare root count as not set, in each variable alike.
    @Test(arguments: [nil, "", "x/y", "./x", "~", "/", "//"])
    func whatNamesNoDirectoryIsPassedOver(_ value: String?) throws {
        for variable in ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"] {
            let around = around([variable: value].compactMapValues(\.self))
            #expect(Directories.runtime(nil, around) == "/tmp/serverpy-7", "\(variable)")
            #expect(try Directories.stateBase(nil, around) == "/home/u/.local/state/serverpy", "\(variable)")
        }
    }

    @Test(arguments: [
        (["RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/7"], "/run/a"),
        (["XDG_RUNTIME_DIR": "/run/user/7/"], "/run/user/7/serverpy"),
        (["XDG_RUNTIME_DIR": "/run/user/8"], "/tmp/serverpy-7"),
        (["RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": "/run/user/7"], "/run/user/7/serverpy"),
    ])
    func theRuntimeDirectoryIsTheFirstThatIsNamedAndOurs(_ variables: [String: String], _ path: String) {
        #expect(Directories.runtime(nil, around(variables)) == path)
    }

    @Test(arguments: [
        (["STATE_DIRECTORY": "/s//a/:/b", "XDG_STATE_HOME": "/x"], "/s/a"), (["XDG_STATE_HOME": "/x/"], "/x/serverpy"),
        (["HOME": "/h"], "/h/.local/state/serverpy"),
        (["HOME": "", "XDG_STATE_HOME": ""], "/home/u/.local/state/serverpy"),
    ])
    func theStateDirectoryIsTheFirstThatIsNamed(_ variables: [String: String], _ path: String) throws {
        #expect(try Directories.stateBase(nil, around(variables)) == path)
    }

    @Test func rootHasPlacesOfItsOwn() throws {
        #expect(Directories.runtime(nil, around(["HOME": ""], user: 0)) == "/run/serverpy")
        #expect(try Directories.stateBase(nil, around(["HOME": ""], user: 0)) == "/var/lib/serverpy")
    }

    /// Never a place below /tmp that somebody else may have made first.
    @Test(arguments: [nil, "", "/", "relative"])
    func withoutAnyHomeItSaysSoAndHowToGiveOne(_ home: String?) {
        let fault = #expect(throws: StartFault.self) {
            try Directories.stateBase(nil, around(["HOME": ""], home: home))
        }
        #expect(fault.map { "\($0)" }?.contains("give one with --state-dir") == true)
    }

    // MARK: Who may have made what is above

    @Test(.enabled(if: Process.userID == 0)) func whatAnotherHasPlantedAboveIsNotUsed() throws {
        let shared = NSTemporaryDirectory() + "serverpy-test-" + String(SystemRandom.word(), radix: 36)
        defer { try? FileManager.default.removeItem(atPath: shared) }
        let manager = FileManager.default
        try manager.createDirectory(atPath: shared + "/planted", withIntermediateDirectories: true)
        try manager.setAttributes([.posixPermissions: 0o1777], ofItemAtPath: shared)
        try manager.setAttributes([.ownerAccountID: 65534], ofItemAtPath: shared + "/planted")
        #expect(throws: DirectoryError.foreignOwner(shared + "/planted", 65534)) {
            try Files.openPrivateDirectory(shared + "/planted/state")
        }
        try Files.openPrivateDirectory(shared + "/ours/state").0.close()
        try manager.setAttributes([.posixPermissions: 0o777], ofItemAtPath: shared)
        #expect(throws: DirectoryError.writableByOthers(shared, 0o777)) {
            try Files.openPrivateDirectory(shared + "/ours/state")
        }
    }
}
