/// Every limit of the system. A name ends in its unit. The relations between them are asserted by `check`, which each
/// program calls first and a test calls too.
public enum Limits {
    // MARK: Event loop
    public static let eventsPerTurn = 512
    /// The longest time the loop sleeps without a timer: also how soon a stopped clock is noticed.
    public static let longestSleepMilliseconds: UInt64 = 10_000
    /// How long the loop rests where the system has no memory for epoll_wait(2).
    public static let memoryPauseMilliseconds: UInt64 = 10

    // MARK: Sockets
    public static let listenBacklog: Int32 = 4096
    public static let inheritedDescriptors = 32

    // MARK: HTTP heads, both sides
    public static let headBytes = 16 * 1024
    public static let headFields = 128
    /// What the configuration may set the two to.
    public static let headBytesRange = 1024...28 * 1024
    public static let headFieldsRange = 16...1024
    public static let targetBytes = 8 * 1024
    /// A host name (RFC 1035 2.3.4) with brackets, colon and port.
    public static let authorityBytes = 262
    /// What forwarding may add to a head: Via, X-Forwarded-*, Forwarded, X-Request-Id, framing.
    public static let addedHeadBytes = 3000
    /// Members of a chain of proxies that are looked at, the nearest.
    public static let forwardedHops = 16
    /// A longer X-Request-Id is replaced by one of ours: it is repeated in logs and errors.
    public static let requestIDBytes = 128
    public static let chunkExtensionBytes = 4096
    public static let trailerBytes = 8 * 1024
    /// Trailers as they are sent on: each line may gain the space behind its colon.
    public static let forwardedTrailerBytes = trailerBytes + headFieldsRange.upperBound
    /// A PROXY header of version 2 with what may be attached to it.
    public static let proxyHeaderBytes = 4096

    // MARK: Forwarder
    public static let instancesInTable = 1 << 20
    /// A request's head, its canonical form, and what of its body came along.
    public static let requestBufferBytes = 32 * 1024
    /// When there is less room than this behind a request, what was sent of it gives way to the rest of its body.
    public static let requestRoomBytes = 1024
    /// A request that has passed this forwarder more often goes in circles.
    public static let passesPerRequest = 8
    /// Bytes taken from an instance per call.
    public static let relayBufferBytes = 64 * 1024
    /// What one such call can become for the client: a head, and the body framed anew. This is what a slow reader costs.
    public static let outputBufferBytes = 96 * 1024
    /// A body piece up to this is copied behind its head; a larger one is sent from where it is.
    public static let copiedBodyBytes = 8 * 1024
    public static let requestsPerTurn = 64
    /// The longest time that one turn of the loop gives to a snapshot, and until the next while requests come.
    public static let sliceNanoseconds: UInt64 = 300_000
    public static let sliceGapMilliseconds: UInt64 = 3
    public static let sweepMilliseconds: UInt64 = 1_000
    public static let acceptPauseMilliseconds: UInt64 = 100
    /// From when a listener is replaced until its queue is emptied for the last time.
    public static let listenerRetiresMilliseconds: UInt64 = 200
    /// Between two equal lines about something that we have no more of.
    public static let complaintGapMilliseconds: UInt64 = 5_000
    public static let clientConnections = 131_072
    public static let instanceConnections = 131_072
    /// Beyond the limit of client connections: those that are being told 503.
    public static let refusedConnections = 64
    /// Buffers that a second needs fewer than the one with the most, before memory is given back to the system: 4 MiB and more.
    public static let buffersReturned = 256
    /// Idle connections noted at one time as those that make room for new ones.
    public static let evictedPerSearch = 256
    /// A client connection that has said nothing for so long makes room when there is none.
    public static let silentClientMilliseconds: UInt64 = 1_000
    /// Requests that wait for an instance with room, per service, and how many a configuration may ask for.
    public static let queuedRequests = 128
    public static let queuedRequestsMaximum = 65_536
    /// The access log: bytes that wait to be written, bytes a write, and how long a line waits at most.
    public static let accessLogBytes = 1024 * 1024
    public static let accessLogWriteBytes = 64 * 1024
    public static let accessLogMilliseconds: UInt64 = 200
    public static let instanceConnectionsMaximum = 1_000_000
    public static let idleConnectionsPerInstance = 256
    /// A connection that moved this much in one turn lets others go first.
    public static let relayBytesPerTurn = 512 * 1024
    public static let acceptsPerTurn = 16
    /// A forwarder with more connections than its share and so many more stays out of the line for new ones for so long each time; what
    /// waits even then is taken, so many at once.
    public static let connectionsAboveShare = 8
    public static let acceptsAboveShare = 64
    public static let aboveShareMilliseconds: UInt64 = 20
    public static let instancesTriedPerRequest = 8
    public static let retryBudgetPercent = 20
    public static let retryBudgetMinimum = 3

