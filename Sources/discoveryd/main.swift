import Shared

let usage = """
    usage: discoveryd -c FILE [options]

    Polls the instances of a configuration, serves /health, /stats, /dump and /metrics, and pushes snapshots to forwarders over
    discovery.sock. Usually started by `serverpyctl start -c FILE`.

      -c, --config FILE      the configuration (JSON or YAML)
          --runtime-dir DIR  where discovery.sock is made
          --state-dir DIR    where state is kept
      -l, --log-level LEVEL  debug, info (default), warning or error
      -h, --help             print this help
          --version          print the version
          --self-test        see whether this program can work here, and say its version

    """

func run(_ options: Options, _ level: Log.Level) -> Int32 {
    guard let daemon = Daemon(program: "discoveryd", level: level) else { return ExitCode.failed }
    do {
        var discoveryd = try prepare(daemon, options)
        return discoveryd.run()
    } catch let refusal as ConfigurationFile.Refusal {
        try? Descriptor.standardError.writeAll(Array(refusal.text.utf8))
        return ExitCode.configuration
    } catch let fault as StateDirectory.Fault {
        daemon.log.error(fault.reason)
    } catch let fault as StartFault {
        daemon.log.error(fault.reason)
    } catch {
        daemon.log.error("\(error)")
    }
    return ExitCode.failed
}

/// Reads the configuration, which is not kept as it was written.
func prepare(_ daemon: Daemon, _ options: Options) throws -> Discoveryd {
    let path = options["config"] ?? ""
    var file = ConfigurationFile(path: path, bytes: [])
    if let memory = daemon.inherited.first("configuration") {
        file.bytes = try Files.read(memory, maxBytes: Limits.configurationBytes)
        memory.close()
    } else {
        file = try ConfigurationFile.read(path)
    }
    let (configuration, _) = try file.configuration()
    let runtime = Directories.runtime(options["runtime-dir"])
    let state = try StateDirectory(path: try Directories.state(options["state-dir"], runtime: runtime), log: daemon.log)
    return try Discoveryd.make(
        daemon, configuration, state, runtimeDirectory: runtime, configurationPath: Files.absolute(path),
        digest: LineDigest(of: file.bytes).text)
}

let config = Options.Spec("config", "c", value: "FILE", help: "the configuration")
switch Daemon.begin(program: "discoveryd", usage: usage, [config], requires: "config") {
case .exit(let status): Process.exit(status)
case .run(let options, let level): Process.exit(run(options, level))
}
