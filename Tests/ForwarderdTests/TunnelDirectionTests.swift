import Testing

@testable import forwarderd

@Suite struct TunnelDirectionTests {
    @Test func aTunnelIsOverWhenBothEndsWerePassedOn() {
        var tunnel = Tunnel()
        for side in Tunnel.Side.allCases {
            #expect(!tunnel.isOver)
            tunnel.end(from: side)
            #expect(tunnel.direction(from: side) == .ended && !tunnel.isOver)
            tunnel.passOn(from: side)
            #expect(tunnel.direction(from: side) == .passedOn)
        }
        #expect(tunnel.isOver)
    }

    @Test func oneDirectionGoesOnWhenTheOtherHasEnded() {
        var tunnel = Tunnel()
        tunnel.end(from: .client)
        tunnel.passOn(from: .client)
        #expect(tunnel.fromInstance == .open && !tunnel.isOver)
    }

    @Test func anEndThatWasPassedOnIsNotPassedOnAgain() {
        var tunnel = Tunnel()
        tunnel.passOn(from: .client)
        tunnel.end(from: .client)
        #expect(tunnel.fromClient == .passedOn)
    }
}