    // MARK: Time-outs of the data path
    public static let headTimeoutMilliseconds: UInt64 = 30_000
    public static let clientIdleTimeoutMilliseconds: UInt64 = 75_000
    public static let instanceIdleTimeoutMilliseconds: UInt64 = 60_000
    public static let connectTimeoutMilliseconds: UInt64 = 2_000
    public static let firstByteTimeoutMilliseconds: UInt64 = 60_000
    public static let betweenBytesTimeoutMilliseconds: UInt64 = 60_000
    public static let tunnelTimeoutMilliseconds: UInt64 = 3_600_000
    public static let queueTimeoutMilliseconds: UInt64 = 5_000
    /// After the last answer: how long what a client still sends is discarded, and how long it may be silent.
    public static let lingerMilliseconds: UInt64 = 30_000
    public static let lingerSilenceMilliseconds: UInt64 = 2_000
    public static let drainTimeoutMilliseconds: UInt64 = 30_000
    public static let drainMaximumMilliseconds: UInt64 = 3_600_000
    public static let drainIdleMilliseconds: UInt64 = 5_000
    /// A reused connection idle for longer is not trusted with a request that must not run twice.
    public static let staleConnectionMilliseconds: UInt64 = 1_000
    public static let firstSnapshotWaitMilliseconds: UInt64 = 2_000

    // MARK: Passive evidence
    public static let ejectionMilliseconds: UInt64 = 1_000
    public static let ejectionMaximumMilliseconds: UInt64 = 60_000
    /// Answers of 5xx in a row that eject; a time-out counts as two, and is enough alone where nothing else was answered meanwhile.
    public static let badAnswersInRow = 5
    /// One that has come back gets its share of requests in so much time, beginning with so much of it.
    public static let slowStartMilliseconds: UInt64 = 10_000
    public static let slowStartPercent: UInt64 = 10

    // MARK: Polling
    /// Polls under way for less than the time below; those that hang for longer delay nobody.
    public static let pollsInFlight = 512
    /// Echo requests that wait for their replies; each has a number of 16 bits.
    public static let echoesInFlight = 32_768
    /// Answers that are read at a time.
    public static let pollBuffers = 16 * pollsInFlight
    /// Regular polls are due at multiples of this, so that the processor wakes once for several.
    public static let pollTickMilliseconds: UInt64 = 5
    public static let pollYouthMilliseconds: UInt64 = 100
    /// Beyond this the loop has stood still, and polls that ran meanwhile say nothing.
    public static let stallMilliseconds: UInt64 = 500
    /// How long doubt about oneself is shown after its cause.
    public static let doubtShownMilliseconds: UInt64 = 10_000
    /// A poll is repeated so much later when it could not be made, and at most so much later when it is void.
    public static let ownFaultDelayMilliseconds: UInt64 = 1_000
    public static let voidPollDelayMilliseconds: UInt64 = 250
    /// Over how much time polls are spread that are overdue all at once.
    public static let overdueSpreadMilliseconds: UInt64 = 5_000
    /// Fewer failing instances are no mass failure, and within which time at most they count together.
    public static let massFailureInstances = 5
    public static let massFailureWindowMilliseconds: UInt64 = 60_000
    /// Between two published changes of one instance.
    public static let changeGapMilliseconds: UInt64 = 100
    public static let pollBodyBytes = 64 * 1024
    /// Room for the largest head that the configuration allows.
    public static let pollHeadBytes = 28 * 1024
    public static let pollTimeoutMilliseconds: UInt64 = 5_000
    public static let frequencyMilliseconds: UInt64 = 60_000
    public static let downFrequencyMilliseconds: UInt64 = 5_000
    public static let freshConnectionEveryPolls = 10
    public static let accusationGapMilliseconds: UInt64 = 100
    public static let packetsPerInstance = 5_000
    public static let packetsPerInstanceMaximum = 1_000_000
    public static let availabilityWindowMilliseconds: UInt64 = 3_600_000
    /// Posts for `on_change` that wait, tries of each, how long a try may take, and the rest after a failed one.
    public static let changePosts = 1024
    public static let changePostTries = 3
    public static let changePostTimeoutMilliseconds: UInt64 = 5_000
    public static let changePostRestMilliseconds: UInt64 = 1_000
    public static let readyTimeoutMilliseconds: UInt64 = 5_000

