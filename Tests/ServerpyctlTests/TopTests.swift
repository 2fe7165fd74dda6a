import Testing

@testable import serverpyctl

@Suite struct TopTests {
    private func state(after keys: String) -> TopState {
        var state = TopState()
        for byte in keys.utf8 { state.key(byte) }
        state.pause()
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
        #expect(state(after: "/漢字\u{7f}x\n").view.filter == "漢x")
        #expect(state(after: "/a\u{1b}[3~b").view.filter == "ab", "other keys than arrows do nothing")
        #expect(state(after: "/web\u{1b}").view.filter.isEmpty && !state(after: "/web\u{1b}").isTyping)
        #expect(state(after: "/web\n\u{1b}q").isEnding, "Escape takes no key with it")
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

    @Test func wideCharactersTakeTwoColumns() {
        var table = Table(["NAME", "X"])
        table.add(["漢字", "1"])
        table.add(["e\u{301}", "2"])
        table.add(["\u{1b}[2J", "3"])
        #expect(table.text() == "NAME     X\n漢字     1\ne\u{301}        2\n\\x1b[2J  3\n")
    }

    @Test func theWidestColumnsGiveWay() {
        var table = Table(["NAME", "PID", "SNAPSHOT"], cutting: ["NAME": .end, "SNAPSHOT": .start])
        table.add(["a-service-of-a-long-name", "4194304", "1795631610.12"])
        #expect(table.text().count(where: { $0 == "\n" }) == 2 && !table.text().contains("…"))
        let lines = table.text(columns: 32).split(separator: "\n")
        #expect(lines.map(\.count).max() == 32 && lines[1] == "a-service…  4194304  …5631610.12", "\(lines)")
        #expect(table.text(columns: 3).split(separator: "\n")[1] == "a-servi…  4194304  …1610.12")
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
