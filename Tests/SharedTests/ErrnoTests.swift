import Glibc
import Testing

@testable import Shared

/// Which errors are retried, which pause and which end something: each named error of the calls' manual pages.
@Suite struct ErrnoTests {
    @Test(arguments: [
        (EAGAIN, AcceptOutcome.nobody), (EMFILE, .noDescriptors), (ENFILE, .noDescriptors), (ENOMEM, .pause),
        (ENOBUFS, .pause), (EINTR, .next), (ECONNABORTED, .next), (EPROTO, .next), (EPERM, .next), (ENETDOWN, .next),
        (ENOPROTOOPT, .next), (EHOSTDOWN, .next), (ENONET, .next), (EHOSTUNREACH, .next), (EOPNOTSUPP, .next),
        (ENETUNREACH, .next), (ETIMEDOUT, .next),
        // What can only be a mistake of ours must not spin either.
        (EBADF, .pause), (EINVAL, .pause), (ENOTSOCK, .pause), (EFAULT, .pause), (12_345, .pause),
    ])
    func eachErrorOfAcceptHasItsOutcome(_ code: Int32, _ outcome: AcceptOutcome) {
        #expect(Errno(code).acceptOutcome == outcome)
    }

    @Test(arguments: [
        (EAGAIN, true), (EINTR, true), (ENOMEM, true), (ENOBUFS, true), (EPIPE, false), (ECONNRESET, false),
        (EBADF, false),
        (EIO, false),
    ])
    func onlyWhatPassesByItselfIsPassing(_ code: Int32, _ passes: Bool) { #expect(Errno(code).isPassing == passes) }

    /// An interrupted call is repeated inside its wrapper, and is never "nothing now".
    @Test func anInterruptedCallIsRepeated() throws {
        var calls = 0
        let result = IOResult {
            calls += 1
            if calls < 4 {
                errno = EINTR
                return -1
            }
            return 7
        }
        #expect(result.count == 7 && calls == 4)
        let again = IOResult {
            errno = EAGAIN
            return -1
        }
        #expect(again.isAgain)
    }
}
