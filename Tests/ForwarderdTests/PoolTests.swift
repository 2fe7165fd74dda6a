import Shared
import Testing

@testable import forwarderd

/// The lists of idle connections, beside a plain list. No socket is opened: closing no descriptor does nothing.
@Suite struct PoolTests {
    private let instances = Slab<InstanceSlot>(capacity: 4)
    private let here = SocketAddress.loopback(port: 1)

    private func instance(_ name: String) -> Table.Instance {
        instances.insert(
            InstanceSlot(
                service: "s",
                SnapshotInstance(
                    id: 0, url: name, authority: name, priority: .medium, weight: 1,
                    state: InstanceState(
                        status: .up, suspect: false, draining: false, availability: 100, address: here)), key: 0))
    }

    private func connection(_ pool: Pool, _ instance: Table.Instance, _ address: SocketAddress) -> Pool.Index {
        pool.connections.insert(InstanceConnection(.none, instance: instance, address: address))
    }

    @Test func theConnectionUsedLastIsTakenFirst() {
        var pool = Pool(capacity: 9, idleLimit: 9)
        let a = instance("a")
        let all = (0..<3).map { _ in connection(pool, a, here) }
        for (time, index) in all.enumerated() { pool.keep(index, in: &instances[a].idle, now: UInt64(time)) }
        var order: [Pool.Index] = []
        while let next = pool.candidate(in: instances[a].idle, isIdempotent: true, now: 10) {
            pool.remove(next, from: &instances[a].idle)
            order.append(next)
        }
        expect(order == all.reversed() && pool.idleCount == 0 && instances[a].idle.count == 0)
    }

    @Test func aRequestThatMustNotRunTwiceGoesOnFreshConnectionsOnly() {
        var pool = Pool(capacity: 9, idleLimit: 9)
        let a = instance("a")
        let index = connection(pool, a, here)
        pool.keep(index, in: &instances[a].idle, now: 1000)
        func candidate(_ now: UInt64, isIdempotent: Bool) -> Pool.Index? {
            pool.candidate(in: instances[a].idle, isIdempotent: isIdempotent, now: now)
        }
        let limit = Limits.staleConnectionMilliseconds
        expect(candidate(1000 + limit, isIdempotent: false) == index)
        expect(candidate(1001 + limit, isIdempotent: false) == nil)
        expect(candidate(1001 + limit, isIdempotent: true) == index)
        // `Keep-Alive: timeout=1`
        pool.connections[index].announcedTimeoutMilliseconds = limit
        expect(candidate(1000, isIdempotent: false) == index && candidate(1001, isIdempotent: false) == nil)
    }

    @Test func theConnectionThatHasBeenIdleLongestMakesRoomWhateverItsInstance() {
        var pool = Pool(capacity: 9, idleLimit: 2)
        let (a, b) = (instance("a"), instance("b"))
        let (first, second, third) = (connection(pool, a, here), connection(pool, b, here), connection(pool, a, here))
        pool.keep(first, in: &instances[a].idle, now: 1)
        pool.keep(second, in: &instances[b].idle, now: 2)
        expect(!pool.isOverIdleLimit)
        pool.keep(third, in: &instances[a].idle, now: 3)
        expect(pool.isOverIdleLimit && pool.oldest == first)
        let closed = pool.closeOldest(instances)
        expect(closed && !pool.connections.isInUse(first) && instances[a].idle.count == 1)
        pool.closeExpired(instances, now: 3 + Limits.instanceIdleTimeoutMilliseconds)
        expect(!pool.connections.isInUse(second) && pool.connections.isInUse(third), "expired: idle for longer")
        let closedAgain = pool.closeOldest(instances)
        let closedNothing = pool.closeOldest(instances)
        expect(closedAgain && !closedNothing && pool.connections.count == 0)
    }

    @Test func theListsAgreeWithPlainOnesOverRandomUse() {
        var random = SplitMix(seed: 11)
        var pool = Pool(capacity: 64, idleLimit: 64)
        let all = [instance("a"), instance("b"), instance("c")]
        var idle: [(index: Pool.Index, instance: Table.Instance)] = []
        for now in 0..<20_000 {
            let place = Int(random.next() % 3)
            if random.next() % 2 == 0, !pool.isFull {
                let index = connection(pool, all[place], here)
                pool.keep(index, in: &instances[all[place]].idle, now: UInt64(now))
                idle.append((index, all[place]))
            } else if !idle.isEmpty {
                switch random.next() % 3 {
                case 0:
                    let one = idle.remove(at: Int(random.next() % UInt64(idle.count)))
                    pool.closeIdle(one.index, in: &instances[one.instance].idle)
                case 1:
                    expect(pool.closeOldest(instances))
                    idle.removeFirst()
                default:
                    pool.closeIdle(in: &instances[all[place]].idle)
                    idle.removeAll { !pool.connections.isInUse($0.index) }
                    expect(idle.allSatisfy { $0.instance != all[place] })
                }
            }
            expect(pool.idleCount == idle.count && pool.oldest == idle.first?.index)
            expect(instances[all[place]].idle.count == idle.count { $0.instance == all[place] })
            expect(instances[all[place]].idle.newest == idle.last { $0.instance == all[place] }?.index)
        }
    }
}
