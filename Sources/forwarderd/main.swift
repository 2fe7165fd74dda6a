import Shared

let usage = """
    usage: forwarderd [options]

    Forwards requests to the instances of the newest snapshot from discoveryd. Usually started by `serverpyctl start -c
    FILE`; any number of them may share one listening socket.

          --runtime-dir DIR  where discovery.sock is
          --listen ADDRESS   host:port to listen on, where no listening socket is passed on
          --index N          which one of several this is
      -l, --log-level LEVEL  debug, info (default), warning or error
      -h, --help             print this help
          --version          print the version

    """

func makeListeners(_ daemon: Daemon, _ address: String?) throws(StartFault) -> Listeners {
    let inherited = daemon.inherited.all("requests")
    for descriptor in inherited where !Socket.isListening(descriptor) {
        throw StartFault("an inherited descriptor `requests` does not listen")
    }
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

func run() -> Int32 {
    let options: Options
    let index: Int?
    do throws(Options.Fault) {
        let specs =
            Daemon.commonOptions + [
                Options.Spec("listen", value: "ADDRESS", help: "where to listen"),
                Options.Spec("index", value: "N", help: "which one of several"),
            ]
        options = try Options(Array(CommandLine.arguments.dropFirst()), specs)
        index = try options.integer("index", 0...Limits.forwarders)
        guard options.operands.isEmpty else { throw Options.Fault("`\(options.operands[0])` is not expected") }
    } catch {
        try? Descriptor.standardError.writeAll(Array("forwarderd: \(error.reason)\n\(usage)".utf8))
        return ExitCode.usage
    }
    if options.has("help") {
        print(usage, terminator: "")
        return ExitCode.done
    }
    if options.has("version") {
        print("forwarderd \(Version.current)")
        return ExitCode.done
    }
    let levelName = options["log-level"] ?? "info"
    guard let level = Log.Level(name: levelName) else {
        try? Descriptor.standardError.writeAll(Array("forwarderd: `\(levelName)` is no log level\n\(usage)".utf8))
        return ExitCode.usage
    }
    guard let daemon = Daemon(program: "forwarderd", level: level) else { return ExitCode.failed }
    do {
        let runtime = Directories.runtime(options["runtime-dir"])
        let listeners = try makeListeners(daemon, options["listen"])
        let loop = try EventLoop.makeForStart()
        let signals: SignalQueue
        do throws(Errno) {
            signals = try SignalQueue([.terminate, .interrupt, .hangUp, .user1])
            try loop.add(signals.descriptor, EventKind.signals.token(), [.readable])
            if let control = daemon.control { try loop.add(control, EventKind.control.token(), [.readable]) }
        } catch {
            throw StartFault("signals cannot be set up: \(error)")
        }
        var forwarder = Forwarder(
            daemon, loop, signals, listeners, Subscriber(path: runtime + "/discovery.sock", index: index))
        return forwarder.run()
    } catch {
        daemon.log.error((error as? StartFault)?.reason ?? "\(error)")
        return ExitCode.failed
    }
}

Process.exit(run())
