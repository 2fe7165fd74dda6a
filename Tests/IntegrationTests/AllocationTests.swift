import Foundation
import Shared
import Testing

/// Forwarding allocates nothing: counted, on the release build, by a library that is loaded before the system's.
@Suite struct AllocationTests {
    private static let release = Programs.repository + "/.build/release"
    /// AddressSanitizer brings an allocator of its own.
    private static let canCount =
        FileManager.default.isExecutableFile(atPath: release + "/forwarderd") && !Programs.directory.contains("asan")

    /// Counts every allocation of a process in a file of its own, which others may read while it runs.
    private static let counter = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <unistd.h>
        static unsigned long zero, *count = &zero;
        __attribute__((constructor)) static void begin(void) {
            char path[512]; const char *directory = getenv("ALLOCATION_COUNTS"); if (!directory) return;
            snprintf(path, sizeof path, "%s/%d", directory, (int)getpid());
            int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); if (file < 0) return;
            if (ftruncate(file, 8) == 0) {
                void *memory = mmap(0, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
                if (memory != MAP_FAILED) count = memory;
            }
            close(file);
        }
        extern void *__libc_malloc(size_t); extern void *__libc_calloc(size_t, size_t); extern void *__libc_realloc(void *, size_t);
        extern void *__libc_memalign(size_t, size_t);
        void *malloc(size_t n) { ++*count; return __libc_malloc(n); }
        void *calloc(size_t n, size_t m) { ++*count; return __libc_calloc(n, m); }
        void *realloc(void *p, size_t n) { ++*count; return __libc_realloc(p, n); }
        void *memalign(size_t a, size_t n) { ++*count; return __libc_memalign(a, n); }
        void *aligned_alloc(size_t a, size_t n) { ++*count; return __libc_memalign(a, n); }
        int posix_memalign(void **p, size_t a, size_t n) { ++*count; *p = __libc_memalign(a, n); return *p ? 0 : 12; }
        """

    @Test(.enabled(if: canCount, "needs the release build without a sanitizer"))
    func forwardingARequestAllocatesNothing() throws {
        let directory = try Serverpy.temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try Data(Self.counter.utf8).write(to: URL(fileURLWithPath: directory + "/count.c"))
        let compiler = Foundation.Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments = [
            "clang", "-shared", "-fPIC", "-O1", "-o", directory + "/count.so", directory + "/count.c",
        ]
        try compiler.run()
        compiler.waitUntilExit()
        try #require(compiler.terminationStatus == 0)

        let stub = try StubInstance { head, _ in
            head.hasPrefix("GET /a/chunked")
                ? .bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
                : .bytes("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
        }
        let serverpy = try Serverpy(
            StubInstance.service([stub.port]), forwarders: 1, program: "/usr/bin/env",
            before: [
                "LD_PRELOAD=\(directory)/count.so", "ALLOCATION_COUNTS=\(directory)", Self.release + "/serverpyctl",
            ]
        ).ready()
        let pid = try #require(try serverpy.pids("forwarderd").first)
        func count() throws -> UInt64 {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(pid)"))
            return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        #expect(try count() > 0, "the counter counts")
        let client = try Client(port: serverpy.requests)
        for (name, request) in [
            ("GET", "GET /a HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nUser-Agent: test\r\n\r\n"),
            ("chunked answers", "GET /a/chunked?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"),
            ("POST", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-Request-Id: 7\r\n\r\nhello"),
            ("HEAD and close named", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"),
        ] {
            func run(_ times: Int) throws {
                for _ in 0..<times {
                    try client.send(request)
                    #expect(try client.read().status == 200)
                }
            }
            try run(50)
            let before = try count()
            try run(500)
            // What happens once a second (the date, the sweep, the heartbeat) may allocate.
            let allocations = try count() - before
            #expect(allocations < 50, "\(name): \(allocations) allocations in 500 requests")
        }
    }
}
