import Testing

@testable import serverpyctl

@Suite struct TopTests {
    private func state(after keys: String) -> TopState {
        var state = TopState()
        for byte in keys.utf8 { state.key(byte) }
        return state
    }

    @Test func keysOrderFilterScrollHaltAndEnd() {
        #expect(state(after: "t").view.order == .status)
        #expect(state(after: "ss").view.order == .requests)
        #expect(
            state(after: String(repeating: "s", count: StatusView.Order.allCases.count)).view.order == .configuration)
        #expect(state(after: "/web\n").view.filter == "web")
        #expect(state(after: "/web\u{7f}x").view.filter == "wex")
        #expect(!state(after: "/q").isEnding)
        #expect(state(after: "jjjk").scrolled == 2 && state(after: "\u{1b}[B\u{1b}[B\u{1b}[A").scrolled == 1)
        #expect(state(after: "kkk").scrolled == 0)
        #expect(state(after: " ").isHalted && !state(after: "  ").isHalted)
        #expect(state(after: "q").isEnding && !state(after: "x\u{1b}[Z").isEnding)
    }

    @Test func thePictureFitsTheTerminal() {
        var state = state(after: "jjjjj")
        state.view.columns = 40
        let text = (1...100).map { "line \($0)\n" }.joined()
        let screen = state.screen(text, rows: 10, trouble: nil)
        #expect(screen.contains("line 6\u{1b}[K") && !screen.contains("line 5\u{1b}[K"))
        #expect(screen.contains("line 14\u{1b}[K") && !screen.contains("line 15\u{1b}[K"))
        #expect(screen.contains("\u{1b}[10;1H"))
        for _ in 0..<500 { state.key(UInt8(ascii: "j")) }
        _ = state.screen(text, rows: 10, trouble: nil)
        #expect(state.scrolled == 91, "it stops at the last line")
    }

    @Test func columnsAlignWithAndWithoutColour() {
        var table = Table(["NAME", "STATE", "X"])
        table.add(["a", "ready", ""], .good, at: 1)
        table.add(["longer", "down", "y"], .bad, at: 1)
        #expect(table.text() == "NAME    STATE  X\na       ready\nlonger  down   y\n")
        let coloured = table.text(hasColour: true)
        #expect(coloured.contains("a       \u{1b}[32mready\u{1b}[0m\n"))
        #expect(coloured.contains("longer  \u{1b}[31mdown\u{1b}[0m   y\n"))
    }
}