    // MARK: Names
    /// Names that are looked up, each once however many lines have it.
    public static let names = 2 * configuredInstances
    public static let addressesPerName = 256
    /// Answers in a row after which it is believed that more than half of a name's addresses are gone.
    public static let lookUpsBelieved = 3
    /// Between two look-ups of one name: the least, which is also the shortest time that an answer is good for; the most after failures; the
    /// longest time that an answer is good for; and that of one which says that there is nothing.
    public static let lookUpGapMilliseconds: UInt64 = 1_000
    public static let lookUpRestMilliseconds: UInt64 = 5_000
    public static let lookUpHeldMilliseconds: UInt64 = 300_000
    public static let absenceHeldMilliseconds: UInt64 = 15_000
    public static let hostsFileHeldMilliseconds: UInt64 = 5_000
    public static let systemLookUpHeldMilliseconds: UInt64 = 30_000
    public static let resolverThreads = 8
    /// How long a name server has for its answer in the first round, and how many rounds there are.
    public static let lookUpTimeoutMilliseconds: UInt64 = 1_000
    public static let lookUpAttempts = 2
    /// How long a name server that has answered is asked first.
    public static let lookUpServerKeptMilliseconds: UInt64 = 30_000
    /// Look-ups under way, how many of them may be young, and for how long they are.
    public static let lookUps = 16_384
    public static let lookUpsAtOnce = 64
    public static let lookUpYouthMilliseconds: UInt64 = 100
    /// Ports from which questions go out at a time, how many go out from one, and connections to name servers.
    public static let dnsSockets = 64
    public static let questionsPerSocket = 128
    public static let dnsConnections = 32
    /// What a name server may send in a datagram, and what is read of it.
    public static let datagramBytes = 1_232
    public static let datagramReadBytes = 4_096
    public static let nameServers = 3
    public static let searchDomains = 32
    public static let resolverFileBytes = 1024 * 1024

    // MARK: State on disk
    /// Counts that come from files stay below this, so that counting on cannot overflow.
    public static let numberMaximum: UInt64 = 1 << 62
    /// The files of instances and of the saved snapshot: what they can grow to with as many instances as a configuration may have.
    public static let stateBytes = 1024 * 1024 * 1024
    public static let snapshotBytes = 1024 * 1024 * 1024
    /// Between two writes, between two signs of life, and before a failed write is tried again.
    public static let stateGapMilliseconds: UInt64 = 100
    public static let stateAliveMilliseconds: UInt64 = 5_000
    public static let stateRetryMilliseconds: UInt64 = 5_000
    /// Changes up to this size never make the file be written anew.
    public static let stateCompactionBytes = 1024 * 1024
    /// How much of the saved snapshot is made in one turn, and the rest before each.
    public static let snapshotPieceBytes = 32 * 1024
    public static let snapshotRestMilliseconds: UInt64 = 5
    /// How long the end waits for the disk.
    public static let stateFinishMilliseconds: UInt64 = 1_000
    /// History goes to the disk once in so much time, in files of about this size, and is skipped where so many writes wait.
    public static let historyFlushMilliseconds: UInt64 = 1_000
    public static let historySegmentBytes = 4 * 1024 * 1024
    public static let historyBuffers = 4
    /// After so much time without a discoveryd a saved status says nothing.
    public static let statusKeptMilliseconds: UInt64 = 60_000

