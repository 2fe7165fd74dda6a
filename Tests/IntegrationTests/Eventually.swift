import Foundation

/// For what another process does in its own time and tells nobody.
enum Eventually {
    /// Asks again until the condition holds; false when it does not within ten seconds.
    static func holds(_ condition: () -> Bool) -> Bool {
        let end = Date().addingTimeInterval(10)
        while !condition() {
            if Date() > end { return false }
            Thread.sleep(forTimeInterval: 0.01)
        }
        return true
    }
}
