import Shared

let usage = """
    usage: forwarderd [options]

    Forwards requests to the instances of the newest snapshot from discoveryd. Usually started by `serverpyctl start -c
    FILE`; any number of them may share one listening socket.

          --runtime-dir DIR  where discovery.sock is
          --listen ADDRESS   host:port to listen on, where no listening socket is passed on
          --index N          which one of several this is
          --snapshot FILE    the snapshot to begin with where discoveryd does not answer
          --configuration D  the digest of the configuration that it must be of
      -l, --log-level LEVEL  debug, info (default), warning or error
      -h, --help             print this help
          --version          print the version
          --self-test        see whether this program can work here, and say its version

    """

func makeListeners(_ daemon: Daemon, _ address: String?) throws(StartFault) -> Listeners {
    let inherited = try daemon.inherited.listeners("requests")
    if !inherited.isEmpty { return Listeners(inherited) }
    guard let address else {
        throw StartFault("there is nothing to listen on: pass a socket (LISTEN_FDS, named `requests`) or --listen")
    }
    do {
        if let port = DecimalDigits.parse(address.utf8, max: 65535) {
            return Listeners([try ListenAddress(purpose: "request processor", host: nil, port: UInt16(port)).listen()])
        }
        guard let parsed = SocketAddress(hostPort: address) else {
            throw StartFault("--listen is `\(address)`; a port, IPv4:port or [IPv6]:port is needed")
        }
        return Listeners([
            try ListenAddress(purpose: "request processor", host: parsed.host, port: parsed.port).listen()
        ])
    } catch let fault as ListenAddress.Fault {
        throw StartFault(fault.reason)
    } catch let fault as StartFault {
        throw fault
    } catch {
        throw StartFault("\(error)")
    }
}

func run(_ options: Options, _ level: Log.Level) -> Int32 {
    // One of several says which.
    let name = "forwarderd" + (options["index"].map { " " + $0 } ?? "")
    guard let daemon = Daemon(program: name, level: level) else { return ExitCode.failed }
    do {
        let index: Int?
        do { index = try options.integer("index", 0...Limits.forwarders) } catch { throw StartFault(error.reason) }
        let runtime = Directories.runtime(options["runtime-dir"])
        let listeners = try makeListeners(daemon, options["listen"])
        let loop = try EventLoop.makeForStart()
        let signals: SignalQueue
        do throws(Errno) {
            signals = try SignalQueue([.terminate, .interrupt, .quit, .hangUp, .user1])
            try loop.add(signals.descriptor, EventKind.signals.token(), [.readable])
            if let control = daemon.control { try loop.add(control, EventKind.control.token(), [.readable]) }
        } catch {
            throw StartFault("signals cannot be set up: \(error)")
        }
        let counters: CounterFile
        do {
            counters = try CounterFile.make(in: runtime, index: index)
        } catch {
            throw StartFault("there is no memory for counters: \(error)")
        }
        if let trouble = counters.trouble {
            daemon.log.warning("counters cannot be kept in \(runtime), nobody will see them: \(trouble)")
        }
        let saved = options["snapshot"].map { SavedSnapshot(path: $0, configuration: options["configuration"]) }
        let ledger = Ledger(
            counters, log: daemon.log, standardError: daemon.inherited.first("stderr") ?? .standardError,
            runtimeDirectory: runtime, index: index)
        var forwarder = Forwarder(
            daemon, loop, signals, listeners, Subscriber(path: runtime + "/discovery.sock", index: index, saved),
            ledger)
        return forwarder.run()
    } catch {
        daemon.log.error((error as? StartFault)?.reason ?? "\(error)")
        return ExitCode.failed
    }
}

let specs = [
    Options.Spec("listen", value: "ADDRESS", help: "where to listen"),
    Options.Spec("index", value: "N", help: "which one of several"),
    Options.Spec("snapshot", value: "FILE", help: "the snapshot to begin with"),
    Options.Spec("configuration", value: "D", help: "the digest of its configuration"),
]
switch Daemon.begin(program: "forwarderd", usage: usage, specs) {
case .exit(let status): Process.exit(status)
case .run(let options, let level): Process.exit(run(options, level))
}
