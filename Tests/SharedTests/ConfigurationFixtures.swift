/// Configurations that several tests look at.
enum ConfigurationFixtures {
    static let service = "s:\n  servers: ['h:1']\n  polling: {method: ping}\n  apis: [/a]\n"

    /// What is refused, and words of the refusal.
    static let refused: [(String, String)] = [
        ("[]", "a map from service names"),
        ("s: 1", "a map with `servers` and `apis`"),
        ("s: {apis: [/a]}", "no `servers`"),
        ("s: {servers: [h], apis: [/a]}", "then `polling` is required"),
        ("s: {servers: [h], polling: {method: ping}}", "no `apis`"),
        ("s: {servers: [h], polling: {method: ping}, apis: []}", "`apis` is empty"),
        ("s: {servers: [], polling: {method: ping}, apis: [/a]}", "`servers` is empty"),
        ("s: {servers: [h], polling: {}, apis: [/a]}", "no `method`"),
        ("s: {servers: [h], polling: {method: pong}, apis: [/a]}", "did you mean `ping`?"),
        ("s: {servers: [h], polling: {method: health}, apis: [/a]}", "needs an `endpoint`"),
        ("s: {servers: [h], polling: {method: ping, endpoint: /x}, apis: [/a]}", "belongs to `method: health`"),
        ("s: {servers: [h], polling: {method: ping, retries: 2}, apis: [/a]}", "`retry_delay` (seconds) is required"),
        ("s: {servers: [h], polling: {method: ping, priority: high}, apis: [/a]}", "each server has its own polling"),
        ("s: {servers: {h: {method: ping, priority: urgent}}, apis: [/a]}", "allowed are `high`, `med`, `low`"),
        (
            "s: {servers: {h: {method: ping}}, polling: {method: ping}, apis: [/a]}",
            "each server has its own polling there"
        ),
        ("s: {servers: [h, 'h:80'], polling: {method: ping}, apis: [/a]}", "in this service already, on line 1"),
        ("s: {servers: ['https://h'], polling: {method: ping}, apis: [/a]}", "TLS is not there yet"),
        ("s: {servers: ['ftp://h'], polling: {method: ping}, apis: [/a]}", "the scheme `ftp` is not known"),
        ("s: {servers: ['h:99999'], polling: {method: ping}, apis: [/a]}", "not a number from 1 to 65535"),
        ("s: {servers: ['h:+80'], polling: {method: ping}, apis: [/a]}", "not a number from 1 to 65535"),
        ("s: {servers: ['1.2.3'], polling: {method: ping}, apis: [/a]}", "not an IPv4 address"),
        ("s: {servers: ['::1'], polling: {method: ping}, apis: [/a]}", "must be in brackets"),
        ("s: {servers: ['a b'], polling: {method: ping}, apis: [/a]}", "a character other than letters"),
        ("s: {servers: [h], polling: {method: ping}, apis: [a]}", "does not begin with /"),
        ("s: {servers: [h], polling: {method: ping}, apis: ['/a?b']}", "holds a query"),
        ("s: {servers: [h], polling: {method: ping}, apis: ['/a/../b']}", "holds a . or .. segment"),
        ("s: {servers: [h], polling: {method: ping}, apis: ['/a%2g']}", "a % without two hex digits"),
        (
            "s: {servers: [h], polling: {method: ping, frequency: 1, timeout: 2}, apis: [/a]}",
            "must not exceed `frequency`"
        ),
        ("s: {servers: [h], polling: {method: ping, frequency: -1}, apis: [/a]}", "`frequency` is `-1`"),
        ("s: {servers: [h], polling: {method: ping, frequency: soon}, apis: [/a]}", "seconds as a number"),
        ("s: {server: [h], polling: {method: ping}, apis: [/a]}", "did you mean `servers`?"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], timeouts: {conect: 1}}", "did you mean `connect`?"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], host: other}", "allowed are `keep`, `instance`"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], strip_prefix: 1}", "true or false is needed"),
        ("s: {servers: [h], polling: {method: ping, headers: {X: y}}, apis: [/a]}", "belong to `method: health`"),
        (
            "s: {servers: [h], polling: {method: health, endpoint: /x, headers: {Host: a, hOST: b}}, apis: [/a]}",
            "the case of its letters makes no difference"
        ),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], balance: randm}", "did you mean `random`?"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], balance: {hash: ip}}", "`client`, `header:NAME`"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], balance: {hsh: client}}", "did you mean `hash`?"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], retry: on}", "allowed are `off`"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], retry: {tries: 9}}", "a whole number from 1 to 8"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], max_connections: 0}", "a whole number from 1"),
        ("s: {servers: [h], polling: {method: ping}, apis: [/a], queue: 5}", "no meaning without `max_connections`"),
        ("s: {servers: ['h:0'], apis: [/a]}", "not a number from 1 to 65535"),
        ("\"a\\u202eb\": {}", "no control or invisible characters"),
        ("meta-info: {}", "there is no service"),
    ]

    /// What the text itself is refused for, before its meaning is looked at.
    static let refusedAsText: [(String, String)] = [
        ("s: {servers: [h], polling: {method: ping}, apis: ['/${NOPE:-${HOME}}']}", "holds another `${`"),
        ("'\(String(repeating: "k", count: 1025))': 1", "the key has 1025 bytes; at most 1024 are allowed"),
        ("\(String(repeating: "k", count: 5000)): 1", "the key has 5000 bytes; at most 1024 are allowed"),
    ]

    /// `meta-info` and services that are refused beside `service`.
    static let refusedBesideAService: [(String, String)] = [
        ("meta-info: {discovery_server_port: 70000}", "a whole number from 0 to 65535"),
        ("meta-info: {forwarders: 0}", "or `auto`"),
        ("meta-info: {request_processor_port: 8008}", "they must differ"),
        ("meta-info: {request_procesor_port: 1}", "did you mean `request_processor_port`?"),
        ("meta-info: {limits: {head_size: 64KiB}}", "a size from 1KiB to 28KiB"),
        ("meta-info: {limits: {body_size: 1.5MiB}}", "bytes as a number"),
        ("meta-info: {limits: {conections: 5}}", "did you mean `connections`?"),
        ("meta-info: {timeouts: {head: never}}", "seconds as a number"),
        ("meta-info: {trusted_proxies: [10.0.0.1/8]}", "without bits set behind the prefix"),
        ("meta-info: {trusted_proxies: [proxy.internal]}", "an address or a block"),
        ("meta-info: {proxy_protocol: true}", "`trusted_proxies` must name those who send it"),
        ("meta-info: {via: a b}", "letters, digits"),
        ("meta-info: {access_log: access.log}", "an absolute path"),
        ("meta-info: {access_log: /dev/stdout}", "`stderr` is serverpy's own standard error"),
        ("meta-info: {access_log: /dev/fd/1}", "`stderr` is serverpy's own standard error"),
        ("meta-info: {access_log: /proc/self/fd/1}", "`stderr` is serverpy's own standard error"),
        ("meta-info: {log_format: xml}", "allowed are `text`, `json`"),
        ("meta-info: {discovery_token: short}", "bytes long; 16 to 1024"),
        ("meta-info: {on_change: 'ftp://h/x'}", "an http:// URL is needed"),
        ("meta-info: {on_change: 'https://h/x'}", "TLS is not there yet"),
        ("meta-info: {drain_delay: -1}", "a time from 0 s"),
        ("meta-info: {discovery_server_host: example}", "an IPv4 or IPv6 address is needed"),
        ("t: {servers: [h], polling: {method: ping}, apis: [/a/]}", "claimed already by `s` on line 4"),
    ]

    /// Every key that there is, none at its default.
    static let everything = """
        s:
          servers:
            "h:1": {method: health, endpoint: /x, frequency: 7, timeout: 3, retries: 2, retry_delay: 0.5, rise: 3, \
        down_frequency: 250ms, expect: [200, 301-302], packet_limit: 9, headers: {X-A: "1"}, priority: low, weight: 5}
          apis: [/a, /b/c]
          balance: {hash: "header:X-User"}
          retry: {tries: 2, budget: 50}
          timeouts: {connect: 1, first_byte: 2, idle: 3, tunnel: 4, queue: 5}
          max_connections: 10
          queue: 20
          host: instance
          strip_prefix: true
          availability_window: 2h
        meta-info:
          discovery_server_name: "D ${X:-x}"
          request_processor_name: R
          discovery_server_host: 127.0.0.2
          discovery_server_port: 1
          request_processor_host: "::1"
          request_processor_port: 2
          forwarders: 3
          limits: {head_size: 8KiB, header_count: 64, body_size: 10MiB, connections: 1000}
          timeouts: {head: 5, idle: 6}
          trusted_proxies: [10.0.0.0/8, "fd00::/8", 192.0.2.1]
          proxy_protocol: true
          ready_path: false
          via: edge-1
          drain_delay: 1
          drain_timeout: 2
          access_log: /var/log/serverpy.log
          log_format: json
          discovery_token: 0123456789abcdef
          on_change: http://hook.internal:9/x?y

        """
}
