import Shared
import Testing

@testable import discoveryd

@Suite struct NewsTests {
    @Test func aMarkSetGivesWhatWasPutInLowestFirst() {
        var set = MarkSet<RegisteredInstance>()
        for id in [130, 3, 64, 3] as [Registry.InstanceID] { set.insert(id) }
        set.remove(64)
        set.remove(7)
        #expect(set.count == 2 && set.contains(130) && !set.contains(64) && !set.contains(5000))
        #expect(set.takeFirst(1) == [3] && set.takeFirst(9) == [130] && set.isEmpty)
    }

    @Test func whatIsGoneIsNoNewsOtherwise() {
        var news = News()
        var change = MembershipChange()
        change.instances = [1, 2]
        news.mark(change)
        news.mark([1, 3])
        change = MembershipChange()
        change.goneInstances = [1]
        news.mark(change)
        let told = news.takeMembers()
        #expect(told.instances == [2] && told.goneInstances == [1] && news.takeStates(9) == [3])
        #expect(!news.hasMembers && !news.hasVersion)
    }

    /// Gone and named again before the subscriber was told: it is told of the new owner, and drops the former one by itself.
    @Test func anIdThatIsUsedAgainIsNotGone() {
        var news = News()
        var change = MembershipChange()
        change.goneInstances = [1]
        change.goneServices = [4]
        news.mark(change)
        change = MembershipChange()
        change.instances = [1]
        change.services = [4]
        news.mark(change)
        let told = news.takeMembers()
        #expect(
            told.goneInstances.isEmpty && told.goneServices.isEmpty && told.instances == [1] && told.services == [4])
    }

    @Test func aVersionOfWhichNothingIsLeftIsStillTold() {
        var news = News()
        news.mark([1])
        news.told([1])
        #expect(news.hasVersion && news.takeStates(9).isEmpty && !news.hasVersion)
    }
}
