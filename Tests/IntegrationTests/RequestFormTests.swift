import Foundation
import Shared
import Testing

/// A feature works for every form of a request or for none: method, framing, version and pipelining, crossed with upgrades, Expect,
/// answers of ours, HEAD and trailers.
@Suite struct RequestFormTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    private static let changed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n"

    /// How a body is announced and what it is.
    private enum Framing: String, CaseIterable {
        case none, emptyLength, length, chunked, chunkedWithTrailer, chunkedEmpty

        var fields: String {
            switch self {
            case .none: ""
            case .emptyLength: "Content-Length: 0\r\n"
            case .length: "Content-Length: 2\r\n"
            case .chunked, .chunkedWithTrailer, .chunkedEmpty: "Transfer-Encoding: chunked\r\n"
            }
        }

        var body: String {
            switch self {
            case .none, .emptyLength: ""
            case .length: "{}"
            case .chunked: "2;a=b\r\n{}\r\n0\r\n\r\n"
            case .chunkedWithTrailer: "1\r\n{\r\n1\r\n}\r\n0\r\nX-Sum: 9\r\n\r\n"
            case .chunkedEmpty: "0\r\n\r\n"
            }
        }

        var content: String { [.length, .chunked, .chunkedWithTrailer].contains(self) ? "{}" : "" }
        var isChunked: Bool { fields.hasPrefix("Transfer") }
    }

    private func with(
        _ answer: @escaping @Sendable (String, [UInt8]) -> StubInstance.Answer, readsBody: Bool = true,
        general: String = "", _ body: (Serverpy, StubInstance) throws -> Void
    ) throws {
        let stub = try StubInstance(readsBody: readsBody, answer)
        let serverpy = try Serverpy(StubInstance.service([stub.port]), forwarders: 1, general: general).ready()
        let forwarder = try serverpy.pids("forwarderd")
        try body(serverpy, stub)
        #expect(try serverpy.pids("forwarderd") == forwarder, "the forwarder has died and was started again")
    }

    @Test func anUpgradeIsOfferedWhateverTheFormOfTheRequest() throws {
        try with({ _, _ in .echo(Self.changed) }) { serverpy, stub in
            var count = 0
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"] {
                for framing in Framing.allCases {
                    for early in ["", "early "] {
                        for offer in [
                            "Connection: Upgrade\r\nUpgrade: tcp\r\n",
                            "Connection: keep-alive, Upgrade, TE\r\nTE: trailers\r\nUpgrade: h2c\r\nUpgrade: , Tcp/1,tcp\r\n",
                        ] {
                            let name = "\(method) \(framing.rawValue) \(early)\(offer)"
                            let client = try Client(port: serverpy.requests)
                            try client.send(
                                "\(method) /a HTTP/1.1\r\nHost: h\r\n\(framing.fields)\(offer)\r\n\(framing.body)\(early)"
                            )
                            let head = try client.readSome(until: "\r\n\r\n\(early)")
                            #expect(head.hasPrefix("HTTP/1.1 101 "), "\(name): \(head)")
                            try client.send("ping")
                            #expect(try client.read(count: 4) == Array("ping".utf8), "\(name)")
                            client.endSending()
                            #expect(try client.readToEnd() == "bye", "\(name)")
                            #expect(String(decoding: stub.bodies[count], as: UTF8.self) == framing.content, "\(name)")
                            let sent = stub.received[count]
                            #expect(!sent.contains("h2c"), "\(name)")
                            #expect(sent.contains("TE: trailers") == offer.contains("TE: trailers"), "\(name)")
                            count += 1
                        }
                    }
                }
            }
            #expect(stub.trailers.count { $0 == "X-Sum: 9\r\n" } == 8 * 2 * 2)
        }
    }

    @Test func anUpgradeThatNobodyMayOfferOrThatIsNoneIsNotPassedOn() throws {
        try with({ _, _ in .bytes(Self.ok) }) { serverpy, stub in
            for (request, status) in [
                (
                    "POST /a HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}",
                    200
                ),
                ("POST /a HTTP/1.1\r\nHost: h\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}", 200),
                ("POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n{}", 200),
                ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c, HTTP/2.0\r\n\r\n", 200),
                ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: a b\r\n\r\n", 400),
                ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: a/b/c\r\n\r\n", 400),
            ] as [(String, UInt16)] {
                let client = try Client(port: serverpy.requests)
                try client.send(request)
                #expect(try client.read().status == status, "\(request)")
            }
            #expect(stub.received.allSatisfy { !$0.contains("Upgrade") }, "\(stub.received)")
        }
    }

    /// An instance may change the protocol before it has read the body: the body is still framed, and the tunnel comes behind it.
    @Test func aBodyThatGoesOnAfterTheChangeOfProtocolStaysABody() throws {
        try with({ _, _ in .echo(Self.changed) }, readsBody: false) { serverpy, _ in
            let client = try Client(port: serverpy.requests)
            try client.send(
                "POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
            )
            _ = try client.readSome(until: "\r\n\r\n")
            try client.send("3;x\r\ncde\r\n0\r\n\r\nraw")
            // The echo gives back what the instance got: the chunks as we write them, then the bytes of the tunnel.
            var all = ""
            while !all.hasSuffix("raw") { all += String(decoding: try client.read(count: 1), as: UTF8.self) }
            #expect(all.hasSuffix("3\r\ncde\r\n0\r\n\r\nraw"), "\(all)")
        }
    }

    @Test func anAnswerOfOursKeepsTheConnectionForWhatComesBehindAWholeBody() throws {
        try with({ _, _ in .bytes(Self.ok) }) { serverpy, _ in
            for method in ["GET", "POST", "HEAD", "BREW"] {
                for framing in Framing.allCases {
                    let client = try Client(port: serverpy.requests)
                    try client.send(
                        "\(method) /nobody HTTP/1.1\r\nHost: h\r\n\(framing.fields)\r\n\(framing.body)GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
                    )
                    let first = try client.read(isHead: method == "HEAD")
                    #expect(first.status == 404 && first.values("Connection").isEmpty, "\(method) \(framing.rawValue)")
                    #expect(try client.read().text == "ok", "\(method) \(framing.rawValue)")
                }
            }
            // What has not come is not waited for.
            let client = try Client(port: serverpy.requests)
            try client.send("POST /nobody HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")
            #expect(try client.read().values("Connection") == ["close"])
        }
    }

    @Test func expectIsForTheInstanceExceptInHTTP10() throws {
        try with({ _, _ in .bytes(Self.ok) }) { serverpy, stub in
            for (version, value, status, isSent) in [
                ("1.1", "100-continue", 200, true), ("1.1", "100-Continue", 200, true),
                ("1.1", "100-continue, 100-continue", 200, true), ("1.1", "100-continue,", 200, true),
                ("1.1", "magic", 417, false), ("1.1", "100-continue, magic", 417, false),
                ("1.0", "100-continue", 200, false), ("1.0", "magic", 200, false),
            ] as [(String, String, UInt16, Bool)] {
                for framing in [Framing.length, .chunked] where version == "1.1" || framing == .length {
                    let count = stub.received.count
                    let client = try Client(port: serverpy.requests)
                    try client.send(
                        "POST /a HTTP/\(version)\r\nHost: h\r\nConnection: Expect\r\nExpect: \(value)\r\n\(framing.fields)\r\n\(framing.body)"
                    )
                    #expect(try client.read().status == status, "\(version) \(value) \(framing.rawValue)")
                    if status == 200 {
                        #expect(stub.received[count].contains("Expect: ") == isSent, "\(version) \(value)")
                    }
                }
            }
        }
    }

    /// The client waits for 100 with good reason: it is the instance that is slow.
    @Test(arguments: ["Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n"])
    func anInstanceThatNeitherContinuesNorAnswersIsLate(_ framing: String) throws {
        let stub = try StubInstance(readsBody: false) { _, _ in .pieces(["never"]) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port], policy: ", \"timeouts\": {\"first_byte\": 0.3, \"idle\": 20}"),
            forwarders: 1
        ).ready()
        let client = try Client(port: serverpy.requests)
        try client.send("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\(framing)\r\n")
        #expect(try client.read().status == 504)
    }

    @Test func headersOfTrailersGoWhereTrailersCan() throws {
        try with({ _, _ in
            .bytes(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nX-Real-IP: 6.6.6.6\r\nSet-Cookie: a\r\n\r\n"
            )
        }) { serverpy, stub in
            let new = try Client(port: serverpy.requests)
            try new.send("GET /a HTTP/1.1\r\nHost: h\r\nConnection: TE, close\r\nTE: trailers\r\n\r\n")
            let text = try new.readToEnd()
            #expect(text.contains("Trailer: X-Sum\r\n") && text.hasSuffix("0\r\nX-Sum: 7\r\n\r\n"), "\(text)")
            let old = try Client(port: serverpy.requests)
            try old.send("GET /a HTTP/1.0\r\nHost: h\r\nTE: trailers\r\n\r\n")
            let plain = try old.readToEnd()
            #expect(!plain.contains("Trailer:") && plain.hasSuffix("\r\n\r\nok"), "\(plain)")
            #expect(stub.received[0].contains("TE: trailers") && !stub.received[1].contains("TE:"))
        }
    }

    @Test func chunkExtensionsThatKeepToNoGrammarAreRefusedOnBothSides() throws {
        for text in [";", ";a b", ";=x", ";a=\"x", ";;a", ";a=", ";a=b ", ";a=\"x\"y"] {
            try with({ _, _ in
                .bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\(text)\r\nok\r\n0\r\n\r\n")
            }) {
                serverpy, _ in
                let client = try Client(port: serverpy.requests)
                try client.send(
                    "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\(text)\r\nok\r\n0\r\n\r\n")
                #expect(try client.read().status == 400, "\(text)")
                // From an instance the head may be on its way already: then the client sees a cut.
                let other = try Client(port: serverpy.requests)
                try other.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
                let answer = Result { try other.read() }
                switch answer {
                case .success(let answer): #expect(answer.status == 502, "\(text)")
                case .failure: break
                }
            }
        }
    }

    @Test func aPathBehindAStrippedPrefixBeginsWithExactlyOneSlash() throws {
        let stub = try StubInstance { _, _ in .bytes(Self.ok) }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port], paths: "\"/s\"", policy: ", \"strip_prefix\": true"), forwarders: 1
        ).ready()
        for (target, forwarded) in [
            ("/s", "/"), ("/s/", "/"), ("/s/x", "/x"), ("/s?q", "/?q"), ("/s//evil.com/x", "/evil.com/x"),
            ("/s///x", "/x"),
            ("/s//", "/"), ("http://h/s//evil.com", "/evil.com"), ("/s//?//q", "/?//q"), ("/s/a//b", "/a//b"),
            ("/s/\\evil.com", nil), ("/s/%2fevil.com", nil), ("/s/%5Cevil.com", nil), ("/s//%2Fevil.com", nil),
            ("/s/%09/evil.com", nil), ("/s/%0a%2fevil.com", nil), ("/s/%0D/x", nil), ("/s/%00/x", nil),
            ("/s/%20%5cx", nil),
            ("/s/;/evil.com", nil), ("/s/;a=b/evil.com", nil), ("/s/%09;x/%2f", nil), ("/s/;a/\\x", nil),
            ("/s/%09x/y", "/%09x/y"), ("/s/;a", "/;a"), ("/s/%41//x", "/%41//x"),
        ] as [(String, String?)] {
            let client = try Client(port: serverpy.requests)
            try client.send("GET \(target) HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            let status = try client.read().status
            #expect(status == (forwarded == nil ? 400 : 200), "\(target)")
            if let forwarded {
                #expect(stub.received.last?.hasPrefix("GET \(forwarded) HTTP/1.1\r\n") == true, "\(target)")
            }
        }
    }

    @Test(arguments: ["/a/..;/b", "/a/..;x=1/b", "/a/%2e%2e%3bx/b", "/a/..%00/b", "/a/.%20/b", "/a/..%2f;/b", "/a/.;"])
    func dotsWithParametersAreDots(_ path: String) throws {
        try with({ _, _ in .bytes(Self.ok) }) { serverpy, stub in
            let dots = try Client.get(serverpy.requests, path).status
            let names = try Client.get(serverpy.requests, "/a/b..;x/...;/c").status
            #expect(dots == 400)
            #expect(names == 200)
            #expect(stub.received.count == 1)
        }
    }
}
