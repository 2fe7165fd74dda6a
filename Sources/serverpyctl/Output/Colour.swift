import Shared

/// Colour is for people who look: on a terminal that is not a dumb one, and never with NO_COLOR (no-color.org).
enum Colour {
    static func isWanted(on descriptor: Descriptor) -> Bool {
        let refuses = Process.environment("NO_COLOR").map { !$0.isEmpty } ?? false
        return Terminal.isTerminal(descriptor) && !refuses && Process.environment("TERM") != "dumb"
    }
}