    // MARK: Configuration
    /// What `check` lets pass. A reload may replace all instances by others: old and new have their places at the same time.
    public static let configuredServices = 100_000
    public static let configuredInstances = 500_000
    /// A changed configuration is taken over beside the one before.
    public static let registeredServices = 2 * configuredServices
    public static let registeredInstances = 2 * configuredInstances
    public static let configuredPaths = 500_000
    public static let configuredPackets = 4_000_000_000
    public static let configurationBytes = 32 * 1024 * 1024
    public static let nestingDepth = 64
    public static let keyBytes = 1024
    /// Values that a YAML text stands for with all aliases followed; so many bytes of text count as one more.
    public static let expandedNodes = 8_000_000
    public static let textBytesPerNode = 16
    public static let diagnostics = 1000
    public static let trustedProxies = 256

    // MARK: Snapshot channel
    public static let lineBytes = 1024 * 1024
    public static let instancesPerLine = 32
    public static let subscribers = 512
    /// Subscribers that are no forwarders.
    public static let observers = 128
    public static let pathsPerLine = 200
    /// What comes, goes or changes at one time without a whole snapshot; services and instances.
    public static let membersPerChange = 512
    public static let helloWaitMilliseconds: UInt64 = 200
    public static let pingMilliseconds: UInt64 = 5_000
    public static let subscriberBufferBytes = 256 * 1024
    public static let reconnectMilliseconds: UInt64 = 50
    public static let reconnectMaximumMilliseconds: UInt64 = 1_000

    /// Questions to the forwarders under way at a time, how long they have, and of how many instances each tells.
    public static let inquiries = 16
    public static let inquiryMilliseconds: UInt64 = 1_000
    public static let explainedInstances = 200

    // MARK: discoveryd's HTTP
    public static let apiConnections = 256
    public static let apiRequestBytes = 16 * 1024
    public static let apiBodyBytes = 64 * 1024
    /// How much of a turn the long answers of all connections have together.
    public static let answersNanosecondsPerTurn: UInt64 = 2_000_000
    /// How long a connection whose answer is complete is read on, so that its client gets to see the answer.
    public static let apiLingerMilliseconds: UInt64 = 2_000
    public static let apiTimeoutMilliseconds: UInt64 = 30_000

    // MARK: Counters
    /// Rows of one forwarder's counter file, of 1 KiB each; they take memory as they are used.
    public static let counterRows = 1 << 18
    public static let pastCountersBytes = 1 << 30
    /// Up to so many rows of all forwarders together are read for each answer, more at most once in so much time.
    public static let countersReadAtOnce = 4096
    public static let countersReadMilliseconds: UInt64 = 2_000

