import Shared

extension Command {
    static let demo = Command(
        name: "demo", operands: "",
        summary: "Show forwarding, failure and recovery with three small instances on this machine.",
        details: """
            Starts three sample instances on loopback, writes a configuration for them and prints it, starts serverpy with it,
            and says what to try. Ctrl-C ends all of it and removes what was written.
            """,
        options: [
            Options.Spec("port", value: "PORT", help: "the request processor's port (default: 8001, or a free one)"),
            Options.Spec(
                "discovery-port", value: "PORT", help: "the discovery server's port (default: 8008, or a free one)"),
            .forwarders, .logLevel,
        ],
        example: "serverpyctl demo"
    ) { options throws(CommandFault) in
        let directory = "/tmp/serverpy-demo-\(Process.pid)"
        let (requestPort, discoveryPort) = (
            try options.count("port", 0...65535) ?? freePort(preferred: 8001),
            try options.count("discovery-port", 0...65535) ?? freePort(preferred: 8008)
        )
        let samples = ["one", "two", "three"].map { (name: $0, port: UInt16(clamping: freePort(preferred: 0))) }
        let text = DemoText.configuration(samples, requestPort: requestPort, discoveryPort: discoveryPort)
        let path = directory + "/demo.yaml"
        do {
            let (made, _) = try Files.openPrivateDirectory(directory)
            defer { made.close() }
            try Files.replace("demo.yaml", in: made, with: Array(text.utf8))
        } catch {
            throw CommandFault(
                code: ExitCode.failed, message: "serverpyctl: the demo's configuration cannot be written: \(error)")
        }
        defer { DemoText.clean(directory) }
        try? Descriptor.standardError.writeAll(Array("The configuration, \(path):\n\n\(text)\n".utf8))
        let file = ConfigurationFile(path: path, bytes: Array(text.utf8))
        let configuration: Configuration
        do throws(ConfigurationFile.Refusal) {
            configuration = try file.configuration().0
        } catch {
            throw CommandFault(code: ExitCode.configuration, message: error.text)
        }
        let settings = Supervisor.Settings(
            file: file, configuration: configuration,
            forwarders: try options.count("forwarders", 1...Limits.forwarders) ?? min(Process.availableCores(), 4),
            runtimeDirectory: directory + "/run", stateDirectory: directory + "/state",
            logLevel: try options.logLevel(), endsOnHangUp: true, samples: samples)
        return try supervise { () throws(StartFault) in
            try Supervisor.make(settings) { supervisor in
                try? Descriptor.standardError.writeAll(Array(DemoText.hints(supervisor).utf8))
            }
        }
    }

    /// A port that is free now: the preferred one if it is.
    private static func freePort(preferred: UInt16) -> Int {
        for port in preferred == 0 ? [0] : [preferred, 0] {
            guard let socket = try? Socket.listen(on: SocketAddress(ipv4: port == 0 ? 0x7f00_0001 : 0, port: port))
            else { continue }
            defer { socket.close() }
            if let address = (try? Socket.localAddress(socket)) ?? nil { return Int(address.port) }
        }
        return 0
    }

    static let sample = Command(
        name: "sample", operands: "", summary: "Run one of the demo's instances.", details: "",
        options: [
            Options.Spec("name", value: "NAME", help: "the name it answers with"),
            Options.Spec("port", value: "PORT", help: "where it listens"),
        ],
        example: "serverpyctl sample --name one --port 9001", isHidden: true
    ) { options throws(CommandFault) in
        if let supervisor = Process.environment(Daemon.supervisorVariable),
            let pid = DecimalDigits.parse(supervisor.utf8, max: UInt64(Int32.max))
        {
            guard Process.dieWithParent(.kill, expected: Int32(pid)) else { return ExitCode.failed }
        }
        Process.raiseOpenFileLimit()
        do {
            var instance = try SampleInstance.make(
                name: options["name"] ?? "sample", port: UInt16(try options.count("port", 0...65535) ?? 0))
            if options["port"] == nil {
                try Descriptor.standardOutput.writeAll(Array("listening on 127.0.0.1:\(instance.port)\n".utf8))
            }
            return instance.run()
        } catch let fault as StartFault {
            throw CommandFault(code: ExitCode.failed, message: "serverpyctl sample: \(fault.reason)")
        } catch let fault as CommandFault {
            throw fault
        } catch {
            throw CommandFault(code: ExitCode.failed, message: "\(error)")
        }
    }
}

/// What the demo writes.
enum DemoText {
    static func configuration(_ samples: [(name: String, port: UInt16)], requestPort: Int, discoveryPort: Int) -> String
    {
        """
        # Three instances of one service, polled every second.
        greeter:
          servers:
        \(samples.map { "    - 127.0.0.1:\($0.port)" }.joined(separator: "\n"))
          polling:
            method: health
            endpoint: /health
            frequency: 1
          apis:
            - /hello
        meta-info:
          request_processor_port: \(requestPort)
          discovery_server_port: \(discoveryPort)

        """
    }

    static func hints(_ supervisor: borrowing Supervisor) -> String {
        let requests = supervisor.sockets.requestsAddress
        let victim = supervisor.children.first { $0.role.isSample }
        return """

            Try this in another terminal:

              curl \(requests)/hello
                  which instance answered? Repeat it.
              while sleep 0.2; do curl -s \(requests)/hello; done
                  leave it running, and in a third terminal:
              kill -9 \(victim?.pid ?? 0)
                  \(victim?.role.name ?? "an instance") dies: no request fails, the others answer; after 8 s it is back.
              curl \(supervisor.sockets.discoveryAddress)/stats
                  what the discovery server has seen.
              nc -U \(supervisor.settings.runtimeDirectory)/discovery.sock
                  the snapshots that forwarders get, live: JSON lines.

            Ctrl-C ends it.


            """
    }

    static func clean(_ directory: String) {
        for state in (try? Files.list(directory + "/state")) ?? [] {
            for name in (try? Files.list(directory + "/state/" + state)) ?? [] {
                Files.remove(directory + "/state/\(state)/\(name)")
            }
            Files.removeDirectory(directory + "/state/" + state)
        }
        Files.removeDirectory(directory + "/state")
        Files.removeDirectory(directory + "/run")
        Files.remove(directory + "/demo.yaml")
        Files.removeDirectory(directory)
    }
}
