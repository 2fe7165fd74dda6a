import Foundation
import Shared
import Testing

/// Who asks is one fact: the fields for instances, the access log, the hash and `explain` say the same.
@Suite struct BeliefTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    private func values(_ head: String, _ name: String) -> [String] {
        head.components(separatedBy: "\r\n").filter { $0.lowercased().hasPrefix(name.lowercased() + ":") }
            .map { Substring($0.dropFirst(name.count + 1)).trimmed }
    }

    /// The fields of a trusted sender, then what the instance gets: X-Forwarded-For, -Proto, -Host, Forwarded; and who is logged.
    @Test(arguments: [
        (
            "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\n", "1.2.3.4, 127.0.0.1",
            "https", "shop",
            "for=1.2.3.4;host=\"shop\";proto=https, for=127.0.0.1;host=\"shop\";proto=https", "1.2.3.4"
        ),
        (
            "Forwarded: for=1.2.3.4;proto=https;host=shop\r\n", "1.2.3.4, 127.0.0.1", "https", "shop",
            "for=1.2.3.4;proto=https;host=shop, for=127.0.0.1;host=\"shop\";proto=https", "1.2.3.4"
        ),
        (
            "Forwarded: for=\"[2001:db8::1]:99\"\r\n", "2001:db8::1, 127.0.0.1", "http", "h",
            "for=\"[2001:db8::1]:99\", for=127.0.0.1;host=\"h\";proto=http", "2001:db8::1"
        ),
        (
            "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1, 127.0.0.1", "http", "h",
            "for=\"[2001:db8::1]\";host=\"h\";proto=http, for=127.0.0.1;host=\"h\";proto=http", "2001:db8::1"
        ),
        (
            // A client's own claim in the family that its proxy does not keep.
            "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6;proto=http\r\n",
            "1.2.3.4, 127.0.0.1",
            "https", "h", "for=1.2.3.4;host=\"h\";proto=https, for=127.0.0.1;host=\"h\";proto=https", "1.2.3.4"
        ),
        (
            "X-Forwarded-Proto: https\r\n", "127.0.0.1", "https", "h", "for=127.0.0.1;host=\"h\";proto=https",
            "127.0.0.1"
        ),
        (
            "X-Forwarded-Proto: javascript\r\nX-Forwarded-Host: a\"b\r\nForwarded: for=\"open\r\n", "127.0.0.1", "http",
            "h", "for=127.0.0.1;host=\"h\";proto=http", "127.0.0.1"
        ),
        ("", "127.0.0.1", "http", "h", "for=127.0.0.1;host=\"h\";proto=http", "127.0.0.1"),
        (
            // The chains differ before the client: one of them goes on.
            "X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nForwarded: for=9.9.9.9;host=evil, for=1.2.3.4\r\n",
            "6.6.6.6, 1.2.3.4, 127.0.0.1", "http", "h",
            "for=6.6.6.6;host=\"h\";proto=http, for=1.2.3.4, for=127.0.0.1;host=\"h\";proto=http", "1.2.3.4"
        ),
        (
            // Each name once in an element (RFC 7239 4).
            "Forwarded: for=1.2.3.4;for=5.6.7.8\r\n", "127.0.0.1", "http", "h", "for=127.0.0.1;host=\"h\";proto=http",
            "127.0.0.1"
        ),
        (
            // Nobody is named, the rest is said all the same.
            "Forwarded: proto=https;host=foo\r\n", "127.0.0.1", "https", "foo",
            "for=127.0.0.1;host=\"foo\";proto=https",
            "127.0.0.1"
        ),
    ])
    func bothFamiliesAndTheLogSayTheSame(
        _ fields: String, _ chain: String, _ scheme: String, _ host: String, _ forwarded: String, _ logged: String
    ) throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let log = directory + "/access.log"
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1,
            general: ", \"trusted_proxies\": [\"127.0.0.1\"], \"access_log\": \"\(log)\", \"log_format\": \"json\""
        ).ready()
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.1\r\nHost: h\r\n\(fields)\r\n")
        #expect(try client.read().status == 200)
        let head = stub.received[0]
        #expect(values(head, "X-Forwarded-For") == [chain])
        #expect(values(head, "X-Forwarded-Proto") == [scheme])
        #expect(values(head, "X-Forwarded-Host") == [host])
        #expect(values(head, "Forwarded") == [forwarded])
        var line: String?
        #expect(
            Eventually.holds {
                line = (try? String(contentsOfFile: log, encoding: .utf8))?.split(separator: "\n").first.map(
                    String.init)
                return line != nil
            })
        #expect(try JSONReader.parse(Array((line ?? "").utf8)).root["client"]?.string == logged)
    }

    @Test func theHashReadsTheSameClientFromEitherFamilyHoweverItIsWritten() throws {
        let stubs = try (0..<4).map { number in
            try StubInstance { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\(number)") }
        }
        let serverpy = try Serverpy(
            StubInstance.service(stubs.map(\.port), policy: ", \"balance\": {\"hash\": \"client\"}"), forwarders: 1,
            general: ", \"trusted_proxies\": [\"127.0.0.1\"]"
        ).ready()
        var instances: Set<String> = []
        for number in 1...12 {
            let address = "198.51.100.\(number)"
            let texts = try [
                "X-Forwarded-For: \(address)", "X-Forwarded-For: \(address):5000", "X-Forwarded-For: ::ffff:\(address)",
                "Forwarded: for=\(address)", "Forwarded: for=\"\(address):17\";proto=https",
                "X-Forwarded-For: 6.6.6.6, \(address), 127.0.0.1",
            ].map { try Client.get(serverpy.requests, "/a", headers: $0 + "\r\n").text }
            #expect(Set(texts).count == 1, "\(address): \(texts)")
            instances.insert(texts[0])
            let explained = try Programs.run(
                [
                    "explain", "GET", "/a", "--header", "Forwarded: for=\(address)", "--json", "--runtime-dir",
                    serverpy.runtimeDirectory,
                ])
            let port = stubs[Int(texts[0]) ?? 0].port
            let root = try JSONReader.parse(Array(explained.output.utf8)).root
            let choice = root["answers"]?.elements.first { _ in true }?["choice"]?.elements.first { _ in true }?.string
            #expect(choice == nil || choice == "127.0.0.1:\(port)", "\(explained)")
        }
        #expect(instances.count > 1)
    }

    /// Fields by which proxies speak of the client.
    private static let vouched = [
        "X-Real-IP", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Ssl", "X-Forwarded-Server",
        "X-Forwarded", "X-Forwarded-", "X-Client-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Front-End-Https", "X-Cluster-Client-IP", "X-Original-Forwarded-For", "Proxy", "X_Real_IP",
        "Proxy-Client-IP", "WL-Proxy-Client-IP", "CF-Connecting-IPv6", "Fly-Client-IP", "X-ProxyUser-Ip",
        "X-Envoy-External-Address", "X-Azure-ClientIP", "X-Remote-IP", "X-Remote-Addr", "X-Originating-IP", "X-Host",
        "X-HTTP-Host-Override", "X_Original_Method", "X-Original-Proto", "X-ARR-SSL", "Client-Cert", "Forwarded-For",
        "X-Url-Scheme", "X-Scheme", "X-Original-Host", "Fastly-Client-IP",
    ]

    /// Other spellings of what is decided here, as a server may read them that turns fields into variables.
    private static let disguised = [
        "X_Forwarded_For", "X-Forwarded_Proto", "X_Forwarded_Host", "X.Forwarded.For", "x_forwarded-for",
        "X_Request_Id",
        "Content_Length", "Transfer_Encoding", "CONTENT_TYPE", "X!Forwarded!For",
    ]

    @Test func unvouchedFieldsDoNotReachAnInstance() throws {
        for (trusted, isPassed) in [("192.0.2.1", false), ("127.0.0.1", true)] {
            let stub = try StubInstance { _, _ in .bytes(Self.ok) }
            let serverpy = try Serverpy(
                StubInstance.service([stub.port]), forwarders: 1, general: ", \"trusted_proxies\": [\"\(trusted)\"]"
            ).ready()
            let fields =
                (Self.vouched + Self.disguised).map { "\($0): 6.6.6.6\r\n" }.joined()
                + "X-Forward: kept\r\nX_Real: kept\r\n"
            let client = try Client(port: serverpy.requests)
            try client.send(
                "POST /a HTTP/1.1\r\nHost: h\r\n\(fields)Transfer-Encoding: chunked\r\n\r\n0\r\nX-Real-IP: 6.6.6.6\r\nContent_Length: 1\r\nX-Sum: 1\r\n\r\n"
            )
            #expect(try client.read().status == 200)
            for name in Self.vouched {
                #expect(values(stub.received[0], name).isEmpty != isPassed, "\(name) \(trusted)")
            }
            for name in Self.disguised { #expect(values(stub.received[0], name).isEmpty, "\(name) \(trusted)") }
            #expect(stub.received[0].contains("X-Forward: kept\r\n") && stub.received[0].contains("X_Real: kept\r\n"))
            #expect(stub.trailers == ["X-Sum: 1\r\n"])
        }
    }

    @Test(
        arguments: [
            ("X-Request-Id: \r\n", nil), ("X-Request-Id: \r\nX-Request-Id: mine\r\n", "mine"),
            ("X-Request-Id: one\r\nX-Request-Id: two\r\n", "one"),
            ("X-Request-Id: \(String(repeating: "x", count: 200))\r\n", nil), ("X-Request-Id: mine\r\n", "mine"),
            ("", nil),
        ] as [(String, String?)])
    func oneIdentityGoesOnAndItIsTheOneThatIsTold(_ fields: String, _ given: String?) throws {
        let stub = try StubInstance { _, _ in .close }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port], policy: ", \"retry\": \"off\""), forwarders: 1
        ).ready()
        let client = try Client(port: serverpy.requests)
        try client.send("POST /a HTTP/1.1\r\nHost: h\r\n\(fields)Content-Length: 0\r\n\r\n")
        let told = try JSONReader.parse(try client.read().body).root["request_id"]?.string
        let sent = values(stub.received[0], "X-Request-Id")
        #expect(sent.count == 1 && sent.first == told)
        if let given { #expect(told == given) } else { #expect(told?.count == 32) }
    }

    @Test func aRequestWithoutAHostInventsNone() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1).ready()
        let client = try Client(port: serverpy.requests)
        try client.send("GET /a HTTP/1.0\r\n\r\n")
        #expect(try client.read().status == 200)
        #expect(values(stub.received[0], "X-Forwarded-Host").isEmpty)
        #expect(values(stub.received[0], "Forwarded") == ["for=127.0.0.1;proto=http"])
    }
}