    // MARK: Supervision
    public static let controlMessageBytes = 64 * 1024
    public static let controlRequests = 64
    /// The longest answer that a command takes.
    public static let answerBytes = 16 * 1024 * 1024
    public static let refusalBytes = 16 * 1024
    public static let notifyMessageBytes = 4096
    /// Messages of children that are taken in one turn, and how much of what one says of itself is kept.
    public static let notificationsPerTurn = 64
    public static let childStatusBytes = 256
    public static let forwarders = 256
    /// How long a daemon that has become ready waits for room to say so.
    public static let notifyWaitMilliseconds: UInt64 = 100
    /// The log in the runtime directory: two files of this size, and what `logs` takes of them at a time.
    public static let logBytes = 1024 * 1024
    public static let logReadBytes = 4 * 1024 * 1024
    /// How long a command waits for an answer; one that changes much has longer, and a look at who may hang less.
    public static let answerMilliseconds: UInt64 = 10_000
    public static let changeMilliseconds: UInt64 = 300_000
    public static let lookMilliseconds: UInt64 = 1_000
    /// `status` takes rates over so long, `top` looks once in so long, waiting commands ask again after so long.
    public static let statusMilliseconds: UInt64 = 300
    public static let topMilliseconds: UInt64 = 1_000
    public static let askAgainMilliseconds: UInt64 = 20
    public static let logLookMilliseconds: UInt64 = 100
    public static let childOutputBytesPerTurn = 64 * 1024
    public static let restartDelayMilliseconds: UInt64 = 100
    public static let restartDelayMaximumMilliseconds: UInt64 = 10_000
    public static let startFailures = 5
    /// A child that does not become ready within so long is killed.
    public static let startMilliseconds: UInt64 = 60_000
    /// A child that shows no progress for so long is killed and restarted; looked at once a second.
    public static let watchdogMilliseconds: UInt64 = 10_000
    public static let watchdogGapMilliseconds: UInt64 = 1_000
    /// How much time more a supervisor is asked for while a start, a reload or a stop goes on, each second anew.
    public static let extendMilliseconds: UInt64 = 15_000
    public static let watchMilliseconds: UInt64 = 1_000
    /// How long a changed file must look the same before it is read, and how long one that somebody has open for writing.
    public static let watchSettlesMilliseconds: UInt64 = 200
    public static let watchWriterMilliseconds: UInt64 = 10_000
    /// Where nobody but its owner can ask whether somebody writes to it: so long it must not have changed.
    public static let watchUnknownMilliseconds: UInt64 = 5_000
    /// Looks at a file that changes while it is read, and the rest between two.
    public static let settledLooks = 10
    public static let settledLookMilliseconds: UInt64 = 20
    /// Changes of one kind that a reload names one by one; of more it says how many.
    public static let changesNamed = 20
    public static let reloadLookMilliseconds: UInt64 = 10
    /// How long forwarders have to apply a reload: more for much, which is taken over in slices. A service, with its polling, its policy and
    /// its paths, costs as much as several instances.
    public static func reloadTimeoutMilliseconds(services: Int, instances: Int) -> UInt64 {
        5_000 + UInt64(services) + UInt64(instances) / 10
    }
    public static let killAfterMilliseconds: UInt64 = 2_000
    /// New programs must show so soon that they work here before they are taken.
    public static let selfTestMilliseconds: UInt64 = 10_000
    /// What an upgraded supervisor is told by its predecessor.
    public static let handoverBytes = 1024 * 1024

    /// The relations that the rest of the code takes for granted.
    public static func check() {
        // Each line may gain the space behind its colon.
        let canonicalHead = headBytesRange.upperBound + headFieldsRange.upperBound + addedHeadBytes
        precondition(headBytesRange.contains(headBytes) && headFieldsRange.contains(headFields))
        precondition(canonicalHead <= requestBufferBytes)
        precondition(targetBytes < headBytes)
        precondition(chunkExtensionBytes < relayBufferBytes && forwardedTrailerBytes + 1024 < requestBufferBytes)
        precondition(relayBytesPerTurn >= relayBufferBytes)
        precondition(canonicalHead + relayBufferBytes + 64 <= outputBufferBytes)
        precondition(proxyHeaderBytes <= requestBufferBytes)
        precondition(copiedBodyBytes <= relayBufferBytes)
        precondition(clientConnections < 1 << 24 && instanceConnections < 1 << 24)
        precondition(pollHeadBytes <= pollBodyBytes && headBytesRange.upperBound <= pollHeadBytes)
        precondition(keyBytes <= configurationBytes)
        precondition(inheritedDescriptors >= 4)
        precondition(downFrequencyMilliseconds <= frequencyMilliseconds)
        precondition(logBytes < logReadBytes)
        precondition(refusalBytes * 2 + 1024 < controlMessageBytes)
        precondition(subscriberBufferBytes < lineBytes)
        // JSON may double a path's bytes.
        precondition(pathsPerLine * (2 * keyBytes + 3) + 2 * keyBytes < lineBytes)
        precondition(observers + forwarders <= subscribers)
        precondition(2 * configuredInstances < instancesInTable)
        // A generous kilobyte and a half for each that is told of.
        precondition(explainedInstances * 1536 < lineBytes)
        precondition(RowCounter.summed.upperBound < CounterFileLayout.rowWords)
        precondition(HeadCounter.allCases.count <= CounterFileLayout.rowWords)
    }
}
